package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/crashfs"
	"github.com/cairn-ipfs/cairn/internal/pack"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/ipfs/go-cid"
)

// A shelf is a repository that was closed properly, to be damaged in many ways, each
// on a copy.
type shelf struct {
	harness
	fs      *crashfs.FS
	blocks  []block.Block // all live, below the alias x, in the order of the puts
	root    block.Block
	garbage block.Block
	packs   []pack.ID
	sealed  map[pack.ID]bool
	size    map[pack.ID]int64
	bounds  map[pack.ID][]int64 // where sections begin, and the last ends
	lies    map[pack.ID][]block.Block
	end     map[cid.Cid]int64 // where a block's section ends
}

var shelfOptions = Options{PackSize: 64 << 10, Reserve: -1, RecordedSpaces: []string{"kept"}}

// newShelf makes packs of all kinds, sealed and open, with one alias that is set
// again and again, so that each pack of links has a record of it.
func newShelf(h harness) *shelf {
	h.Helper()
	x := &shelf{harness: h, fs: crashfs.New(1), sealed: map[pack.ID]bool{}, size: map[pack.ID]int64{}, bounds: map[pack.ID][]int64{}, lies: map[pack.ID][]block.Block{}, end: map[cid.Cid]int64{}}
	o := shelfOptions
	o.fs = x.fs
	s, err := Open(h.ctx, "repo", o)
	h.ok(err)
	rng := rand.New(rand.NewPCG(1, 1))
	var links []cid.Cid
	for i := range 12 {
		leaf := h.random(rng, 9000+i)
		small := h.random(rng, i)
		dir := h.link(string(bytes.Repeat([]byte{'a' + byte(i)}, 8000)), leaf.CID(), small.CID())
		x.blocks = append(x.blocks, leaf, small, dir)
		links = append(links, dir.CID())
		b := s.Batch()
		h.ok(b.Put(h.ctx, leaf, small, dir))
		b.Alias("x", dir.CID(), AliasOptions{})
		b.Alias(fmt.Sprint("dir/", i), dir.CID(), AliasOptions{})
		h.ok(b.Commit(h.ctx))
	}
	x.root = h.link("root", links...)
	x.blocks = append(x.blocks, x.root)
	x.garbage = h.random(rng, 100)
	b := s.Batch()
	h.ok(b.Put(h.ctx, x.root))
	b.Alias("x", x.root.CID(), AliasOptions{})
	b.Set("kept", []byte("k"), []byte("v"))
	h.ok(b.Commit(h.ctx))
	h.ok(s.Put(h.ctx, x.garbage))
	h.ok(s.Flush(h.ctx))
	h.misses(s, x.root.CID(), Selection{})
	for _, k := range append(slices.Clone(x.blocks), x.garbage) {
		f, err := s.locate(string(k.CID().Hash()))
		h.ok(err)
		x.lies[f.loc.pack] = append(x.lies[f.loc.pack], k)
		x.end[k.CID()] = f.loc.off + f.loc.section()
	}
	h.ok(s.Close())

	dir, err := pack.OpenDir(x.fs, "repo/packs")
	h.ok(err)
	x.packs, err = dir.List()
	h.ok(err)
	open, sealed := 0, 0
	for _, id := range x.packs {
		end, _, isSealed, err := dir.Sealed(id)
		h.ok(err)
		x.size[id], err = dir.Size(id)
		h.ok(err)
		if x.sealed[id] = isSealed; isSealed {
			sealed++
		} else {
			open++
			end = x.size[id]
		}
		for sec, err := range dir.Sections(id, pack.Start, end) {
			h.ok(err)
			x.bounds[id] = append(x.bounds[id], sec.Offset)
		}
		x.bounds[id] = append(x.bounds[id], end)
	}
	h.ok(dir.Close())
	if open < 3 || sealed < 2 {
		h.Fatalf("%d packs are open and %d sealed, want 3 and 2", open, sealed)
	}
	x.fs.CrashKeeping(100) // from now on it's only copied
	return x
}

// copy returns the repository as it was when it was closed.
func (x *shelf) copy() *crashfs.FS { return x.fs.CrashKeeping(100) }

func (x *shelf) path(id pack.ID) string { return "repo/packs/" + id.Name() }

