package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/crashfs"
	"github.com/cairn-ipfs/cairn/internal/pack"
	"github.com/ipfs/go-cid"
)

// files is a backing: bytes by their locator, which may change, be removed, or
// fail to be read.
type files struct {
	mu     sync.Mutex // guards the following fields
	data   map[string][]byte
	broken error
	reads  int
}

func newFiles() *files { return &files{data: map[string][]byte{}} }

var errAway = errors.New("the disk with the files is unplugged")

func (f *files) ReadBlock(_ context.Context, locator []byte, size int) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	if f.broken != nil {
		return nil, f.broken
	}
	data := f.data[string(locator)]
	return append([]byte{}, data[:min(size, len(data))]...), nil
}

// set sets the bytes under a locator.
func (f *files) set(locator string, data []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.data[locator] = data
}

func (f *files) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = err
}

func (f *files) options(fs *crashfs.FS) Options {
	return Options{fs: fs, PackSize: 64 << 10, Backings: map[string]Backing{"files": f}}
}

// refer commits references to blocks in f, each under its own name.
func (h harness) refer(s *Store, f *files, blocks ...block.Block) {
	h.Helper()
	b := s.Batch()
	for _, k := range blocks {
		f.set(k.CID().String(), k.Data())
		h.ok(b.Refer(k, "files", []byte(k.CID().String())))
	}
	h.ok(b.Commit(h.ctx))
}

func TestBacking(t *testing.T) {
	h := newHarness(t)
	f, fs := newFiles(), crashfs.New(1)
	s := h.open("repo", f.options(fs))
	a, b := h.leaf("a"), h.leaf("b")
	dir := h.link("dir", a.CID(), b.CID())
	root := h.link("root", dir.CID())
	h.alias(s, "x", root)
	h.refer(s, f, a, dir)
	h.put(s, root, b)
	h.has(s, true, a, b, dir, root)
	h.wants(s)
	h.misses(s, root.CID(), Selection{})
	if n, err := s.Size(h.ctx, a.CID()); n != a.Size() || err != nil {
		t.Errorf("size: got %d, %v, want %d", n, err, a.Size())
	}
	// Each read goes to the backing.
	before := f.reads
	h.has(s, true, a)
	h.has(s, true, a)
	if f.reads != before+2 {
		t.Errorf("two reads asked the backing %d times", f.reads-before)
	}
	h.audit(s)
	h.evict(s)
	h.has(s, true, a, b, dir, root)
	h.ok(s.Close())

	s = h.open("repo", f.options(fs))
	h.has(s, true, a, b, dir, root)
	h.wants(s)
	h.ok(s.RemoveAlias(h.ctx, "x"))
	h.ok(s.Delete(h.ctx, a.CID(), dir.CID()))
	h.has(s, false, a, dir)
	h.audit(s)
}

// A block whose bytes lie in a pack stays there, and is put there when it is
// wanted again.
func TestBackingBesidePacks(t *testing.T) {
	h := newHarness(t)
	f, fs := newFiles(), crashfs.New(1)
	s := h.open("repo", f.options(fs))
	a := h.leaf("a")
	h.put(s, a)
	h.refer(s, f, a)
	f.fail(errAway)
	h.has(s, true, a)
	h.ok(s.Delete(h.ctx, a.CID()))
	f.fail(nil)
	h.refer(s, f, a)
	h.ok(s.Put(h.ctx, a)) // it is here: no second copy
	h.ok(s.Flush(h.ctx))
	f.set(a.CID().String(), []byte("other"))
	if _, err := s.Get(h.ctx, a.CID()); !errors.Is(err, block.ErrDamaged) {
		t.Errorf("get of changed bytes: got %v, want ErrDamaged", err)
	}
	h.ok(s.Flush(h.ctx))
	h.put(s, a)
	h.has(s, true, a)
	h.audit(s)
}

func TestBackingRefused(t *testing.T) {
	h := newHarness(t)
	f, fs := newFiles(), crashfs.New(1)
	s := h.open("repo", f.options(fs))
	a := h.leaf("a")
	for what, refer := range map[string]func(b *Batch) error{
		"an unknown backing": func(b *Batch) error { return b.Refer(a, "none", nil) },
		"a long locator":     func(b *Batch) error { return b.Refer(a, "files", make([]byte, maxLocator+1)) },
		"no block":           func(b *Batch) error { return b.Refer(block.Block{}, "files", nil) },
	} {
		b := s.Batch()
		err := errors.Join(refer(b), b.Commit(h.ctx))
		if err == nil {
			t.Errorf("%s: got no error", what)
		}
	}
	h.has(s, false, a)
	// An identity CID carries its bytes: nothing refers to it.
	id := h.inline(a.CID())
	h.refer(s, f, id)
	n := 0
	for range s.Blocks(h.ctx) {
		n++
	}
	if n != 0 {
		t.Errorf("%d blocks are listed, want none", n)
	}
	h.has(s, true, id)
	h.audit(s)
}

