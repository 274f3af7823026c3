package store

import (
	"errors"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/crashfs"
)

func TestTempPins(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	a, b, never := h.leaf("a"), h.leaf("b"), h.leaf("never")
	one, two := h.link("one", a.CID(), never.CID()), h.link("two", a.CID(), b.CID())
	h.put(s, a, b, one, two)
	p, q := s.TempPin(), s.TempPin()
	h.ok(p.Add(h.ctx, one.CID(), two.CID()))
	h.ok(q.Add(h.ctx, two.CID()))
	h.counted(s, 1, one)
	h.counted(s, 2, two)
	h.wants(s, never)
	h.evict(s)
	h.has(s, true, a, b, one, two)

	unknown, err := block.New(private, nil)
	h.ok(err)
	if err := p.Add(h.ctx, unknown.CID()); !errors.Is(err, block.ErrUnknownCodec) {
		t.Errorf("pin of an unknown codec: got %v, want ErrUnknownCodec", err)
	}
	// A refused call changes nothing, not even in part.
	batch := s.Batch()
	batch.Pin(q, one.CID(), unknown.CID())
	if err := batch.Commit(h.ctx); !errors.Is(err, block.ErrUnknownCodec) {
		t.Errorf("commit with a pin of an unknown codec: got %v, want ErrUnknownCodec", err)
	}
	h.counted(s, 1, one)

	h.ok(p.Release(h.ctx))
	h.wants(s)
	h.counted(s, 1, two)
	h.evict(s)
	h.has(s, true, a, b, two)
	h.has(s, false, one)
	h.ok(p.Release(h.ctx)) // of nothing
	h.ok(q.Release(h.ctx))
	h.evict(s)
	h.has(s, false, a, b, two)
	// A pin may be used again.
	h.put(s, b)
	h.ok(q.Add(h.ctx, b.CID()))
	h.evict(s)
	h.has(s, true, b)
	h.audit(s)
}

func TestTempPinsEndWithTheProcess(t *testing.T) {
	for _, end := range []string{"close", "crash"} {
		t.Run(end, func(t *testing.T) {
			h := newHarness(t)
			fs := crashfs.New(1)
			s := h.open("repo", Options{fs: fs})
			a, b, c := h.leaf("a"), h.leaf("b"), h.leaf("c")
			one, two := h.link("one", a.CID(), b.CID()), h.link("two", b.CID(), c.CID())
			h.put(s, a, b, c, one, two)
			h.alias(s, "x", two)
			h.ok(s.TempPin().Add(h.ctx, one.CID(), h.inline(c.CID()).CID()))
			h.counted(s, 2, b, c)
			h.counted(s, 1, a, one)
			if end == "close" {
				h.ok(s.Close())
			} else {
				fs = fs.CrashKeeping(100)
			}

			s = h.open("repo", Options{fs: fs})
			h.counted(s, 1, b, c, two)
			h.counted(s, 0, a, one)
			// The ids of pins start again, and don't collide with old ones.
			p := s.TempPin()
			h.ok(p.Add(h.ctx, a.CID()))
			h.counted(s, 1, a)
			h.ok(p.Release(h.ctx))
			h.evict(s)
			h.has(s, true, b, c, two)
			h.has(s, false, a, one)
			h.audit(s)
		})
	}
}
