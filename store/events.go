package store

import (
	"context"
	"fmt"
	"iter"

	"github.com/cairn-ipfs/cairn/internal/events"
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
	// Name, and what was held in its place is released.
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
	Kind   EventKind `json:"kind"`
	Name   string    `json:"name,omitempty"`
	CID    cid.Cid   `json:"cid,omitzero"`
	Blocks int64     `json:"blocks,omitempty"`
	Bytes  int64     `json:"bytes,omitempty"`
	// Lost is how many events before this one were dropped because the
	// subscriber was slow.
	Lost uint64 `json:"lost,omitempty"`
}

// maxEvents bounds what waits for a slow subscriber.
const maxEvents = 1024

func newHub() *events.Hub[Event] {
	return events.New(maxEvents, func(e *Event, lost uint64) { e.Lost = lost })
}

// Events returns what happens from the call on, until the context ends or the
// store closes. Last it yields the error that ended it: the context's, or
// ErrClosed. A slow subscriber loses events; the next one says how many. The
// subscription starts with the call and ends with the iteration or the context.
func (s *Store) Events(ctx context.Context) iter.Seq2[Event, error] { return s.events.Subscribe(ctx) }
