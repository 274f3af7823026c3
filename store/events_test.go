package store

import (
	"context"
	"fmt"
	"iter"
	"testing"
)

func TestEventsAreBounded(t *testing.T) {
	const more = 100
	h := newHarness(t)
	s := h.open("", Options{})
	take, stop := iter.Pull(s.Events(h.ctx))
	defer stop()
	a := h.leaf("a")
	b := s.Batch()
	for i := range maxEvents + more {
		b.Alias(fmt.Sprint(i), a.CID(), AliasOptions{})
	}
	h.ok(b.Commit(h.ctx))
	for i := range maxEvents {
		e, ok := take()
		if want := (Event{Kind: EventAlias, Name: fmt.Sprint(i), CID: a.CID()}); !ok || e != want {
			t.Fatalf("event %d: got %+v, %v, want %+v", i, e, ok, want)
		}
	}
	h.ok(s.RemoveAlias(h.ctx, "7"))
	if e, ok := take(); !ok || e.Kind != EventUnalias || e.Name != "7" || e.Lost != more {
		t.Errorf("got %+v, want alias 7 removed, and %d events lost before", e, more)
	}
	h.ok(s.RemoveAlias(h.ctx, "8"))
	if e, ok := take(); !ok || e.Name != "8" || e.Lost != 0 {
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
	second := h.listen(s) // learns nothing of what was before
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

// A change that was refused, or that failed, is no event.
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
	for e := range ended {
		t.Errorf("got %+v of a context that has ended", e)
	}
	open := s.Events(h.ctx)
	h.alias(s, "x", h.leaf("a"))
	h.ok(s.Close())
	var kinds []EventKind
	for e := range open {
		kinds = append(kinds, e.Kind)
	}
	if len(kinds) != 1 || kinds[0] != EventAlias {
		t.Errorf("got kinds %v, want what was before Close, and an end", kinds)
	}
	for e := range s.Events(h.ctx) {
		t.Errorf("got %+v of a store that is closed", e)
	}
}