// A block whose bytes have changed is lost. Its links are still known, and it may
// come back from any source.
func TestBackingChanges(t *testing.T) {
	for _, found := range []string{"read", "verify"} {
		for _, how := range []string{"changed", "cut", "emptied"} {
			t.Run(found+" "+how, func(t *testing.T) {
				h := newHarness(t)
				f, fs := newFiles(), crashfs.New(1)
				s := h.open("repo", f.options(fs))
				a, b := h.leaf("a"), h.leaf("b")
				dir := h.link("dir", a.CID(), b.CID())
				root := h.link("root", dir.CID())
				h.refer(s, f, dir, a)
				h.put(s, root, b)
				h.alias(s, "x", root)
				h.misses(s, root.CID(), Selection{})
				next := h.listen(s)
				f.set(dir.CID().String(), map[string][]byte{
					"changed": []byte(strings.Repeat("x", dir.Size())),
					"cut":     dir.Data()[:dir.Size()-1],
				}[how])
				if found == "read" {
					if _, err := s.Get(h.ctx, dir.CID()); !errors.Is(err, block.ErrDamaged) {
						t.Fatalf("get: got %v, want ErrDamaged", err)
					}
				} else {
					rep, err := s.Verify(h.ctx, VerifyOptions{Data: true, Repair: true})
					h.ok(err)
					if rep.DamagedBlocks != 1 || rep.WrongFacts != 0 {
						t.Fatalf("verify: got %+v, want one block damaged", rep)
					}
				}
				next(EventDamaged)
				h.has(s, false, dir)
				h.wants(s, dir)
				h.misses(s, root.CID(), Selection{}, dir)
				h.evict(s)
				h.has(s, true, a, b, root)
				h.put(s, dir)
				f.fail(errAway)
				h.has(s, true, dir)
				h.wants(s)
				f.fail(nil)
				h.misses(s, root.CID(), Selection{})
				h.audit(s)
			})
		}
	}
}

// A backing that fails loses nothing, whatever call reads from it, and doesn't stop
// other calls.
func TestBackingFails(t *testing.T) {
	h := newHarness(t)
	f, fs := newFiles(), crashfs.New(1)
	s := h.open("repo", f.options(fs))
	a, b, garbage := h.leaf("a"), h.leaf("b"), h.leaf("garbage")
	dir := h.link("dir", a.CID(), b.CID())
	root := h.link("root", dir.CID())
	h.refer(s, f, dir, a)
	h.put(s, root, b, garbage)
	f.fail(errAway)
	for range 3 {
		if _, err := s.Get(h.ctx, dir.CID()); !errors.Is(err, errAway) {
			t.Errorf("get: got %v, want %v", err, errAway)
		}
	}
	if _, err := s.Verify(h.ctx, VerifyOptions{Data: true, Repair: true}); !errors.Is(err, errAway) {
		t.Errorf("verify: got %v, want %v", err, errAway)
	}
	if ok, err := s.Has(h.ctx, dir.CID()); !ok || err != nil {
		t.Errorf("has: got %v, %v, want it here", ok, err)
	}
	f.fail(nil)
	h.has(s, true, dir, a)
	h.alias(s, "x", root)
	h.wants(s)
	h.evict(s)
	h.has(s, true, root, dir, a, b)
	h.has(s, false, garbage)
	h.audit(s)
}

