package rpc

import (
	"context"
	"fmt"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

// A PeerShape is a peer in JSON.
type PeerShape struct {
	PeerID    string     `json:"peerId"`
	Connected bool       `json:"connected"`
	Address   string     `json:"address,omitempty"`
	Direction string     `json:"direction,omitempty"` // "in" or "out"
	Since     *time.Time `json:"since,omitempty"`
	Relayed   bool       `json:"relayed,omitempty"`
	Protected bool       `json:"protected,omitempty"`
	Agent     string     `json:"agent,omitempty"`
	Protocols []string   `json:"protocols,omitempty"`
	// RTT is in seconds.
	RTT       float64    `json:"rtt,omitempty"`
	Addresses []string   `json:"addresses,omitempty"`
	Failure   string     `json:"failure,omitempty"`
	FailedAt  *time.Time `json:"failedAt,omitempty"`
}

// ShapeOfPeer returns a peer as it is in JSON.
func ShapeOfPeer(p cairn.Peer) PeerShape {
	s := PeerShape{
		PeerID: p.ID.String(), Connected: p.Connected, Relayed: p.Relayed, Protected: p.Protected,
		Agent: p.Agent, Protocols: p.Protocols, RTT: p.RTT.Seconds(), Failure: p.Failure,
		Since: optionalTime(p.Since), FailedAt: optionalTime(p.FailedAt),
	}
	if p.Addr != nil {
		s.Address = p.Addr.String()
	}
	if p.Connected {
		s.Direction = "out"
		if p.Inbound {
			s.Direction = "in"
		}
	}
	for _, a := range p.Known {
		s.Addresses = append(s.Addresses, a.String())
	}
	return s
}

func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func (s PeerShape) peer() (p cairn.Peer, err error) {
	p = cairn.Peer{
		Connected: s.Connected, Inbound: s.Direction == "in", Relayed: s.Relayed, Protected: s.Protected,
		Agent: s.Agent, Protocols: s.Protocols, RTT: time.Duration(s.RTT * float64(time.Second)), Failure: s.Failure,
	}
	if s.Since != nil {
		p.Since = *s.Since
	}
	if s.FailedAt != nil {
		p.FailedAt = *s.FailedAt
	}
	if p.ID, err = peer.Decode(s.PeerID); err != nil {
		return p, err
	}
	if s.Address != "" {
		if p.Addr, err = multiaddr.NewMultiaddr(s.Address); err != nil {
			return p, err
		}
	}
	for _, text := range s.Addresses {
		a, err := multiaddr.NewMultiaddr(text)
		if err != nil {
			return p, err
		}
		p.Known = append(p.Known, a)
	}
	return p, nil
}

func (c *call) peers() error {
	all, err := c.node.Peers(c.ctx)
	if err != nil {
		return err
	}
	for _, p := range all {
		if err := c.item(ShapeOfPeer(p)); err != nil {
			return err
		}
	}
	return c.lines(nil)
}

// Peers are those of the daemon, as cairn.Node.Peers has them.
func (c *Client) Peers(ctx context.Context) ([]cairn.Peer, error) {
	var all []cairn.Peer
	for shape, err := range values[PeerShape](ctx, c, request{verb: "cairn/peers"}) {
		if err != nil {
			return nil, err
		}
		p, err := shape.peer()
		if err != nil {
			return nil, fmt.Errorf("peers: read the daemon's answer: %w", err)
		}
		all = append(all, p)
	}
	return all, nil
}