// cut truncates a pack.
func (x *shelf) cut(fs *crashfs.FS, id pack.ID, size int64) {
	x.Helper()
	f, err := fs.OpenReadWrite(x.path(id), vfs.WriteCategoryUnspecified)
	x.ok(err)
	x.ok(f.(*crashfs.File).Truncate(size))
	x.ok(f.Close())
}

// open opens a damaged copy.
func (x *shelf) open(fs *crashfs.FS) (*Store, error) {
	o := shelfOptions
	o.fs = fs
	return Open(x.ctx, "repo", o)
}

// survey reads every block. It returns those that are gone or found damaged, and
// fails the test if one has wrong bytes.
func (x *shelf) survey(s *Store, when string) (gone []block.Block) {
	x.Helper()
	for _, k := range x.blocks {
		got, err := s.Get(x.ctx, k.CID())
		switch {
		case errors.Is(err, block.ErrDamaged) || errors.Is(err, block.ErrNotFound):
			gone = append(gone, k)
			if here, err := s.Has(x.ctx, k.CID()); here || err != nil {
				x.Fatalf("%s: %s can't be read, and has says %v, %v", when, k.CID(), here, err)
			}
		case err != nil:
			x.Fatalf("%s: get: %v", when, err)
		case !bytes.Equal(got.Data(), k.Data()):
			x.Fatalf("%s: %s has other bytes", when, k.CID())
		}
	}
	return gone
}

// mend puts lost blocks again, and checks that the store is whole then.
func (x *shelf) mend(s *Store, when string, gone []block.Block) {
	x.Helper()
	if got, want := x.wanted(s), cids(gone...); !slices.Equal(got, want) {
		x.Fatalf("%s: wanted %v, want %v", when, got, want)
	}
	x.put(s, gone...)
	x.has(s, true, x.blocks...)
	x.wants(s)
	x.misses(s, x.root.CID(), Selection{})
	x.evict(s)
	x.has(s, true, x.blocks...)
	x.has(s, false, x.garbage)
	rep, err := s.Verify(x.ctx, VerifyOptions{Data: true})
	x.ok(err)
	if !rep.OK() {
		x.Fatalf("%s: verify: damaged %v, wrong %v", when, rep.Damaged, rep.Wrong)
	}
}

// atRoot fails the test unless the alias has its root.
func (x *shelf) atRoot(s *Store, when string) {
	x.Helper()
	a, err := s.GetAlias(x.ctx, "x")
	if err != nil || a.Root != x.root.CID() {
		x.Fatalf("%s: x is %s, %v, want %s", when, a.Root, err, x.root.CID())
	}
}

// places returns offsets in a pack worth damaging: at and next to all bounds of
// sections, and some at random. Short tests damage a third of them.
func (x *shelf) places(rng *rand.Rand, id pack.ID, random int) (out []int64) {
	add := func(at int64) {
		if at >= 0 && at < x.size[id] {
			out = append(out, at)
		}
	}
	for _, at := range append(x.bounds[id], 0, 11, 51, pack.Start, x.size[id]) {
		add(at - 1)
		add(at)
		add(at + 1)
	}
	for range random {
		add(rng.Int64N(x.size[id]))
	}
	slices.Sort(out)
	out = slices.Compact(out)
	if testing.Short() {
		rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
		out = out[:(len(out)+2)/3]
		slices.Sort(out)
	}
	return out
}

// A truncated pack loses only the blocks behind the cut.
func TestCutPacks(t *testing.T) {
	x := newShelf(newHarness(t))
	rng := rand.New(rand.NewPCG(2, 2))
	for _, id := range x.packs {
		for i, at := range x.places(rng, id, 5) {
			if i%3 > 0 && at > pack.Start+1 {
				continue
			}
			when := fmt.Sprintf("pack %d (sealed %v) cut at %d of %d", id, x.sealed[id], at, x.size[id])
			fs := x.copy()
			x.cut(fs, id, at)
			s, err := x.open(fs)
			if err != nil {
				t.Fatalf("%s: open: %v", when, err)
			}
			x.atRoot(s, when)
			if i%6 == 0 {
				if _, err := s.Verify(x.ctx, VerifyOptions{Data: true, Repair: true}); err != nil {
					t.Fatalf("%s: verify: %v", when, err)
				}
			}
			gone := x.survey(s, when)
			for _, k := range gone {
				if !slices.ContainsFunc(x.lies[id], func(b block.Block) bool { return b.CID() == k.CID() }) {
					t.Fatalf("%s: %s is gone, which lay elsewhere", when, k.CID())
				}
			}
			x.mend(s, when, gone)
			x.ok(s.Close())
		}
	}
}

