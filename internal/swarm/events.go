package swarm

import (
	"context"
	"fmt"
	"iter"

	"github.com/cairn-ipfs/cairn/internal/events"
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

func newHub() *events.Hub[Event] {
	return events.New(maxEvents, func(e *Event, lost uint64) { e.Lost = lost })
}

// Events returns what happens from the call on, until the context ends or the
// swarm closes. Last it yields the error that ended it: the context's, or
// ErrClosed. A slow subscriber loses events; the next one says how many. The
// subscription starts with the call and ends with the iteration or the context.
func (s *Swarm) Events(ctx context.Context) iter.Seq2[Event, error] { return s.events.Subscribe(ctx) }
