package swarm

import (
	"sync"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// A gater decides who may connect: nobody who is banned, and no more than a
// number of connections at a time.
type gater struct {
	self peer.ID
	// most is how many connections may be open; inbound ones leave some room
	// for those that we want ourselves.
	most, mostInbound int
	isBanned          func(peer.ID) bool

	mu   sync.Mutex                // guards what follows
	open map[network.Conn]struct{} // let through, and not closed yet
}

func newGater(self peer.ID, most int, isBanned func(peer.ID) bool) *gater {
	return &gater{
		self:        self,
		most:        most,
		mostInbound: most - most/8,
		isBanned:    isBanned,
		open:        make(map[network.Conn]struct{}),
	}
}

// full tells whether one more connection of ours would be refused.
func (g *gater) full() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.room(g.most)
}

// room tells whether fewer than most connections are open; g.mu is held.
func (g *gater) room(most int) bool {
	if len(g.open) < most {
		return true
	}
	// One that was let through may have failed before anybody heard of it.
	for c := range g.open {
		if c.IsClosed() {
			delete(g.open, c)
		}
	}
	return len(g.open) < most
}

// closed is told of each connection that ends.
func (g *gater) closed(c network.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.open, c)
}

// InterceptPeerDial implements connmgr.ConnectionGater.
func (g *gater) InterceptPeerDial(id peer.ID) bool { return !g.isBanned(id) }

// InterceptAddrDial implements connmgr.ConnectionGater.
func (g *gater) InterceptAddrDial(id peer.ID, _ ma.Multiaddr) bool { return !g.isBanned(id) }

// InterceptAccept implements connmgr.ConnectionGater. It refuses before any
// handshake is paid for.
func (g *gater) InterceptAccept(network.ConnMultiaddrs) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.room(g.mostInbound)
}

// InterceptSecured implements connmgr.ConnectionGater.
func (g *gater) InterceptSecured(_ network.Direction, id peer.ID, _ network.ConnMultiaddrs) bool {
	return !g.isBanned(id)
}

// InterceptUpgraded implements connmgr.ConnectionGater.
func (g *gater) InterceptUpgraded(c network.Conn) (bool, control.DisconnectReason) {
	if c.LocalPeer() != g.self {
		return true, 0 // AutoNAT dials from a host of its own
	}
	most := g.most
	if c.Stat().Direction == network.DirInbound {
		most = g.mostInbound
	}
	if g.isBanned(c.RemotePeer()) {
		return false, 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.room(most) {
		return false, 0
	}
	g.open[c] = struct{}{}
	return true, 0
}

var _ connmgr.ConnectionGater = (*gater)(nil)
