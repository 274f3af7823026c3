package store

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/crashfs"
	"github.com/ipfs/go-cid"
)

// attempt runs f on a store (nil if f needs none) whose power may be cut
// meanwhile; f may then never return. It reports whether f was acknowledged, and
// whether the power was cut.
func (h harness) attempt(fs *crashfs.FS, s *Store, f func(*crashfs.FS, *Store) error) (acknowledged, crashed bool) {
	h.Helper()
	result := make(chan error, 1)
	go func() { result <- f(fs, s) }()
	select {
	case err := <-result:
		if !fs.Crashed() {
			h.ok(err)
		}
		return err == nil, fs.Crashed()
	case <-fs.Dead():
	}
	select {
	case err := <-result:
		return err == nil, true
	default:
		return false, true
	}
}

// A swap publishes a new version: blocks, an alias, and a value in a space, all in
// one batch.
type swap struct {
	harness
	old, new []block.Block // the roots come last
	garbage  []block.Block
}

func newSwap(h harness) *swap {
	rng := rand.New(rand.NewPCG(1, 2))
	w := &swap{harness: h}
	shared := h.random(rng, 500)
	a, b := h.random(rng, 30_000), h.random(rng, 100)
	dir := h.link("dir", shared.CID(), b.CID())
	w.old = []block.Block{shared, a, h.link("old", shared.CID(), a.CID())}
	// Packs of 64 KiB are sealed meanwhile.
	links := []cid.Cid{dir.CID(), h.inline(shared.CID()).CID()}
	for range 4 {
		filler := h.random(rng, 25_000)
		w.new, links = append(w.new, filler), append(links, filler.CID())
	}
	w.new = append(w.new, shared, b, dir, h.link("new", links...))
	for range 3 {
		w.garbage = append(w.garbage, h.random(rng, 15_000))
	}
	return w
}

func root(blocks []block.Block) block.Block { return blocks[len(blocks)-1] }

var swapOptions = Options{PackSize: 64 << 10, Reserve: -1, RecordedSpaces: []string{"kept"}}

// open opens the store on fs. It is not closed when the test ends: it may hang, as
// a process without power.
func (w *swap) open(fs *crashfs.FS) *Store {
	w.Helper()
	o := swapOptions
	o.fs = fs
	s, err := Open(w.ctx, "repo", o)
	w.ok(err)
	return s
}

func (w *swap) prepare(fs *crashfs.FS) *Store {
	w.Helper()
	s := w.open(fs)
	w.commit(s, "old", w.old)
	w.put(s, w.garbage...)
	return s
}

func (w *swap) commit(s *Store, note string, blocks []block.Block) {
	w.Helper()
	w.ok(w.try(s, note, blocks))
}

func (w *swap) try(s *Store, note string, blocks []block.Block) error {
	b := s.Batch()
	defer b.Discard()
	if err := b.Put(w.ctx, blocks...); err != nil {
		return err
	}
	b.Alias("x", root(blocks).CID(), AliasOptions{})
	b.Set("kept", []byte("version"), []byte(note))
	b.Set("other", []byte("version"), []byte(note))
	return b.Commit(w.ctx)
}

// check reports whether the store is as after the swap, and fails the test unless
// it is that or exactly as before. A rebuild can't restore spaces that aren't
// recorded.
func (w *swap) check(s *Store, when string, rebuilt bool) (after bool) {
	w.Helper()
	a, err := s.GetAlias(w.ctx, "x")
	w.ok(err)
	note, blocks := "old", w.old
	if after = a.Root == root(w.new).CID(); after {
		note, blocks = "new", w.new
	}
	if a.Root != root(blocks).CID() {
		w.Fatalf("%s: x is %s, neither the old root nor the new one", when, a.Root)
	}
	for _, space := range []string{"kept", "other"} {
		value, _, err := s.Space(space).Get(w.ctx, []byte("version"))
		w.ok(err)
		if rebuilt && space == "other" {
			continue
		}
		if string(value) != note {
			w.Fatalf("%s: the alias is %s and the space %s says %q", when, note, space, value)
		}
	}
	w.has(s, true, blocks...)
	w.wants(s)
	w.misses(s, a.Root, Selection{})
	w.audit(s)
	return after
}

