// Package events sends the events of a store, or of a swarm, to its subscribers.
//
// The key type is [Hub]. Each event goes to everyone subscribed at that moment.
// Each subscription buffers a fixed number of events. Sending never blocks: when
// a buffer is full the event is dropped, and the next one that fits says how many
// were lost.
//
// A Hub is safe for concurrent use and has no goroutines of its own. It is no
// log: it keeps nothing for later subscribers. It does not look at the events.
package events

import (
	"context"
	"iter"
	"sync"
)

// A Hub sends events to its subscribers. Make one with New.
type Hub[E any] struct {
	buffer  int
	setLost func(e *E, n uint64)

	mu            sync.Mutex // guards the following
	subscriptions map[*subscription[E]]struct{}
	closed        bool
}

type subscription[E any] struct {
	events chan E
	lost   uint64 // guarded by Hub.mu
}

// New returns a hub whose subscriptions buffer so many events each. The hub calls
// setLost to write into an event how many were dropped before it.
func New[E any](buffer int, setLost func(e *E, n uint64)) *Hub[E] {
	return &Hub[E]{buffer: buffer, setLost: setLost, subscriptions: make(map[*subscription[E]]struct{})}
}

// Send sends an event to all subscribers.
func (h *Hub[E]) Send(e E) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subscriptions {
		h.setLost(&e, s.lost)
		select {
		case s.events <- e:
			s.lost = 0
		default:
			s.lost++
		}
	}
}

// Subscribe returns the events sent from the call on, until the context ends or
// the hub is closed. The subscription starts with the call, not with the first
// iteration, and ends with the first iteration or the context. Later iterations
// yield only what was still buffered then.
func (h *Hub[E]) Subscribe(ctx context.Context) iter.Seq[E] {
	s := &subscription[E]{events: make(chan E, h.buffer)}
	h.mu.Lock()
	if h.closed {
		close(s.events)
	} else {
		h.subscriptions[s] = struct{}{}
	}
	h.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { h.unsubscribe(s) })
	return func(yield func(E) bool) {
		defer func() {
			stop()
			h.unsubscribe(s)
		}()
		for {
			select {
			case e, ok := <-s.events:
				if !ok || !yield(e) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

func (h *Hub[E]) unsubscribe(s *subscription[E]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, subscribed := h.subscriptions[s]; subscribed {
		delete(h.subscriptions, s)
		close(s.events)
	}
}

// Close ends all subscriptions, after they have yielded what was sent before, and
// those made later at once. It may be called again.
func (h *Hub[E]) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for s := range h.subscriptions {
		close(s.events)
		delete(h.subscriptions, s)
	}
}
