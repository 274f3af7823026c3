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

// maxDiscovered bounds the peers found by mDNS that are dialled at a time; mDNS
// reports further ones again.
const maxDiscovered = 16

// discoveredTries is how often a discovered peer is dialled, each time after a
// random pause of up to discoveredPause. Two peers discover and dial each other at
// the same moment. Over TCP, from the ports that they listen on, that may give one
// connection which both have opened (RFC 9293, simultaneous open), and whose
// handshake fails. mDNS doesn't report a peer again soon.
const (
	discoveredTries = 4
	discoveredPause = time.Second
)

// An mdnsService holds the running mDNS service, if there is one. The service
// announces the addresses that were listened on when it started.
type mdnsService struct {
	mu      sync.Mutex // guards the following
	closed  bool
	running io.Closer
	dialled int
}

// restartMDNS announces the current listen addresses, if there are any.
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
	service := mdns.NewMdnsService(s.host, "", discoveryHandler{s})
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

// A discoveryHandler handles the peers that mDNS finds.
type discoveryHandler struct{ s *Swarm }

var _ mdns.Notifee = discoveryHandler{}

// HandlePeerFound implements mdns.Notifee. Any machine in the local network may
// have made up the peer.
func (d discoveryHandler) HandlePeerFound(p peer.AddrInfo) {
	s := d.s
	if p.ID == s.ID() {
		return
	}
	for _, addr := range p.Addrs[:min(len(p.Addrs), maxAddresses)] {
		// Addresses that can't be dialled are ignored.
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
			s.log.Debug("swarm: cannot connect to a peer of the local network", "peer", p.ID, "err", err)
		}
	})
	if !spawned {
		done()
	}
}

// connectDiscovered connects to a discovered peer.
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
