package store

import (
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/crashfs"
	"github.com/cairn-ipfs/cairn/internal/pack"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/ipfs/go-cid"
)

func (h harness) hold(s *Store, name string, root block.Block) {
	h.Helper()
	h.ok(s.SetAlias(h.ctx, name, root.CID(), AliasOptions{Hold: true}))
}

func (h harness) holds(s *Store, name string, want cid.Cid) {
	h.Helper()
	a, err := s.GetAlias(h.ctx, name)
	h.ok(err)
	if a.Held != want {
		h.Fatalf("alias %s holds %s, want %s", name, a.Held, want)
	}
}

func TestSwapHoldsTheOldRoot(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	a, b, c, d := h.leaf("a"), h.leaf("b"), h.leaf("c"), h.leaf("d")
	shared := h.link("shared", a.CID())
	one := h.link("one", shared.CID(), b.CID())
	dir := h.link("dir", c.CID(), d.CID())
	two := h.link("two", shared.CID(), dir.CID())
	h.put(s, a, b, shared, one)
	h.alias(s, "x", one)
	next := h.listen(s)

	// The new DAG comes in parts, and each shows what else is wanted.
	h.hold(s, "x", two)
	h.holds(s, "x", one.CID())
	h.wants(s, two)
	h.evict(s)
	h.has(s, true, a, b, shared, one)
	h.put(s, two)
	h.wants(s, dir)
	h.put(s, dir)
	h.wants(s, c, d)
	h.put(s, c)
	h.evict(s)
	h.has(s, true, a, b, c, shared, one, two, dir)
	h.holds(s, "x", one.CID())
	h.audit(s)

	h.ok(s.Put(h.ctx, d)) // no batch: the last block may come by any call
	if e := next(EventWhole); e.Name != "x" || e.CID != two.CID() {
		t.Fatalf("event: got %+v, want x whole with %s", e, two.CID())
	}
	h.holds(s, "x", cid.Undef)
	h.wants(s)
	h.evict(s)
	h.has(s, true, a, c, d, shared, two, dir)
	h.has(s, false, b, one)
	h.audit(s)
}

// If a root is whole when it gets the alias, the former root is released at once: no
// later event would trigger that.
func TestSwapToWholeRoot(t *testing.T) {
	h := newHarness(t)
	fs := &gateFS{FS: vfs.NewMem()}
	s := h.open("repo", Options{fs: fs})
	a, b := h.leaf("a"), h.leaf("b")
	one, two := h.link("one", a.CID()), h.link("two", b.CID())
	h.put(s, a, b, one, two)
	h.alias(s, "x", one)
	next := h.listen(s)
	var links pack.ID
	h.ok(s.do(&op{apply: func(c *committer) error { links = c.writers[kindLinks].ID(); return nil }}))
	g := fs.stop("sync", links)
	set := make(chan error, 1)
	go func() { set <- s.SetAlias(h.ctx, "x", two.CID(), AliasOptions{Hold: true}) }()
	<-g.arrived
	// If heldLoop was woken by now, it can't see the alias yet.
	for range 100 {
		h.ok(s.releaseHeld(map[string]blocker{}))
	}
	close(g.open)
	h.ok(<-set)
	next(EventWhole)
	h.holds(s, "x", cid.Undef)
	h.evict(s)
	h.has(s, true, b, two)
	h.has(s, false, a, one)
	h.audit(s)
}

// After several swaps without a whole root, the last whole root is held, and the
// missing blocks of skipped roots don't matter.
func TestSwapTwice(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	a, never, c := h.leaf("a"), h.leaf("never"), h.leaf("c")
	one, two, three := h.link("one", a.CID()), h.link("two", never.CID()), h.link("three", c.CID())
	h.put(s, a, one, two, three)
	h.alias(s, "x", one)
	next := h.listen(s)
	h.hold(s, "x", two)
	h.wants(s, never)
	// heldLoop runs, so that the alias is known to wait for that block.
	h.ok(s.releaseHeld(map[string]blocker{}))
	h.hold(s, "x", three)
	h.holds(s, "x", one.CID())
	h.wants(s, c)
	h.evict(s)
	h.has(s, true, a, one, three)
	h.has(s, false, two)
	h.put(s, c)
	if e := next(EventWhole); e.CID != three.CID() {
		t.Fatalf("event: got %+v, want %s whole", e, three.CID())
	}
	h.holds(s, "x", cid.Undef)
	h.evict(s)
	h.has(s, true, c, three)
	h.has(s, false, a, one)
	h.audit(s)
}

