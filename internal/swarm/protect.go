package swarm

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// protectedTag is our tag for protected connections.
	protectedTag = "cairn"

	// maxProtected bounds the protected peers, each of which has a goroutine.
	maxProtected = 1024

	// maxRedial bounds the wait between dials of a protected peer.
	maxRedial = 10 * time.Minute

	// steady is how long a connection has to last to reset the count of failures:
	// a peer that accepts and hangs up must not be dialled in a loop.
	steady = time.Minute
)

// A redialer keeps a protected peer connected.
type redialer struct {
	cancel context.CancelFunc
	woken  chan struct{} // has room for one
	// urgent is set when there is a reason to dial now, such as a new address.
	urgent atomic.Bool
}

// Protect keeps a peer connected: its connections are not closed to make room, and
// after it is lost, it is dialled until it is back. That happens in the background,
// even if none of its addresses is known yet.
func (s *Swarm) Protect(id peer.ID) error {
	if err := id.Validate(); err != nil {
		return fmt.Errorf("swarm: protect %q: %w", string(id), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("swarm: protect %s: %w", id, ErrClosed)
	}
	if s.protected[id] != nil || id == s.ID() {
		return nil
	}
	if len(s.protected) >= maxProtected {
		return fmt.Errorf("swarm: protect %s: %d peers are protected already", id, maxProtected)
	}
	ctx, cancel := context.WithCancel(s.ctx)
	k := &redialer{cancel: cancel, woken: make(chan struct{}, 1)}
	s.protected[id] = k
	s.trimmer.Protect(id, protectedTag)
	s.running.Go(func() { s.keepConnected(ctx, id, k) })
	return nil
}

// Unprotect undoes Protect. The peer's connections stay open until they have to
// make room.
func (s *Swarm) Unprotect(id peer.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.protected[id]; k != nil {
		k.cancel()
		delete(s.protected, id)
		s.trimmer.Unprotect(id, protectedTag)
	}
}

// isProtected reports whether a peer is protected.
func (s *Swarm) isProtected(id peer.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.protected[id] != nil
}

// wake makes the redialer of a peer, if there is one, check the connection; if
// urgent is true, it dials without waiting.
func (s *Swarm) wake(id peer.ID, urgent bool) {
	s.mu.Lock()
	k := s.protected[id]
	s.mu.Unlock()
	if k == nil {
		return
	}
	if urgent {
		k.urgent.Store(true)
	}
	select {
	case k.woken <- struct{}{}:
	default:
	}
}

// keepConnected dials a peer whenever it isn't connected, until the context ends.
func (s *Swarm) keepConnected(ctx context.Context, id peer.ID, k *redialer) {
	failures := 0
	var up, next time.Time // when it was connected; when to dial next
	for ctx.Err() == nil {
		if s.net.Connectedness(id) == network.Connected {
			if up.IsZero() {
				up = time.Now()
			}
			select {
			case <-k.woken:
			case <-ctx.Done():
			}
			continue
		}
		if !up.IsZero() {
			if time.Since(up) >= steady {
				failures = 0
			}
			up = time.Time{}
			failures++
			next = time.Now().Add(s.redialAfter(failures))
		}
		if wait := time.Until(next); wait > 0 && !k.urgent.Swap(false) {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-k.woken:
			case <-ctx.Done():
			}
			timer.Stop()
			continue
		}
		if err := s.redial(ctx, id); err != nil {
			failures++
			next = time.Now().Add(s.redialAfter(failures))
			s.log.Debug("swarm: cannot connect to a protected peer", "peer", id, "failures", failures, "err", err)
		} else {
			up = time.Now()
		}
	}
}

func (s *Swarm) redial(ctx context.Context, id peer.ID) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return s.Connect(ctx, peer.AddrInfo{ID: id})
}

// redialAfter returns the wait after a number of failures: each doubles it, and up
// to a quarter is added or taken at random, so that two nodes don't keep missing
// each other.
func (s *Swarm) redialAfter(failures int) time.Duration {
	wait := min(s.config.Redial<<min(failures-1, 20), maxRedial)
	return wait*3/4 + rand.N(wait/2+1)
}
