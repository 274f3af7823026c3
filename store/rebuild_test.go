package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/crashfs"
)

func (h harness) rebuild(fs *crashfs.FS, o Options) RebuildResult {
	h.Helper()
	o.fs = fs
	rb, err := Rebuild(h.ctx, "repo", o, nil)
	h.ok(err)
	return rb
}

// The ids of removed packs are not used again, for records have them.
func TestRebuildKeepsIDs(t *testing.T) {
	h := newHarness(t)
	fs := crashfs.New(1)
	s := h.open("repo", Options{fs: fs})
	root := h.link("root", h.leaf("none").CID()) // lies in the first pack of links
	big := h.random(rand.New(rand.NewPCG(1, 1)), 10_000)
	h.put(s, root)
	b := s.Batch()
	h.ok(b.Put(h.ctx, big))
	b.Alias("x", root.CID(), AliasOptions{})
	h.ok(b.Commit(h.ctx))
	e := h.evict(s)
	if e.Packs != 1 {
		t.Fatalf("evict: got %+v, want the pack of the large block gone", e)
	}
	h.ok(s.Close())
	for round := range 3 {
		rb := h.rebuild(fs, Options{})
		if rb.Aliases != 1 {
			t.Fatalf("round %d: rebuilt %+v, want one alias", round, rb)
		}
		s = h.open("repo", Options{fs: fs})
		h.has(s, true, root)
		a, err := s.GetAlias(h.ctx, "x")
		h.ok(err)
		if a.Root != root.CID() {
			t.Fatalf("round %d: x is %s, want %s", round, a.Root, root.CID())
		}
		// A small pack where the large one was.
		h.ok(s.Put(h.ctx, h.leaf("%d", round)))
		h.ok(s.Flush(h.ctx))
		h.audit(s)
		h.ok(s.Close())
	}
}

// Packs without a table of aliases: nothing is evicted before the caller confirms
// that none is missing.
func TestRebuildHoldsEviction(t *testing.T) {
	h := newHarness(t)
	fs := crashfs.New(1)
	o := Options{fs: fs, PackSize: 64 << 10, MaxCached: 1, Target: 1}
	s := h.open("repo", Options{fs: fs, PackSize: 64 << 10})
	rng := rand.New(rand.NewPCG(1, 1))
	var leaves []block.Block
	for range 10 {
		leaves = append(leaves, h.random(rng, 20_000))
	}
	root := h.link("root", leaves[0].CID())
	h.put(s, append(leaves, root)...)
	h.alias(s, "x", root)
	links := h.links(s)
	h.ok(s.Close())
	for _, id := range links {
		h.ok(fs.Remove("repo/packs/" + id.Name()))
	}
	if rb := h.rebuild(fs, o); rb.Aliases != 0 || !rb.EvictionHeld || rb.Blocks != 10 {
		t.Fatalf("rebuilt %+v, want no alias, ten blocks, and eviction held", rb)
	}
	for range 2 {
		s = h.open("repo", o)
		if _, err := s.Evict(h.ctx, EvictOptions{}); !errors.Is(err, ErrEvictionHeld) {
			t.Fatalf("evict: got %v, want ErrEvictionHeld", err)
		}
		st, err := s.Stats(h.ctx)
		h.ok(err)
		if !st.EvictionHeld {
			t.Errorf("stats: got %+v, want eviction held", st)
		}
		h.put(s, root)
		h.alias(s, "x", root) // a record of one alias says nothing of others
		h.has(s, true, leaves...)
		h.ok(s.Close())
	}
	s = h.open("repo", Options{fs: fs, PackSize: 64 << 10})
	_, err := s.Evict(h.ctx, EvictOptions{Confirm: true})
	h.ok(err)
	h.has(s, true, leaves[0], root)
	h.has(s, false, leaves[1:]...)
	h.wants(s)
	h.ok(s.Close())
	s = h.open("repo", o)
	h.evict(s)
	h.audit(s)
}

