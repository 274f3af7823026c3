package store

import (
	"fmt"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/crashfs"
	"github.com/ipfs/go-cid"
)

// marked tells whether a block carries a mark that all below it is here, which
// still holds.
func (h harness) marked(s *Store, b block.Block) bool {
	h.Helper()
	h.ok(s.Flush(h.ctx))
	st, err := s.Stats(h.ctx)
	h.ok(err)
	n := nodeOf(b.CID())
	r, err := s.lookup(n.mh)
	h.ok(err)
	f, _ := r.find(n.codec)
	return f.whole == st.LossEpoch
}

func TestWholeMarks(t *testing.T) {
	h := newHarness(t)
	fs := crashfs.New(1)
	s := h.open("repo", Options{FS: fs})
	a, b, c := h.leaf("a"), h.leaf("b"), h.leaf("c")
	left, right := h.link("left", a.CID()), h.link("right", b.CID(), c.CID())
	root := h.link("root", left.CID(), right.CID())
	h.put(s, a, b, left, right, root)
	h.alias(s, "x", root)
	h.wants(s, c)
	h.misses(s, root.CID(), Selection{}, c)
	if !h.marked(s, left) || h.marked(s, right) || h.marked(s, root) {
		t.Errorf("marked: left %v, right %v, root %v; want the left alone", h.marked(s, left), h.marked(s, right), h.marked(s, root))
	}
	h.put(s, c)
	// A partial walk takes no mark for granted, and leaves none.
	h.misses(s, root.CID(), Selection{Skip: []cid.Cid{a.CID()}})
	if h.marked(s, root) {
		t.Error("a walk of a part marked the root")
	}
	h.misses(s, root.CID(), Selection{})
	if !h.marked(s, right) || !h.marked(s, root) {
		t.Error("what is whole isn't marked")
	}

	// A walk that stops at marks reads none of what is below: whoever put the
	// mark there wrongly would find out here.
	n := nodeOf(left.CID())
	before := fs.Count(crashfs.OpRead)
	h.misses(s, root.CID(), Selection{})
	if got := fs.Count(crashfs.OpRead).Calls - before.Calls; got > 0 {
		t.Errorf("a walk of a whole DAG took %d reads of the disk", got)
	}

	// A loss anywhere raises the epoch, so that no mark holds any more.
	h.flip(fs, s, a)
	st, err := s.Stats(h.ctx)
	h.ok(err)
	epoch := st.LossEpoch
	if _, err := s.Verify(h.ctx, VerifyOptions{Data: true, Repair: true}); err != nil {
		t.Fatal(err)
	}
	if st, err = s.Stats(h.ctx); err != nil || st.LossEpoch <= epoch {
		t.Errorf("epoch after a loss: got %d, %v, want more than %d", st.LossEpoch, err, epoch)
	}
	h.misses(s, root.CID(), Selection{}, a)
	h.wants(s, a)
	if h.marked(s, left) || h.marked(s, root) || !h.marked(s, right) {
		t.Errorf("marked: left %v, right %v, root %v; want the right alone", h.marked(s, left), h.marked(s, right), h.marked(s, root))
	}
	h.ok(s.Close())

	// The epoch, and with it the marks, outlive the process.
	s = h.open("repo", Options{FS: fs})
	if h.marked(s, left) || !h.marked(s, right) {
		t.Error("the marks are others after opening again")
	}
	h.misses(s, root.CID(), Selection{}, a)
	h.put(s, a)
	h.misses(s, root.CID(), Selection{})
	if !h.marked(s, left) {
		t.Errorf("%s isn't marked when all is here again", n.cid())
	}
	h.audit(s)
}

// The loss of garbage concerns nobody.
func TestEpochStaysWhenGarbageIsLost(t *testing.T) {
	h := newHarness(t)
	fs := crashfs.New(1)
	s := h.open("repo", Options{FS: fs})
	a, b := h.leaf("a"), h.leaf("b")
	root := h.link("root", a.CID())
	h.put(s, a, b, root)
	h.alias(s, "x", root)
	h.misses(s, root.CID(), Selection{})
	h.flip(fs, s, b)
	if _, err := s.Verify(h.ctx, VerifyOptions{Data: true, Repair: true}); err != nil {
		t.Fatal(err)
	}
	h.has(s, false, b)
	if !h.marked(s, root) {
		t.Error("the mark is gone though nothing live was lost")
	}
	h.wants(s)
	h.evict(s)
	if !h.marked(s, root) {
		t.Error("the mark is gone though only garbage was evicted")
	}
	h.audit(s)
}

// A DAG that was whole, let go, and evicted in part is not taken for whole when
// it's aliased again.
func TestAliasedAgainAfterEviction(t *testing.T) {
	for _, keepPart := range []bool{false, true} {
		t.Run(fmt.Sprintf("keep a part %v", keepPart), func(t *testing.T) {
			h := newHarness(t)
			s := h.open("", Options{})
			a, b, c := h.leaf("a"), h.leaf("b"), h.leaf("c")
			left, right := h.link("left", a.CID()), h.link("right", b.CID(), c.CID())
			root := h.link("root", left.CID(), right.CID())
			h.put(s, a, b, c, left, right, root)
			h.alias(s, "x", root)
			h.misses(s, root.CID(), Selection{})
			if !h.marked(s, root) {
				t.Fatal("the whole root isn't marked")
			}
			if keepPart {
				h.alias(s, "part", left)
			}
			h.ok(s.RemoveAlias(h.ctx, "x"))
			h.evict(s)
			h.put(s, root)
			h.alias(s, "x", root)
			gone := []block.Block{right}
			if !keepPart {
				gone = append(gone, left)
			}
			h.wants(s, gone...)
			h.misses(s, root.CID(), Selection{}, gone...)
			h.put(s, right)
			h.misses(s, right.CID(), Selection{}, b, c)
			h.put(s, b)
			if keepPart {
				h.wants(s, c)
			} else {
				h.wants(s, c, left)
			}
			h.put(s, left, c, a)
			h.wants(s)
			h.misses(s, root.CID(), Selection{})
			h.audit(s)
		})
	}
}

// An alias that goes and comes back before its DAG was taken apart finds it as
// it was.
func TestAliasedAgainAtOnce(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	a := h.leaf("a")
	left := h.link("left", a.CID())
	root := h.link("root", left.CID())
	h.put(s, a, left, root)
	h.alias(s, "x", root)
	h.misses(s, root.CID(), Selection{})
	for i := range 50 {
		h.ok(s.RemoveAlias(h.ctx, "x"))
		b := s.Batch()
		if i%2 == 0 {
			b.Alias("x", left.CID(), AliasOptions{})
		}
		b.Alias("x", root.CID(), AliasOptions{})
		h.ok(b.Commit(h.ctx))
	}
	h.counted(s, 1, a, left, root)
	h.evict(s)
	h.has(s, true, a, left, root)
	h.misses(s, root.CID(), Selection{})
	h.audit(s)
}