// A rebuild keeps the blocks that are left in a truncated pack.
func TestRebuildFromCutPacks(t *testing.T) {
	x := newShelf(newHarness(t))
	rng := rand.New(rand.NewPCG(2, 2))
	for _, id := range x.packs {
		for i, at := range x.places(rng, id, 3) {
			if i%3 > 0 && at < x.size[id]-1 {
				continue
			}
			when := fmt.Sprintf("pack %d (sealed %v) cut at %d of %d", id, x.sealed[id], at, x.size[id])
			fs := x.copy()
			x.cut(fs, id, at)
			x.rebuild(fs, when)
			s, err := x.open(fs)
			if err != nil {
				t.Fatalf("%s: open: %v", when, err)
			}
			for _, k := range x.survey(s, when) {
				if !slices.ContainsFunc(x.lies[id], func(b block.Block) bool { return b.CID() == k.CID() }) {
					t.Fatalf("%s: %s is gone, which lay elsewhere", when, k.CID())
				}
			}
			for i, k := range x.lies[id] {
				if _, err := s.Get(x.ctx, k.CID()); err != nil && x.end[k.CID()] <= at {
					t.Fatalf("%s: block %d before the cut: %v", when, i, err)
				}
			}
			x.ok(s.Close())
		}
	}
}

func (x *shelf) rebuild(fs *crashfs.FS, when string) RebuildResult {
	x.Helper()
	o := shelfOptions
	o.fs = fs
	rb, err := Rebuild(x.ctx, "repo", o, nil)
	if err != nil {
		x.Fatalf("%s: rebuild: %v", when, err)
	}
	return rb
}

// A flipped bit anywhere in a pack costs one block at most.
func TestFlippedPacks(t *testing.T) {
	x := newShelf(newHarness(t))
	rng := rand.New(rand.NewPCG(3, 3))
	for _, id := range x.packs {
		for i, at := range x.places(rng, id, 5) {
			if i%2 > 0 && at > pack.Start+1 {
				continue
			}
			mask := byte(1) << rng.IntN(8)
			when := fmt.Sprintf("pack %d (sealed %v), byte %d of %d, bits 0x%02x flipped", id, x.sealed[id], at, x.size[id], mask)
			fs := x.copy()
			x.ok(fs.Corrupt(x.path(id), at, mask))
			s, err := x.open(fs)
			if err != nil {
				t.Fatalf("%s: open: %v", when, err)
			}
			x.atRoot(s, when)
			if i%4 == 0 {
				rep, err := s.Verify(x.ctx, VerifyOptions{Data: true, Repair: true})
				if err != nil || rep.WrongFacts > 0 {
					t.Fatalf("%s: verify: %v, wrong %v", when, err, rep.Wrong)
				}
			}
			gone := x.survey(s, when)
			if len(gone) > 1 {
				t.Fatalf("%s: %d blocks are gone", when, len(gone))
			}
			x.mend(s, when, gone)
			x.ok(s.Close())
		}
	}
}

// The same for a rebuild: it costs one block, or one record, of a sealed pack. In an
// open one it may cost all that follows, for where the next section begins is
// unknown.
func TestRebuildFromFlippedPacks(t *testing.T) {
	x := newShelf(newHarness(t))
	rng := rand.New(rand.NewPCG(3, 3))
	for _, id := range x.packs {
		for i, at := range x.places(rng, id, 5) {
			if i%3 > 0 && at > pack.Start+1 {
				continue // each rebuild takes long
			}
			mask := byte(1) << rng.IntN(8)
			when := fmt.Sprintf("pack %d (sealed %v), byte %d of %d, bits 0x%02x flipped", id, x.sealed[id], at, x.size[id], mask)
			fs := x.copy()
			x.ok(fs.Corrupt(x.path(id), at, mask))
			x.rebuild(fs, when)
			s, err := x.open(fs)
			if err != nil {
				t.Fatalf("%s: open: %v", when, err)
			}
			gone := x.survey(s, when)
			if x.sealed[id] {
				x.atRoot(s, when) // recorded in the open pack of links
				if len(gone) > 1 {
					t.Fatalf("%s: %d blocks are gone", when, len(gone))
				}
				x.mend(s, when, gone)
			}
			x.ok(s.Close())
		}
	}
}
