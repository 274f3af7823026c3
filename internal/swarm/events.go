package swarm

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// EventKind says what happened.
type EventKind int

// The kinds of event.
const (
	// EventConnected: the first connection with Peer is open.
	EventConnected EventKind = iota + 1
	// EventDisconnected: the last connection with Peer is closed.
	EventDisconnected
	// EventListening: the swarm listens on Addr.
	EventListening
	// EventNotListening: it no longer does.
	EventNotListening
	// EventExternal: peers outside can reach the swarm at Addr, as one of them
	// found, or as AddExternal says.
	EventExternal
	// EventNotExternal: they no longer can.
	EventNotExternal
	// EventDiscovered: Peer was found in the local network.
	EventDiscovered
)

// String returns the kind's name: "connected", "disconnected", "listening",
// "not listening", "external", "not external" or "discovered".
func (k EventKind) String() string {
	switch k {
	case EventConnected:
		return "connected"
	case EventDisconnected:
		return "disconnected"
	case EventListening:
		return "listening"
	case EventNotListening:
		return "not listening"
	case EventExternal:
		return "external"
	case EventNotExternal:
		return "not external"
	case EventDiscovered:
		return "discovered"
	}
	return fmt.Sprintf("event %d", int(k))
}

// An Event is something that happened to the swarm.
type Event struct {
	Kind EventKind
	Peer peer.ID
	Addr ma.Multiaddr
	// Lost is how many events before this one were dropped, because nobody
	// took them in time.
	Lost uint64
}

// maxEvents bounds what waits for a listener that is slow: a few times as many
// as there are connections.
const maxEvents = 512

// A hub spreads events to listeners.
type hub struct {
	mu        sync.Mutex // guards what follows
	listeners map[*listener]struct{}
	closed    bool
}

type listener struct {
	events chan Event
	lost   uint64 // guarded by hub.mu
}

func newHub() *hub { return &hub{listeners: make(map[*listener]struct{})} }

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

func (h *hub) listen() *listener {
	l := &listener{events: make(chan Event, maxEvents)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		close(l.events)
	} else {
		h.listeners[l] = struct{}{}
	}
	return l
}

func (h *hub) leave(l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.listeners, l)
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
// swarm closes. Who doesn't take events in time loses some, and is told by the
// next one how many. The listening begins with the call and ends with the
// iteration or the context.
func (s *Swarm) Events(ctx context.Context) iter.Seq[Event] {
	l := s.events.listen()
	stop := context.AfterFunc(ctx, func() { s.events.leave(l) })
	return func(yield func(Event) bool) {
		defer func() {
			stop()
			s.events.leave(l)
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
