// Package feed tells whoever listens what happens: the events of a store, or of
// a swarm.
//
// The key type is [Hub]. What is sent goes to all who listen at that moment, each
// of whom has room for a number of events. Sending never waits: who doesn't take
// events in time loses some, and is told by the next one how many.
//
// A Hub is safe for concurrent use, and has no goroutines of its own. It keeps
// nothing for those who come later, and knows nothing of what it spreads.
package feed

import (
	"context"
	"iter"
	"sync"
)

// A Hub spreads events to listeners. Make one with New.
type Hub[E any] struct {
	most int
	lost func(e *E, n uint64)

	mu        sync.Mutex // guards what follows
	listeners map[*listener[E]]struct{}
	closed    bool
}

type listener[E any] struct {
	events chan E
	lost   uint64 // guarded by Hub.mu
}

// New makes a hub. At most most events wait for each listener; lost notes in an
// event how many were dropped before it.
func New[E any](most int, lost func(e *E, n uint64)) *Hub[E] {
	return &Hub[E]{most: most, lost: lost, listeners: make(map[*listener[E]]struct{})}
}

// Send tells all who listen.
func (h *Hub[E]) Send(e E) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.listeners {
		h.lost(&e, l.lost)
		select {
		case l.events <- e:
			l.lost = 0
		default:
			l.lost++
		}
	}
}

// Listen returns what is sent from the call on, until the context ends or the hub
// is closed. The listening begins with the call, and ends with the iteration or
// the context; what is iterated over later has what was left then.
func (h *Hub[E]) Listen(ctx context.Context) iter.Seq[E] {
	l := &listener[E]{events: make(chan E, h.most)}
	h.mu.Lock()
	if h.closed {
		close(l.events)
	} else {
		h.listeners[l] = struct{}{}
	}
	h.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { h.leave(l) })
	return func(yield func(E) bool) {
		defer func() {
			stop()
			h.leave(l)
		}()
		for {
			select {
			case e, ok := <-l.events:
				if !ok || !yield(e) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

func (h *Hub[E]) leave(l *listener[E]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, listening := h.listeners[l]; listening {
		delete(h.listeners, l)
		close(l.events)
	}
}

// Close ends all iterations, when they have yielded what was sent before, and
// those that begin later. It may be called again.
func (h *Hub[E]) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for l := range h.listeners {
		close(l.events)
		delete(h.listeners, l)
	}
}