// An alias no longer waits for a block when it gets a whole root, or selects less.
func TestSwapAwayFromWaiting(t *testing.T) {
	for _, how := range []string{"another root", "another selection"} {
		t.Run(how, func(t *testing.T) {
			h := newHarness(t)
			s := h.open("", Options{})
			a, never := h.leaf("a"), h.leaf("never")
			one, two, three := h.link("one", a.CID()), h.link("two", never.CID()), h.link("three")
			h.put(s, a, one, two, three)
			h.alias(s, "x", one)
			next := h.listen(s)
			waits := map[string]blocker{}
			h.hold(s, "x", two)
			h.ok(s.releaseHeld(waits))
			if len(waits) != 1 {
				t.Fatalf("%d aliases wait, want 1", len(waits))
			}
			root, sel := three, Selection{}
			if how == "another selection" {
				root, sel = two, Selection{Skip: []cid.Cid{never.CID()}}
			}
			h.ok(s.SetAlias(h.ctx, "x", root.CID(), AliasOptions{Hold: true, Selection: sel}))
			h.ok(s.releaseHeld(waits))
			if e := next(EventWhole); e.CID != root.CID() {
				t.Fatalf("event: got %+v, want %s whole", e, root.CID())
			}
			h.holds(s, "x", cid.Undef)
			h.audit(s)
		})
	}
}

// If a root became whole just before a crash, or while the store was closed, the former
// root is released when the store is opened again.
func TestSwapWholeBeforeReopening(t *testing.T) {
	h := newHarness(t)
	fs := crashfs.New(1)
	s := h.open("repo", Options{fs: fs})
	a, b := h.leaf("a"), h.leaf("b")
	one, two := h.link("one", a.CID()), h.link("two", b.CID())
	h.put(s, a, one, two)
	h.alias(s, "x", one)
	h.hold(s, "x", two)
	told := h.listen(s)
	h.put(s, b)
	told(EventWhole)
	// Hold the released root again, as if it had not been released.
	h.ok(s.do(&op{durable: true, apply: func(c *committer) error {
		al, err := c.alias("x")
		if err != nil {
			return err
		}
		al.Held, al.heldTargets = one.CID(), []node{nodeOf(one.CID())}
		value := al.append(nil)
		c.set(aliasKey("x"), value)
		c.set(heldKey("x"), []byte{})
		c.record.alias("x", value)
		return c.addCounts(al.heldTargets, 1)
	}}))
	h.holds(s, "x", one.CID())
	fs = fs.CrashKeeping(100)

	s = h.open("repo", Options{fs: fs})
	next := h.listen(s)
	for {
		// It may have happened before the subscription.
		al, err := s.GetAlias(h.ctx, "x")
		h.ok(err)
		if !al.Held.Defined() {
			break
		}
		next(EventWhole)
	}
	h.evict(s)
	h.has(s, true, b, two)
	h.has(s, false, a, one)
	h.audit(s)
}

// A held root is released with the alias, or when the alias is set without Hold.
func TestHeldRootGoesWithItsAlias(t *testing.T) {
	for _, how := range []string{"remove", "set", "set to the held"} {
		t.Run(how, func(t *testing.T) {
			h := newHarness(t)
			fs := crashfs.New(1)
			s := h.open("repo", Options{fs: fs})
			a, b, never := h.leaf("a"), h.leaf("b"), h.leaf("never")
			one, two, three := h.link("one", a.CID()), h.link("two", b.CID(), never.CID()), h.link("three")
			h.put(s, a, b, one, two, three)
			h.alias(s, "x", one)
			h.hold(s, "x", two)
			h.ok(s.Close())
			s = h.open("repo", Options{fs: fs})
			h.holds(s, "x", one.CID())
			h.counted(s, 1, a, b, one, two)
			keeps := []block.Block{}
			switch how {
			case "remove":
				h.ok(s.RemoveAlias(h.ctx, "x"))
			case "set":
				h.alias(s, "x", three)
				keeps = []block.Block{three}
			case "set to the held":
				h.alias(s, "x", one)
				keeps = []block.Block{one, a}
			}
			h.wants(s)
			h.counted(s, 1, keeps...)
			h.evict(s)
			h.has(s, true, keeps...)
			st, err := s.Stats(h.ctx)
			h.ok(err)
			if got, want := st.LiveBlocks+st.CachedBlocks, int64(len(keeps)); got != want {
				t.Errorf("%d blocks are here, want %d", got, want)
			}
			h.audit(s)
		})
	}
}

// A lost block of a held root is wanted again like all live blocks, whatever other
// aliases select.
func TestHeldRootIsRepaired(t *testing.T) {
	h := newHarness(t)
	fs := crashfs.New(1)
	s := h.open("repo", Options{fs: fs})
	a, never, other := h.leaf("a"), h.leaf("never"), h.leaf("other")
	one, two := h.link("one", a.CID()), h.link("two", never.CID())
	part := h.link("part", other.CID())
	h.put(s, a, one, two, part)
	h.alias(s, "x", one)
	h.hold(s, "x", two)
	h.flip(fs, s, a)
	rep, err := s.Verify(h.ctx, VerifyOptions{Data: true, Repair: true})
	h.ok(err)
	if rep.DamagedBlocks != 1 {
		t.Fatalf("verify: got %+v, want one block damaged", rep)
	}
	h.wants(s, a, never)
	h.ok(s.SetAlias(h.ctx, "part", part.CID(), AliasOptions{Selection: Selection{Skip: []cid.Cid{other.CID()}}}))
	h.wants(s, a, never)
	h.put(s, a)
	h.wants(s, never)
	h.audit(s)
}