// The power is cut at each call of a commit that changes something on disk: the
// pack's bytes, its sync, the index, the sealing of packs. A restart finds the
// state before or after, and the latter if it was acknowledged. The same holds
// after a rebuild from the packs alone.
func TestCommitIsAtomic(t *testing.T) {
	w := newSwap(newHarness(t))
	both := map[bool]int{}
	for keeping := range 3 {
		for n := 1; ; n++ {
			fs := crashfs.New(uint64(1000*keeping + n))
			s := w.prepare(fs)
			fs.Hang()
			fs.CrashAfter(n)
			acknowledged, gone := w.attempt(fs, s, func(_ *crashfs.FS, s *Store) error { return w.try(s, "new", w.new) })
			fs.CrashAfter(0)
			if !gone {
				if !acknowledged {
					t.Fatalf("call %d: neither done nor crashed", n)
				}
				w.ok(s.Close())
				if n < 10 {
					t.Errorf("the commit took %d calls, want it interrupted at more places", n)
				}
				break
			}
			crashed, keep := fs, []int{0, 50, 100}[keeping]
			when := fmt.Sprintf("power lost at call %d", n)
			o := swapOptions
			// The index may be lost along with the power.
			fs = crashed.CrashKeeping(keep)
			o.fs = fs
			_, err := Rebuild(w.ctx, "repo", o, nil)
			w.ok(err)
			s = w.open(fs)
			if after := w.check(s, when+", and the index", true); acknowledged && !after {
				t.Fatalf("%s, and the index: what was acknowledged is lost", when)
			}
			w.ok(s.Close())
			fs = crashed.CrashKeeping(keep)
			s = w.open(fs)
			after := w.check(s, when, false)
			both[after]++
			if acknowledged && !after {
				t.Fatalf("%s: what was acknowledged is lost", when)
			}
			if n%2 == 0 {
				// The rest of a half-written commit does no harm.
				w.commit(s, "new", w.new)
				after = w.check(s, when+", then done again", false)
			}
			w.evict(s)
			w.has(s, false, w.garbage...)
			w.ok(s.Close())

			o.fs = fs
			if _, err := Rebuild(w.ctx, "repo", o, nil); err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			s = w.open(fs)
			if got := w.check(s, when+", then a rebuild", true); got != after {
				t.Fatalf("%s: a rebuild has it that the commit was made: %v; the index had %v", when, got, after)
			}
			w.ok(s.Close())
		}
	}
	t.Logf("found the state before %d times and after %d times", both[false], both[true])
	if both[false] < 10 {
		t.Errorf("found the state before %d times, want it often", both[false])
	}
}

// The same for an eviction that copies live blocks and removes packs: no live
// block is lost at any moment.
func TestEvictionIsSafe(t *testing.T) {
	w := newSwap(newHarness(t))
	for keeping := range 3 {
		for n := 1; ; n++ {
			fs := crashfs.New(uint64(1000*keeping + n))
			s := w.prepare(fs)
			fs.Hang()
			fs.CrashAfter(n)
			_, crashed := w.attempt(fs, s, func(_ *crashfs.FS, s *Store) error {
				e, err := s.Evict(w.ctx, EvictOptions{})
				if err == nil && e.Packs == 0 {
					err = fmt.Errorf("no pack was removed: %+v", e)
				}
				return err
			})
			fs.CrashAfter(0)
			if !crashed {
				w.ok(s.Close())
				if n < 10 {
					t.Errorf("the eviction took %d calls, want it interrupted at more places", n)
				}
				break
			}
			fs = fs.CrashKeeping([]int{0, 50, 100}[keeping])
			when := fmt.Sprintf("power lost at call %d", n)
			s = w.open(fs)
			if w.check(s, when, false) {
				t.Fatalf("%s: the commit is there that never was", when)
			}
			w.evict(s)
			w.has(s, false, w.garbage...)
			w.commit(s, "new", w.new)
			if !w.check(s, when, false) {
				t.Fatalf("%s: a commit after it isn't there", when)
			}
			w.ok(s.Close())
		}
	}
}

// A rebuild that loses its power is started again, and loses nothing.
func TestRebuildIsSafe(t *testing.T) {
	w := newSwap(newHarness(t))
	for keeping := range 3 {
		step := 1
		for n := 1; ; n += step {
			step = 1 + n/4 // the calls in the middle are alike
			fs := crashfs.New(uint64(1000*keeping + n))
			s := w.prepare(fs)
			w.ok(s.Close())
			fs.Hang()
			fs.CrashAfter(n)
			rebuild := func(fs *crashfs.FS, _ *Store) error {
				o := swapOptions
				o.fs = fs
				_, err := Rebuild(w.ctx, "repo", o, nil)
				return err
			}
			_, crashed := w.attempt(fs, nil, rebuild)
			fs.CrashAfter(0)
			if crashed {
				fs = fs.CrashKeeping([]int{0, 50, 100}[keeping])
				w.ok(rebuild(fs, nil))
			}
			s = w.open(fs)
			if w.check(s, fmt.Sprintf("power lost at call %d of a rebuild", n), true) {
				t.Fatal("the commit is there that never was")
			}
			w.ok(s.Close())
			if !crashed {
				break
			}
		}
	}
}
