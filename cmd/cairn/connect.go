package main

import (
	"context"
	"fmt"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/spf13/cobra"
)

// An onlyPeer is the peer that a command worked on, in JSON.
type onlyPeer struct {
	PeerID peer.ID `json:"peerId"`
}

func (a *app) connectCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "connect ADDR…",
		Short: "Connect to peers",
		Long: `Connects to the peers at addresses that end with their ids, as in
/ip4/192.0.2.1/tcp/4001/p2p/12D3Koo… Without a daemon the connection ends with
the command, which then tells no more than that it can be had.`,
		Args: arguments(1, -1),
		RunE: a.onRepo(func(ctx context.Context, s repo, args []string) error {
			for _, addr := range args {
				id, err := control.Connect.Do(ctx, s.Target, control.AddressArgs{Address: addr})
				if err != nil {
					return err // which says "connect to …"
				}
				if err := a.show(onlyPeer{id}, "connected to %s", id); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

func (a *app) disconnectCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "disconnect PEER…",
		Short: "Close the connections to peers",
		Args:  arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var all []peer.ID
			for _, arg := range args {
				id, err := cairn.ParsePeerID(arg)
				if err != nil {
					return fmt.Errorf("disconnect: %w", err)
				}
				all = append(all, id)
			}
			return a.withRepo(cmd.Context(), func(s repo) error {
				for _, id := range all {
					if _, err := control.Disconnect.Do(cmd.Context(), s.Target, control.PeerArgs{PeerID: id}); err != nil {
						return fmt.Errorf("disconnect %s: %w", id, err)
					}
					if err := a.show(onlyPeer{id}, "disconnected from %s", id); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}
