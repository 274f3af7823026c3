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
	// standardRelaysEvery is how often AutoRelay, while it has too few
	// candidates, is offered all peers again, and how long it is told of new
	// ones in between.
	standardRelaysEvery = time.Minute

	// relayDelay is how long after the start AutoRelay waits for four candidates
	// before it takes what there is: a node behind a router can't be reached
	// before, and in a small network there's one.
	relayDelay = 15 * time.Second
)

// relays offers AutoRelay, which calls it with a context of its own, the peers
// that relay and that we are connected to: those of now at once, and those that
// come until it may ask again, as they say what they speak. So a node
// that starts alone asks the first relay that it meets.
func (s *Swarm) relays(ctx context.Context, most int) <-chan peer.AddrInfo {
	found := make(chan peer.AddrInfo)
	if !s.spawn(func() {
		defer close(found)
		news, err := s.host.EventBus().Subscribe(new(event.EvtPeerIdentificationCompleted),
			eventbus.BufSize(busBuffer), eventbus.Name("cairn relays"))
		if err != nil {
			s.log.Warn("swarm: relays are not looked for", "err", err)
			return
		}
		defer news.Close()
		enough := time.NewTimer(s.config.relaysEvery)
		defer enough.Stop()
		told := make(map[peer.ID]bool)
		peers := s.net.Peers()
		for len(told) < most {
			for _, id := range peers {
				if told[id] || len(told) == most || !s.mayRelay(id) {
					continue
				}
				select {
				case found <- s.host.Peerstore().PeerInfo(id):
					told[id] = true
				case <-ctx.Done():
					return
				case <-s.ctx.Done():
					return
				}
			}
			select {
			case e, open := <-news.Out():
				if !open {
					return
				}
				peers = []peer.ID{e.(event.EvtPeerIdentificationCompleted).Peer}
			case <-enough.C:
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

// mayRelay tells whether a peer that is connected directly says that it relays.
func (s *Swarm) mayRelay(id peer.ID) bool {
	direct := slices.ContainsFunc(s.net.ConnsToPeer(id), func(c network.Conn) bool { return !c.Stat().Limited })
	spoken, err := s.host.Peerstore().SupportsProtocols(id, proto.ProtoIDv2Hop)
	return direct && err == nil && len(spoken) > 0
}
