package rpc

import (
	"context"
	"fmt"
	"iter"

	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

type eventShape struct {
	Kind   string `json:"kind"`
	Name   string `json:"name,omitempty"`
	CID    string `json:"cid,omitempty"`
	Blocks int64  `json:"blocks,omitempty"`
	Bytes  int64  `json:"bytes,omitempty"`
	Lost   uint64 `json:"lost,omitempty"`
}

// events tells what happens in the store for as long as the client listens. The
// header goes out when the listening has begun.
func (c *call) events() error {
	events := c.node.Events(c.ctx)
	err := c.lines(nil)
	if err == nil {
		err = c.control.Flush()
	}
	if err != nil {
		return err
	}
	for e, err := range events {
		if err != nil {
			return nil // the client or the node has gone: the answer ends
		}
		shape := eventShape{Kind: e.Kind.String(), Name: e.Name, Blocks: e.Blocks, Bytes: e.Bytes, Lost: e.Lost}
		if e.CID.Defined() {
			shape.CID = e.CID.String()
		}
		if err := c.line(shape); err != nil {
			return err
		}
	}
	return nil
}

// Events yields what happens in the daemon's store, until ctx ends.
func (c *Client) Events(ctx context.Context) iter.Seq2[store.Event, error] {
	return func(yield func(store.Event, error) bool) {
		for shape, err := range values[eventShape](ctx, c, request{verb: "cairn/events"}) {
			var e store.Event
			if err == nil {
				e, err = shape.event()
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

func (s eventShape) event() (store.Event, error) {
	e := store.Event{Name: s.Name, Blocks: s.Blocks, Bytes: s.Bytes, Lost: s.Lost}
	for kind := store.EventAlias; kind <= store.EventEvicted; kind++ {
		if kind.String() == s.Kind {
			e.Kind = kind
		}
	}
	if s.CID == "" {
		return e, nil
	}
	var err error
	if e.CID, err = cid.Decode(s.CID); err != nil {
		return e, fmt.Errorf("events: read the daemon's answer: %w", err)
	}
	return e, nil
}
