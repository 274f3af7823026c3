package swarm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
)

// maxDiscovered is how many peers found by mDNS are dialled at a time; those
// beyond it will be heard of again.
const maxDiscovered = 16

// discoveredTries is how often a peer that was found is dialled, each time after
// up to discoveredPause, by chance. Two that find each other do so at the same
// moment, and dial each other: by TCP, from the ports that they listen on, that may
// end in one connection that either has opened (RFC 9293, simultaneous open), on
// which they don't understand each other. mDNS doesn't tell of them again soon.
const (
	discoveredTries = 4
	discoveredPause = time.Second
)

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
		if err := s.connectDiscovered(p.ID); err != nil {
			s.log.Debug("swarm: a peer of the local network does not answer", "peer", p.ID, "err", err)
		}
	})
	if !spawned {
		done()
	}
}

// connectDiscovered connects to a peer that was found.
func (s *Swarm) connectDiscovered(id peer.ID) error {
	ctx, cancel := context.WithTimeout(s.ctx, dialTimeout)
	defer cancel()
	for try := 1; ; try++ {
		err := s.Connect(ctx, peer.AddrInfo{ID: id})
		if err == nil || try == discoveredTries || errors.Is(err, ErrBanned) {
			return err
		}
		pause := time.NewTimer(rand.N(discoveredPause))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return err
		}
	}
}
