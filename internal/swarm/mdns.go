package swarm

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
)

// maxDiscovered is how many peers found by mDNS are dialled at a time; those
// beyond it will be heard of again.
const maxDiscovered = 16

// An mdnsService is the one running, if any. It announces the addresses that
// were listened on when it began.
type mdnsService struct {
	mu      sync.Mutex // guards what follows
	closed  bool
	running io.Closer
	dialled int
}

// restartMDNS announces the addresses listened on now. Without any it does
// nothing, since there is nothing to announce.
func (s *Swarm) restartMDNS() error {
	s.mdns.mu.Lock()
	defer s.mdns.mu.Unlock()
	if s.mdns.closed || len(s.net.ListenAddresses()) == 0 {
		return nil
	}
	if s.mdns.running != nil {
		s.mdns.running.Close()
		s.mdns.running = nil
	}
	service := mdns.NewMdnsService(s.host, "", discovery{s})
	if err := service.Start(); err != nil {
		return fmt.Errorf("swarm: announce in the local network (mDNS): %w", err)
	}
	s.mdns.running = service
	return nil
}

func (m *mdnsService) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	if m.running != nil {
		m.running.Close()
		m.running = nil
	}
}

// A discovery is told of who was found in the local network.
type discovery struct{ s *Swarm }

var _ mdns.Notifee = discovery{}

// HandlePeerFound implements mdns.Notifee. What it is told is anybody's word,
// in the local network.
func (d discovery) HandlePeerFound(p peer.AddrInfo) {
	s := d.s
	if p.ID == s.ID() {
		return
	}
	for _, addr := range p.Addrs[:min(len(p.Addrs), maxAddresses)] {
		// What can't be dialled is no use, and no error.
		_ = s.AddAddr(p.ID, addr, SourceMDNS)
	}
	s.mdns.mu.Lock()
	full := s.mdns.dialled >= maxDiscovered
	if !full {
		s.mdns.dialled++
	}
	s.mdns.mu.Unlock()
	if full {
		return
	}
	done := func() {
		s.mdns.mu.Lock()
		s.mdns.dialled--
		s.mdns.mu.Unlock()
	}
	spawned := s.spawn(func() {
		defer done()
		s.events.Send(Event{Kind: EventDiscovered, Peer: p.ID})
		ctx, cancel := context.WithTimeout(s.ctx, dialTimeout)
		defer cancel()
		if err := s.Connect(ctx, peer.AddrInfo{ID: p.ID}); err != nil {
			s.log.Debug("swarm: a peer of the local network does not answer", "peer", p.ID, "err", err)
		}
	})
	if !spawned {
		done()
	}
}
