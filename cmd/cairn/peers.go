package main

import (
	"context"
	"fmt"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/spf13/cobra"
)

func (a *app) peersCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "peers",
		Short: "List the peers that the daemon is connected to",
		Args:  arguments(0, 0),
		RunE: a.onRepo(func(ctx context.Context, s repo, _ []string) error {
			all, err := control.ListPeers.Do(ctx, s.Target, struct{}{})
			if err != nil {
				return fmt.Errorf("peers: %w", err)
			}
			for _, p := range all {
				if err := a.showPeer(p); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

// A shownPeer is a peer in JSON.
type shownPeer struct {
	PeerID    peer.ID       `json:"peerId"`
	Connected bool          `json:"connected"`
	Address   string        `json:"address,omitempty"`
	Direction string        `json:"direction,omitempty"` // "in" or "out"
	Since     time.Time     `json:"since,omitzero"`
	Relayed   bool          `json:"relayed,omitempty"`
	Protected bool          `json:"protected,omitempty"`
	Agent     string        `json:"agent,omitempty"`
	Protocols []string      `json:"protocols,omitempty"`
	RTT       time.Duration `json:"rtt,omitzero"`
	Addresses []string      `json:"addresses,omitempty"`
	Failure   string        `json:"failure,omitempty"`
	FailedAt  time.Time     `json:"failedAt,omitzero"`
}

func (a *app) showPeer(p cairn.Peer) error {
	shown := shownPeer{
		PeerID: p.ID, Connected: p.Connected, Since: p.Since.UTC(), Relayed: p.Relayed, Protected: p.Protected, Agent: p.Agent,
		Protocols: p.Protocols, RTT: p.RTT, Failure: p.Failure, FailedAt: p.FailedAt.UTC(),
	}
	if p.Addr != nil {
		shown.Address = p.Addr.String()
	}
	if p.Connected {
		shown.Direction = "out"
		if p.Inbound {
			shown.Direction = "in"
		}
	}
	for _, addr := range p.Known {
		shown.Addresses = append(shown.Addresses, addr.String())
	}
	state := shown.Address
	if !p.Connected {
		if state = "not connected"; p.Failure != "" {
			state += ": " + p.Failure
		}
	}
	if p.RTT > 0 {
		state += " " + p.RTT.Round(10*time.Microsecond).String()
	}
	return a.show(shown, "%s %s %s", p.ID, escape(state), escape(p.Agent))
}
