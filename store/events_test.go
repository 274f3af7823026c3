package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
)

func TestEventsAreBounded(t *testing.T) {
	const more = 100
	h := newHarness(t)
	s := h.open("", Options{})
	take, stop := iter.Pull2(s.Events(h.ctx))
	defer stop()
	a := h.leaf("a")
	b := s.Batch()
	for i := range maxEvents + more {
		b.Alias(fmt.Sprint(i), a.CID(), AliasOptions{})
	}
	h.ok(b.Commit(h.ctx))
	for i := range maxEvents {
		e, err, _ := take()
		if want := (Event{Kind: EventAlias, Name: fmt.Sprint(i), CID: a.CID()}); err != nil || e != want {
			t.Fatalf("event %d: got %+v, %v, want %+v", i, e, err, want)
		}
	}
	h.ok(s.RemoveAlias(h.ctx, "7"))
	if e, err, _ := take(); err != nil || e.Kind != EventUnalias || e.Name != "7" || e.Lost != more {
		t.Errorf("got %+v, want alias 7 removed, and %d events lost before", e, more)
	}
	h.ok(s.RemoveAlias(h.ctx, "8"))
	if e, err, _ := take(); err != nil || e.Name != "8" || e.Lost != 0 {
		t.Errorf("got %+v, want alias 8 removed, and no events lost", e)
	}
}

func TestEventsReachEachListener(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	first := h.listen(s)
	a, garbage := h.leaf("a"), h.leaf("garbage")
	h.put(s, a, garbage)
	h.alias(s, "x", a)
	second := h.listen(s) // gets no earlier events
	h.evict(s)
	h.ok(s.RemoveAlias(h.ctx, "x"))
	if e := first(EventAlias); e.Name != "x" || e.CID != a.CID() {
		t.Errorf("got %+v, want x set", e)
	}
	for i, next := range []func(EventKind) Event{first, second} {
		if e := next(EventEvicted); e.Blocks != 1 {
			t.Errorf("listener %d: got %+v, want one block evicted", i, e)
		}
		if e := next(EventUnalias); e.Name != "x" || e.CID != a.CID() {
			t.Errorf("listener %d: got %+v, want x removed", i, e)
		}
	}
}

// A change that was refused or failed sends no event.
func TestEventsOfWhatHappened(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	next := h.listen(s)
	a := h.leaf("a")
	b := s.Batch()
	b.Alias("never", a.CID(), AliasOptions{})
	b.RemoveAlias("there is none")
	if err := b.Commit(h.ctx); err == nil {
		t.Fatal("commit: got no error")
	}
	h.alias(s, "x", a)
	if e := next(EventAlias); e.Name != "x" {
		t.Errorf("got %+v, want x set first", e)
	}
}

func TestEventsEnd(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	ctx, cancel := context.WithCancel(h.ctx)
	ended := s.Events(ctx)
	cancel()
	for e, err := range ended {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %+v, %v of a context that has ended, want its error", e, err)
		}
	}
	open := s.Events(h.ctx)
	h.alias(s, "x", h.leaf("a"))
	h.ok(s.Close())
	var kinds []EventKind
	var last error
	for e, err := range open {
		if last = err; err == nil {
			kinds = append(kinds, e.Kind)
		}
	}
	if len(kinds) != 1 || kinds[0] != EventAlias || !errors.Is(last, ErrClosed) {
		t.Errorf("got kinds %v, %v, want what was before Close, and ErrClosed", kinds, last)
	}
	for e, err := range s.Events(h.ctx) {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("got %+v, %v of a store that is closed, want ErrClosed", e, err)
		}
	}
}