// A record that is larger than a block, and a table of that many aliases.
func TestRebuildManyAliases(t *testing.T) {
	const n = 3000
	h := newHarness(t)
	fs := crashfs.New(1)
	o := Options{fs: fs, PackSize: 64 << 10}
	s := h.open("repo", o)
	a, b := h.leaf("a"), h.leaf("b")
	h.put(s, a, b)
	name := func(i int) string { return fmt.Sprintf("%s/%d", strings.Repeat("n", 900), i) }
	batch := s.Batch()
	for i := range n {
		batch.Alias(name(i), a.CID(), AliasOptions{})
	}
	h.ok(batch.Commit(h.ctx))
	h.ok(s.SetAlias(h.ctx, name(7), b.CID(), AliasOptions{}))
	h.ok(s.RemoveAlias(h.ctx, name(8)))
	for round := range 3 {
		h.counted(s, n-2, a)
		h.counted(s, 1, b)
		h.audit(s)
		h.ok(s.Close())
		if rb := h.rebuild(fs, o); rb.Aliases != n-1 || rb.Damaged > 0 {
			t.Fatalf("round %d: rebuilt %+v, want %d aliases", round, rb, n-1)
		}
		s = h.open("repo", o)
		al, err := s.GetAlias(h.ctx, name(7))
		h.ok(err)
		if al.Root != b.CID() {
			t.Fatalf("round %d: alias 7 is %s, want %s", round, al.Root, b.CID())
		}
		if _, err := s.GetAlias(h.ctx, name(8)); !errors.Is(err, ErrNoAlias) {
			t.Fatalf("round %d: alias 8: got %v, want ErrNoAlias", round, err)
		}
	}
}

// Unsynced bytes that a rebuild finds in a pack are synced before the index has them.
func TestRebuildSyncsPacks(t *testing.T) {
	h := newHarness(t)
	for n := 1; n < 8; n++ {
		fs := crashfs.New(uint64(n))
		s, err := Open(h.ctx, "repo", Options{fs: fs})
		h.ok(err)
		a := h.leaf("a")
		h.put(s, a)
		h.alias(s, "x", a)
		// The disk fails, so the appended bytes stay unsynced.
		failPacks(fs, n, crashfs.OpSync, crashfs.OpSyncData, crashfs.OpCreate, crashfs.OpWriteAt)
		b := s.Batch()
		// Another test checks which call returns the error.
		if b.Put(h.ctx, h.leaf("b"), h.link("c", h.leaf("d").CID()), h.random(rand.New(rand.NewPCG(1, 1)), 100_000)) == nil {
			b.Commit(h.ctx)
		}
		b.Discard()
		fs.Fail(nil)
		h.ok(s.Close())
		h.rebuild(fs, Options{})
		fs = fs.CrashKeeping(0)
		s, err = Open(h.ctx, "repo", Options{fs: fs})
		h.ok(err)
		h.has(s, true, a)
		rep, err := s.Verify(h.ctx, VerifyOptions{Data: true})
		h.ok(err)
		if !rep.OK() {
			t.Errorf("call %d failed: the rebuilt index speaks of what isn't on the disk: %v", n, rep.Damaged)
		}
		h.ok(s.Close())
	}
}

// A rebuild doesn't apply a failed batch, though its record may lie in a pack: neither
// if the disk failed once, nor if it failed until the store closed.
func TestRebuildAfterFailedCommit(t *testing.T) {
	h := newHarness(t)
	for _, lasting := range []bool{false, true} {
		failed := 0
		for n := 1; n < 8; n++ {
			fs := crashfs.New(uint64(n))
			s := h.open("repo", Options{fs: fs, Reserve: -1})
			a, b := h.leaf("a"), h.leaf("b")
			h.put(s, a, b)
			h.alias(s, "x", a)
			calls := 0
			fs.Fail(func(op crashfs.Op, path string) error {
				if !strings.HasSuffix(path, ".car") || op != crashfs.OpWriteAt && op != crashfs.OpSyncData && op != crashfs.OpSync {
					return nil
				}
				if calls++; calls == n || lasting && calls > n {
					return syscall.EIO
				}
				return nil
			})
			err := s.SetAlias(h.ctx, "x", b.CID(), AliasOptions{})
			fs.Fail(nil)
			want := b
			if err != nil {
				failed++
				want = a
			}
			h.counted(s, 1, want)
			h.ok(s.Close())
			h.rebuild(fs, Options{})
			s = h.open("repo", Options{fs: fs, Reserve: -1})
			h.counted(s, 1, want)
			h.audit(s)
			h.ok(s.Close())
		}
		if failed < 2 {
			t.Errorf("lasting %v: %d commits failed, want more", lasting, failed)
		}
	}
}
