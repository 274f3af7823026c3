package swarm

import (
	"context"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"
)

const (
	// defaultRelaysEvery is the interval at which AutoRelay asks for all peers again
	// while it has too few candidates. In between, it is offered new ones.
	defaultRelaysEvery = time.Minute

	// relayDelay is how long after the start AutoRelay waits for four candidates
	// before it uses fewer: until then a node behind a router can't be reached, and
	// a small network may have only one.
	relayDelay = 15 * time.Second
)

// offerRelays offers connected peers that relay to AutoRelay, which calls it with
// a context of its own: the present ones at once, and until AutoRelay may ask
// again each new one as soon as its protocols are known. So a node that starts
// alone uses the first relay that it meets.
func (s *Swarm) offerRelays(ctx context.Context, limit int) <-chan peer.AddrInfo {
	found := make(chan peer.AddrInfo)
	if !s.spawn(func() {
		defer close(found)
		identified, err := s.host.EventBus().Subscribe(new(event.EvtPeerIdentificationCompleted),
			eventbus.BufSize(busBuffer), eventbus.Name("cairn relays"))
		if err != nil {
			s.log.Warn("swarm: cannot look for relays", "err", err)
			return
		}
		defer identified.Close()
		timeout := time.NewTimer(s.config.relaysEvery)
		defer timeout.Stop()
		offered := make(map[peer.ID]bool)
		peers := s.net.Peers()
		for len(offered) < limit {
			for _, id := range peers {
				if offered[id] || len(offered) == limit || !s.mayRelay(id) {
					continue
				}
				select {
				case found <- s.host.Peerstore().PeerInfo(id):
					offered[id] = true
				case <-ctx.Done():
					return
				case <-s.ctx.Done():
					return
				}
			}
			select {
			case e, open := <-identified.Out():
				if !open {
					return
				}
				peers = []peer.ID{e.(event.EvtPeerIdentificationCompleted).Peer}
			case <-timeout.C:
				return
			case <-ctx.Done():
				return
			case <-s.ctx.Done():
				return
			}
		}
	}) {
		close(found)
	}
	return found
}

// mayRelay reports whether a peer is directly connected and has the relay protocol.
func (s *Swarm) mayRelay(id peer.ID) bool {
	direct := slices.ContainsFunc(s.net.ConnsToPeer(id), func(c network.Conn) bool { return !c.Stat().Limited })
	supported, err := s.host.Peerstore().SupportsProtocols(id, proto.ProtoIDv2Hop)
	return direct && err == nil && len(supported) > 0
}
