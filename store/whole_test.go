package store

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/crashfs"
	"github.com/ipfs/go-cid"
)

// marked reports whether a block has a valid mark that all below it is here.
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
	s := h.open("repo", Options{fs: fs})
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
	// A partial walk neither trusts marks nor sets any.
	h.misses(s, root.CID(), Selection{Skip: []cid.Cid{a.CID()}})
	if h.marked(s, root) {
		t.Error("a walk of a part marked the root")
	}
	h.misses(s, root.CID(), Selection{})
	if !h.marked(s, right) || !h.marked(s, root) {
		t.Error("what is whole isn't marked")
	}

	// A walk that stops at marks reads no block below them.
	n := nodeOf(left.CID())
	before := fs.Count(crashfs.OpRead)
	h.misses(s, root.CID(), Selection{})
	if got := fs.Count(crashfs.OpRead).Calls - before.Calls; got > 0 {
		t.Errorf("a walk of a whole DAG took %d reads of the disk", got)
	}

	// A loss anywhere raises the epoch, so that no mark is valid any more.
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

	// The epoch and the marks survive a restart.
	s = h.open("repo", Options{fs: fs})
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

// The loss of garbage doesn't raise the epoch.
func TestEpochStaysWhenGarbageIsLost(t *testing.T) {
	h := newHarness(t)
	fs := crashfs.New(1)
	s := h.open("repo", Options{fs: fs})
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

// A DAG that was whole, lost its alias, and was evicted in part is not taken for whole
// when it gets an alias again.
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

// If an alias is removed and set again before its DAG collapsed, the DAG is unchanged.
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

// Presence returns what a walk would find, as far as it is known without one.
func TestPresence(t *testing.T) {
	h := newHarness(t)
	s := h.open("repo", Options{fs: crashfs.New(1)})
	a, b := h.leaf("a"), h.leaf("b")
	low, root := h.link("low", a.CID()), block.Block{}
	root = h.link("root", low.CID(), b.CID())
	batch := s.Batch()
	defer batch.Discard()
	look := func(when string, k block.Block, want Presence) {
		t.Helper()
		h.ok(s.Flush(h.ctx)) // marks are seen when they're in the index
		got, err := batch.Presence(h.ctx, k.CID())
		h.ok(err)
		if got != want {
			t.Errorf("%s: got %d, want %d", when, got, want)
		}
	}
	look("not here", a, Absent)
	h.put(s, a, low)
	look("a leaf", a, Whole)
	look("a block that nothing keeps", low, Present)
	h.put(s, root)
	h.alias(s, "x", root)
	look("a root that misses something", root, Present)
	h.misses(s, root.CID(), Selection{}, b)
	look("what a walk has found whole", low, Whole)
	look("known to be incomplete", root, Present)
	h.put(s, b)
	look("not walked again", root, Present)
	h.misses(s, root.CID(), Selection{})
	look("whole", root, Whole)
	h.ok(s.do(&op{durable: true, frees: true, apply: func(c *committer) error {
		r, err := c.row(nodeOf(a.CID()).mh)
		if err != nil {
			return err
		}
		return c.markLost(nodeOf(a.CID()).mh, r.loc)
	}}))
	look("a leaf is lost", root, Present)
	look("the leaf", a, Absent)
	// The block stays as long as the batch.
	h.put(s, a)
	look("it came again", a, Whole)
	h.ok(s.RemoveAlias(h.ctx, "x"))
	h.evict(s)
	h.has(s, true, a, low, root)
	h.has(s, false, b)
	batch.Discard()
	h.evict(s)
	h.has(s, false, a, low, root)
	if _, err := batch.Presence(h.ctx, a.CID()); err == nil {
		t.Error("a batch that is over: got no error")
	}
}

func TestLinks(t *testing.T) {
	h := newHarness(t)
	a := h.leaf("a")
	const own = 0x300017
	s := h.open("repo", Options{fs: crashfs.New(1), Links: map[uint64]func(block.Block) ([]cid.Cid, error){
		own: func(block.Block) ([]cid.Cid, error) { return []cid.Cid{a.CID()}, nil },
	}})
	k, err := block.New(own, []byte("anything"))
	h.ok(err)
	for _, b := range []block.Block{k, h.link("dir", a.CID())} {
		links, err := s.Links(b)
		if err != nil || len(links) != 1 || links[0] != a.CID() {
			t.Errorf("%s: got %v, %v, want %s", b.CID(), links, err, a.CID())
		}
	}
	other, err := block.New(own+1, []byte("anything"))
	h.ok(err)
	if _, err := s.Links(other); !errors.Is(err, block.ErrUnknownCodec) {
		t.Errorf("an unknown codec: got %v, want ErrUnknownCodec", err)
	}
}

// A walk of several DAGs doesn't mark a block whose DAG was whole when the walk saw it,
// and no longer is.
func TestLossBetweenWalks(t *testing.T) {
	h := newHarness(t)
	s := h.open("repo", Options{fs: crashfs.New(1)})
	a, b := h.leaf("a"), h.leaf("b")
	low := h.link("low", a.CID())
	one, two := h.link("one", low.CID()), h.link("two", low.CID(), b.CID())
	h.put(s, a, b, low, one, two)
	h.alias(s, "one", one)
	h.alias(s, "two", two)
	h.ok(s.Flush(h.ctx))
	w := &walk{ctx: h.ctx, s: s, seen: map[node]bool{}, yield: func(node) bool { return true }}
	h.ok(w.run(one.CID()))
	h.ok(s.do(&op{durable: true, frees: true, apply: func(c *committer) error {
		r, err := c.row(nodeOf(a.CID()).mh)
		if err != nil {
			return err
		}
		return c.markLost(nodeOf(a.CID()).mh, r.loc)
	}}))
	h.ok(w.run(two.CID()))
	if h.marked(s, two) {
		t.Error("what misses a block is marked as whole")
	}
	h.misses(s, two.CID(), Selection{}, a)
}

// An incomplete DAG is never taken for whole, though its alias is removed and set again.
func TestWholeBesideChanges(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	root := h.link("root", h.leaf("missing").CID())
	h.put(s, root)
	stop := make(chan struct{})
	var changing sync.WaitGroup
	changing.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := errors.Join(s.SetAlias(h.ctx, "x", root.CID(), AliasOptions{}), s.RemoveAlias(h.ctx, "x")); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 500 {
		if whole, err := s.Whole(h.ctx, root.CID()); whole || err != nil {
			t.Errorf("got %v, %v, want false", whole, err)
			break
		}
	}
	close(stop)
	changing.Wait()
}
