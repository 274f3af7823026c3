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
	"cmp"
	"context"
	"errors"
	"iter"
	"sync"
)

// A Hub sends events to its subscribers. Make one with New.
type Hub[E any] struct {
	buffer  int
	setLost func(e *E, n uint64)

	mu            sync.Mutex // guards the following
	subscriptions map[*subscription[E]]struct{}
	closed        error // nil until Close
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

// errEnded ends an iteration after the one that ended the subscription.
var errEnded = errors.New("the subscription has ended")

// Subscribe returns the events sent from the call on, until the context ends or
// the hub is closed. Last it yields the error that ended it: the context's, or
// that of Close. The subscription starts with the call, not with the first
// iteration, and ends with the first iteration or the context. Later iterations
// yield only what was still buffered then, and an error.
func (h *Hub[E]) Subscribe(ctx context.Context) iter.Seq2[E, error] {
	s := &subscription[E]{events: make(chan E, h.buffer)}
	h.mu.Lock()
	if h.closed != nil {
		close(s.events)
	} else {
		h.subscriptions[s] = struct{}{}
	}
	h.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { h.unsubscribe(s) })
	return func(yield func(E, error) bool) {
		defer func() {
			stop()
			h.unsubscribe(s)
		}()
		for {
			select {
			case e, ok := <-s.events:
				if !ok {
					yield(*new(E), h.ended(ctx))
					return
				}
				if !yield(e, nil) {
					return
				}
			case <-ctx.Done():
				yield(*new(E), ctx.Err())
				return
			}
		}
	}
}

// ended returns why a subscription has ended.
func (h *Hub[E]) ended(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return cmp.Or(ctx.Err(), h.closed, errEnded)
}

func (h *Hub[E]) unsubscribe(s *subscription[E]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, subscribed := h.subscriptions[s]; subscribed {
		delete(h.subscriptions, s)
		close(s.events)
	}
}

// Close ends all subscriptions with err, after they have yielded what was sent
// before, and those made later at once. It may be called again.
func (h *Hub[E]) Close(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = err
	for s := range h.subscriptions {
		close(s.events)
		delete(h.subscriptions, s)
	}
}
