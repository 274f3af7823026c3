package store

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/ipfs/go-cid"
)

// EventKind says what happened.
type EventKind int

// The kinds of event.
const (
	// EventAlias: the alias Name was set to CID.
	EventAlias EventKind = iota + 1
	// EventUnalias: the alias Name, which was CID, was removed.
	EventUnalias
	// EventWhole: nothing is missing any more below CID, the root of the alias
	// Name, and what was held in its place is let go.
	EventWhole
	// EventDamaged: the bytes of the block CID have gone bad. If it was live,
	// it's wanted now.
	EventDamaged
	// EventEvicted: garbage was evicted: Blocks blocks, which gave Bytes back.
	EventEvicted
)

// String returns the kind's name: "alias", "unalias", "whole", "damaged" or
// "evicted".
func (k EventKind) String() string {
	switch k {
	case EventAlias:
		return "alias"
	case EventUnalias:
		return "unalias"
	case EventWhole:
		return "whole"
	case EventDamaged:
		return "damaged"
	case EventEvicted:
		return "evicted"
	}
	return fmt.Sprintf("event %d", int(k))
}

// An Event is something that happened in the store.
type Event struct {
	Kind   EventKind
	Name   string
	CID    cid.Cid
	Blocks int64
	Bytes  int64
	// Lost is how many events before this one were dropped, because nobody
	// took them in time.
	Lost uint64
}

// maxEvents bounds what waits for a listener that is slow.
const maxEvents = 1024

// hub spreads events to listeners.
type hub struct {
	mu        sync.Mutex // guards the following fields
	listeners map[*listener]struct{}
	closed    bool
}

type listener struct {
	events chan Event
	lost   uint64 // guarded by hub.mu
}

func newHub() *hub { return &hub{listeners: map[*listener]struct{}{}} }

func (h *hub) send(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.listeners {
		e.Lost = l.lost
		select {
		case l.events <- e:
			l.lost = 0
		default:
			l.lost++
		}
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for l := range h.listeners {
		close(l.events)
		delete(h.listeners, l)
	}
}

// Events returns what happens from the call on, until the context ends or the
// store closes. Who doesn't listen in time loses events, and is told by the
// next one how many. The listening begins with the call and ends with the
// iteration, which must take place.
func (s *Store) Events(ctx context.Context) iter.Seq[Event] {
	l := &listener{events: make(chan Event, maxEvents)}
	h := s.events
	h.mu.Lock()
	if h.closed {
		close(l.events)
	} else {
		h.listeners[l] = struct{}{}
	}
	h.mu.Unlock()
	return func(yield func(Event) bool) {
		defer func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			delete(h.listeners, l)
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