// Links that can't be read just now are counted later. Until then no block is
// evicted that they may keep alive.
func TestBackingFailsWhileExpanding(t *testing.T) {
	h := newHarness(t)
	f, fs := newFiles(), crashfs.New(1)
	s := h.open("repo", f.options(fs))
	a, b, other := h.leaf("a"), h.leaf("b"), h.leaf("other")
	dir := h.link("dir", a.CID(), b.CID())
	// The parents have so many links that they are counted after the alias is
	// acknowledged.
	var parents []block.Block
	top := h.link("top", dir.CID())
	for i := range 5 {
		p := h.link(strings.Repeat(fmt.Sprint(i), 3), append(manyLinks(h, i, 600), top.CID())...)
		parents = append(parents, p)
	}
	root := h.link("root", parents[0].CID(), parents[1].CID(), parents[2].CID(), parents[3].CID(), parents[4].CID())
	h.refer(s, f, dir)
	h.put(s, a, b, top, root)
	h.put(s, parents...)
	f.fail(errAway)
	// The store may refuse an alias whose DAG can't be read; but its answer
	// must hold, and it must continue to work.
	set := s.SetAlias(h.ctx, "x", root.CID(), AliasOptions{})
	h.put(s, other)
	h.has(s, true, other)
	h.alias(s, "other", other)
	if _, err := s.Evict(h.ctx, EvictOptions{}); set == nil && err == nil {
		t.Error("evict with links that can't be read: got no error")
	}
	h.ok(s.RemoveAlias(h.ctx, "other"))
	before := f.reads
	for range 20 {
		h.ok(s.Flush(h.ctx))
	}
	if f.reads > before {
		t.Errorf("the backing was called %d times without a read", f.reads-before)
	}
	f.fail(nil)
	if _, err := s.GetAlias(h.ctx, "x"); (err == nil) != (set == nil) {
		t.Errorf("resolve: got %v, after setting it gave %v", err, set)
	}
	if set != nil {
		h.alias(s, "x", root)
	}
	h.counted(s, 1, a, b, dir)
	h.counted(s, 5, top)
	h.evict(s)
	h.has(s, true, a, b, dir, top, root)
	h.has(s, false, other)
	h.audit(s)
}

// A rebuild restores references to backings, also when the packs with their records
// were evicted meanwhile.
func TestBackingsAreRecorded(t *testing.T) {
	h := newHarness(t)
	f, fs := newFiles(), crashfs.New(1)
	o := f.options(fs)
	s := h.open("repo", o)
	a, b, gone, moved := h.leaf("a"), h.leaf("b"), h.leaf("gone"), h.leaf("moved")
	dir := h.link("dir", a.CID(), b.CID(), moved.CID())
	h.refer(s, f, a, b, dir, gone, moved)
	h.alias(s, "x", dir)
	// A file that was moved: the later location counts.
	f.set("elsewhere", moved.Data())
	batch := s.Batch()
	h.ok(batch.Refer(moved, "files", []byte("elsewhere")))
	h.ok(batch.Commit(h.ctx))
	f.set(moved.CID().String(), nil)

	record := h.links(s)
	for round := range 3 {
		// Garbage beside the records makes eviction remove their pack.
		h.put(s, h.link(strings.Repeat("x", 70<<10)+fmt.Sprint(round), h.leaf("none").CID()))
		h.evict(s)
		for _, id := range record {
			if _, err := fs.Stat(s.packs.Path(id)); err == nil {
				t.Fatalf("round %d: pack %d with the records is there still", round, id)
			}
		}
		record = h.links(s)
		h.has(s, true, a, b, dir, moved)
		h.audit(s)
		h.ok(s.Close())
		rb, err := Rebuild(h.ctx, "repo", o, nil)
		h.ok(err)
		if rb.Aliases != 1 || rb.EvictionHeld {
			t.Errorf("round %d: rebuilt %+v, want one alias", round, rb)
		}
		s = h.open("repo", o)
		h.has(s, true, a, b, dir, moved)
		h.wants(s)
		h.misses(s, dir.CID(), Selection{})
		h.audit(s)
	}
	// Without its backing a block can't be read, but isn't lost.
	h.ok(s.Close())
	s = h.open("repo", Options{fs: fs})
	if _, err := s.Get(h.ctx, a.CID()); err == nil || errors.Is(err, block.ErrNotFound) || errors.Is(err, block.ErrDamaged) {
		t.Errorf("get without the backing: got %v, want an error that says so", err)
	}
	h.wants(s)
	h.ok(s.Close())
	s = h.open("repo", o)
	h.has(s, true, a, b, dir, moved)
}

// links returns the packs with records.
func (h harness) links(s *Store) (ids []pack.ID) {
	h.Helper()
	h.ok(s.do(&op{apply: func(c *committer) error {
		for _, info := range c.infos {
			if info.records {
				ids = append(ids, info.id)
			}
		}
		return nil
	}}))
	return ids
}

// manyLinks returns n CIDs of blocks that don't exist.
func manyLinks(h harness, seed, n int) (out []cid.Cid) {
	h.Helper()
	for i := range n {
		out = append(out, h.leaf("%d of %d", i, seed).CID())
	}
	return out
}
