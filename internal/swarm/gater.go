package swarm

import (
	"sync"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// A gater refuses banned peers, and connections beyond a limit.
type gater struct {
	self peer.ID
	// limit bounds the open connections; inbound ones have a lower limit, which
	// leaves room for those that we dial.
	limit, inboundLimit int
	isBanned            func(peer.ID) bool

	mu   sync.Mutex                // guards the following
	open map[network.Conn]struct{} // admitted, and not closed yet
}

func newGater(self peer.ID, limit int, isBanned func(peer.ID) bool) *gater {
	return &gater{
		self:         self,
		limit:        limit,
		inboundLimit: limit - limit/8,
		isBanned:     isBanned,
		open:         make(map[network.Conn]struct{}),
	}
}

// isFull reports whether the gater would refuse one more outbound connection.
func (g *gater) isFull() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.hasRoom(g.limit)
}

// hasRoom reports whether fewer than limit connections are open. The caller holds
// g.mu.
func (g *gater) hasRoom(limit int) bool {
	if len(g.open) < limit {
		return true
	}
	// An admitted connection may have failed before libp2p reported it.
	for c := range g.open {
		if c.IsClosed() {
			delete(g.open, c)
		}
	}
	return len(g.open) < limit
}

// remove removes a connection that has closed.
func (g *gater) remove(c network.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.open, c)
}

// InterceptPeerDial implements connmgr.ConnectionGater.
func (g *gater) InterceptPeerDial(id peer.ID) bool { return !g.isBanned(id) }

// InterceptAddrDial implements connmgr.ConnectionGater.
func (g *gater) InterceptAddrDial(id peer.ID, _ ma.Multiaddr) bool { return !g.isBanned(id) }

// InterceptAccept implements connmgr.ConnectionGater. It refuses connections
// before they cost a handshake.
func (g *gater) InterceptAccept(network.ConnMultiaddrs) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.hasRoom(g.inboundLimit)
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
	limit := g.limit
	if c.Stat().Direction == network.DirInbound {
		limit = g.inboundLimit
	}
	if g.isBanned(c.RemotePeer()) {
		return false, 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.hasRoom(limit) {
		return false, 0
	}
	g.open[c] = struct{}{}
	return true, 0
}

var _ connmgr.ConnectionGater = (*gater)(nil)
