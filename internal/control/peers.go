package control

import (
	"context"
	"errors"
	"iter"
	"strings"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/libp2p/go-libp2p/core/peer"
)

// An Identity is what a node says of itself.
type Identity struct {
	PeerID    peer.ID  `json:"peerId"`
	Addresses []string `json:"addresses"` // with the id
	Agent     string   `json:"agent"`
	Protocols []string `json:"protocols"`
}

// Identify returns a node's identity. Offline it has no addresses and protocols.
var Identify = Call[struct{}, Identity]{
	Path: "id",
	Run: func(ctx context.Context, n *cairn.Node, _ struct{}) (Identity, error) {
		me := Identity{Agent: n.UserAgent(), Addresses: []string{}, Protocols: []string{}}
		var err error
		if me.PeerID, err = n.ID(ctx); err != nil {
			return me, err
		}
		addrs, err := n.Addrs(ctx)
		for _, a := range addrs {
			me.Addresses = append(me.Addresses, a.String())
		}
		if err == nil {
			var protocols []string
			protocols, err = n.Protocols(ctx)
			me.Protocols = append(me.Protocols, protocols...)
		}
		if errors.Is(err, cairn.ErrOffline) {
			err = nil
		}
		return me, err
	},
}

// ListPeers lists the peers that are connected or protected.
var ListPeers = Call[struct{}, []cairn.Peer]{
	Path: "peers",
	Run:  func(ctx context.Context, n *cairn.Node, _ struct{}) ([]cairn.Peer, error) { return n.Peers(ctx) },
}

// AddressArgs name a peer by an address that ends with its id.
type AddressArgs struct {
	Address string `json:"address"`
}

// Connect connects to a peer.
var Connect = Call[AddressArgs, peer.ID]{
	Path: "connect",
	Run: func(ctx context.Context, n *cairn.Node, a AddressArgs) (peer.ID, error) {
		return n.Connect(ctx, a.Address)
	},
}

// PeerArgs name a peer.
type PeerArgs struct {
	PeerID peer.ID `json:"peerId"`
}

// Disconnect closes the connections to a peer.
var Disconnect = Call[PeerArgs, struct{}]{
	Path: "disconnect",
	Run: func(ctx context.Context, n *cairn.Node, a PeerArgs) (struct{}, error) {
		return struct{}{}, n.Disconnect(ctx, a.PeerID)
	},
}

// PingArgs are a peer, by its id or an address that ends with it, and how often
// to ping, with which pause between.
type PingArgs struct {
	Peer     string        `json:"peer"`
	Count    int           `json:"count"`
	Interval time.Duration `json:"interval"`
}

// Ping yields how long messages take to a peer and back.
var Ping = Stream[PingArgs, time.Duration]{
	Path: "ping",
	Run: func(ctx context.Context, n *cairn.Node, a PingArgs) iter.Seq2[time.Duration, error] {
		return func(yield func(time.Duration, error) bool) {
			id, err := pingTarget(ctx, n, a)
			if err != nil {
				yield(0, err)
				return
			}
			wait := time.NewTimer(a.Interval)
			defer wait.Stop()
			done := 0
			for rtt, err := range n.Ping(ctx, id) {
				if !yield(rtt, err) || err != nil {
					return
				}
				if done++; done >= a.Count {
					return
				}
				wait.Reset(a.Interval)
				select {
				case <-ctx.Done():
					yield(0, ctx.Err())
					return
				case <-wait.C:
				}
			}
		}
	},
}

func pingTarget(ctx context.Context, n *cairn.Node, a PingArgs) (peer.ID, error) {
	if a.Count < 1 || a.Interval < 0 {
		return "", httpapi.BadRequest("invalid count %d or interval %s: want one ping or more, and no negative pause", a.Count, a.Interval)
	}
	if strings.HasPrefix(a.Peer, "/") && !strings.HasPrefix(a.Peer, "/p2p/") {
		if _, err := n.AddAddr(ctx, a.Peer); err != nil {
			return "", err
		}
	}
	return cairn.ParsePeerID(a.Peer)
}
