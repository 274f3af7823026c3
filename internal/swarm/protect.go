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
	// protectedTag is ours among those who protect connections.
	protectedTag = "cairn"

	// maxProtected bounds the protected peers, each of which has a goroutine.
	maxProtected = 1024

	// maxRedial is the longest wait between dials of a protected peer.
	maxRedial = 10 * time.Minute

	// steady is how long a connection has to last for the next dial not to
	// count as one more failure: a peer that accepts and hangs up is not to be
	// dialled in a loop.
	steady = time.Minute
)

// A keeper holds the connection with a protected peer.
type keeper struct {
	cancel context.CancelFunc
	woken  chan struct{} // room for one
	// fresh says that there is a reason to dial now, such as a new address.
	fresh atomic.Bool
}

// Protect keeps a peer connected: its connections aren't closed to make room,
// and when they go it is dialled again until it is back. It works in the
// background, also for a peer whose addresses aren't known yet.
func (s *Swarm) Protect(id peer.ID) error {
	if err := id.Validate(); err != nil {
		return fmt.Errorf("swarm: protect %q: %w", string(id), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("swarm: protect %s: %w", id, ErrClosed)
	}
	if s.kept[id] != nil || id == s.ID() {
		return nil
	}
	if len(s.kept) >= maxProtected {
		return fmt.Errorf("swarm: protect %s: there are %d already", id, maxProtected)
	}
	ctx, cancel := context.WithCancel(s.ctx)
	k := &keeper{cancel: cancel, woken: make(chan struct{}, 1)}
	s.kept[id] = k
	s.trimmer.Protect(id, protectedTag)
	s.running.Go(func() { s.keep(ctx, id, k) })
	return nil
}

// Unprotect ends what Protect began. The connections stay open until they are
// in the way.
func (s *Swarm) Unprotect(id peer.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.kept[id]; k != nil {
		k.cancel()
		delete(s.kept, id)
		s.trimmer.Unprotect(id, protectedTag)
	}
}

// isKept tells whether a peer is protected.
func (s *Swarm) isKept(id peer.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept[id] != nil
}

// wake has the keeper of a peer, if there is one, look how things are; fresh:
// and dial now rather than later.
func (s *Swarm) wake(id peer.ID, fresh bool) {
	s.mu.Lock()
	k := s.kept[id]
	s.mu.Unlock()
	if k == nil {
		return
	}
	if fresh {
		k.fresh.Store(true)
	}
	select {
	case k.woken <- struct{}{}:
	default:
	}
}

// keep dials a peer whenever it isn't connected, until the context ends.
func (s *Swarm) keep(ctx context.Context, id peer.ID, k *keeper) {
	failures := 0
	var up, next time.Time // since when it is connected; when to dial next
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
		if wait := time.Until(next); wait > 0 && !k.fresh.Swap(false) {
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
			s.log.Debug("swarm: a protected peer does not answer", "peer", id, "failures", failures, "err", err)
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

// redialAfter is the wait after so many failures: doubled by each, and up to a
// quarter longer or shorter, so that two nodes don't keep missing each other.
func (s *Swarm) redialAfter(failures int) time.Duration {
	wait := min(s.config.Redial<<min(failures-1, 20), maxRedial)
	return wait*3/4 + rand.N(wait/2+1)
}
