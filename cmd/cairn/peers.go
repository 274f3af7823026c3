package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/rpc"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/spf13/cobra"
)

func (a *app) peersCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "peers",
		Short: "List the peers that the daemon is connected to",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withRepo(cmd.Context(), func(s repo) error {
				all, err := s.Peers(cmd.Context())
				if err != nil {
					return fmt.Errorf("peers: %w", err)
				}
				for _, p := range all {
					if err := a.peer(p); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

func (a *app) peer(p cairn.Peer) error {
	shape := rpc.ShapeOfPeer(p)
	state := shape.Address
	if !p.Connected {
		if state = "not connected"; p.Failure != "" {
			state += ": " + p.Failure
		}
	}
	if p.RTT > 0 {
		state += " " + p.RTT.Round(10*time.Microsecond).String()
	}
	return a.show(shape, "%s %s %s", shape.PeerID, printable(state), printable(p.Agent))
}

// peerID reads a peer's id, or the address that ends with it.
func peerID(s string) (peer.ID, error) {
	if at := strings.LastIndex(s, "/p2p/"); at >= 0 {
		s = s[at+len("/p2p/"):]
	}
	id, err := peer.Decode(s)
	if err != nil {
		return "", fmt.Errorf("%w: %q: %w", cairn.ErrAddress, s, err)
	}
	return id, nil
}
