package store

import (
	"context"
	"errors"
	"testing"

	"github.com/cairn-ipfs/cairn/internal/crashfs"
)

// An iteration that is ended early yields nothing more.
func TestListsStop(t *testing.T) {
	h := newHarness(t)
	s := h.open("repo", Options{fs: crashfs.New(1)})
	a, b, c := h.leaf("a"), h.leaf("b"), h.leaf("c")
	left := h.link("left", a.CID())
	root := h.link("root", left.CID(), b.CID(), c.CID())
	h.put(s, a, left, root)
	h.alias(s, "x", root)
	// A selection makes Wanted walk, and there is more than one pin.
	h.part(s, "part", left, skip(a))
	for _, k := range []string{"d", "e"} {
		h.ok(s.TempPin().Add(h.ctx, h.leaf("%s", k).CID()))
	}
	for stop := 1; stop <= 4; stop++ {
		n := 0
		for _, err := range s.Wanted(h.ctx) {
			h.ok(err)
			if n++; n == stop {
				break
			}
		}
		if n != stop {
			t.Errorf("got %d wanted blocks, want %d", n, stop)
		}
	}
	// What has been found whole can't be marked any more.
	right := h.link("right", a.CID())
	root = h.link("another", right.CID(), b.CID())
	h.put(s, right, root)
	h.alias(s, "y", root)
	for _, err := range s.Missing(h.ctx, root.CID(), Selection{}) {
		h.ok(err)
		h.ok(s.Close())
		break
	}
}

// A list that its context ended isn't taken for complete.
func TestWantedEndsWithContext(t *testing.T) {
	h := newHarness(t)
	s := h.open("repo", Options{fs: crashfs.New(1)})
	h.alias(s, "x", h.leaf("a"))
	h.alias(s, "y", h.leaf("b"))
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	var last error
	n := 0
	for _, err := range s.Wanted(ctx) {
		if last = err; err == nil {
			n++
		}
		cancel()
	}
	if n != 1 || !errors.Is(last, context.Canceled) {
		t.Errorf("got %d blocks and %v, want 1 and the context's error", n, last)
	}
}
