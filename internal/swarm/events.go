package swarm

import (
	"context"
	"fmt"
	"iter"

	"github.com/cairn-ipfs/cairn/internal/events"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// An EventKind says what happened.
type EventKind int

// The kinds of event.
const (
	// EventConnected: the first connection to Peer has opened.
	EventConnected EventKind = iota + 1
	// EventDisconnected: the last connection to Peer has closed.
	EventDisconnected
	// EventListening: the swarm listens on Addr.
	EventListening
	// EventNotListening: the swarm no longer listens on Addr.
	EventNotListening
	// EventExternal: peers outside can reach the swarm at Addr, as AutoNAT found or
	// AddExternal set.
	EventExternal
	// EventNotExternal: Addr is no longer external.
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

// An Event is a change in the swarm.
type Event struct {
	Kind EventKind
	Peer peer.ID
	Addr ma.Multiaddr
	// Lost counts the events before this one that were dropped because the
	// subscriber was slow.
	Lost uint64
}

// maxEvents bounds the queue of a slow subscriber: a few times the number of
// connections.
const maxEvents = 512

func newHub() *events.Hub[Event] {
	return events.New(maxEvents, func(e *Event, lost uint64) { e.Lost = lost })
}

// Events subscribes to events. The subscription begins with the call, and ends
// with the iteration, with the context, or when the swarm closes. The error that
// ended it is yielded last: the context's, or ErrClosed. A slow subscriber loses
// events; Event.Lost of the next one counts them.
func (s *Swarm) Events(ctx context.Context) iter.Seq2[Event, error] { return s.events.Subscribe(ctx) }
