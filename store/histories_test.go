package store

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/crashfs"
	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/datamodel"
	"github.com/ipld/go-ipld-prime/fluent/qp"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/node/basicnode"
)

// Helpers of the tests that change a store step by step and check it after each step.

// cids returns the CIDs of blocks in the order in which wanted sorts them.
func cids(blocks ...block.Block) []cid.Cid {
	var out []cid.Cid
	for _, b := range blocks {
		out = append(out, block.V1(b.CID()))
	}
	slices.SortFunc(out, func(a, b cid.Cid) int { return slices.Compare(a.Bytes(), b.Bytes()) })
	return out
}

// wants fails the test unless exactly these blocks are wanted.
func (h harness) wants(s *Store, blocks ...block.Block) {
	h.Helper()
	if got, want := h.wanted(s), cids(blocks...); !slices.Equal(got, want) {
		h.Fatalf("wanted: got %v, want %v", got, want)
	}
}

// misses fails the test unless exactly these blocks are missing below root.
func (h harness) misses(s *Store, root cid.Cid, sel Selection, blocks ...block.Block) {
	h.Helper()
	var got []cid.Cid
	for c, err := range s.Missing(h.ctx, root, sel) {
		h.ok(err)
		got = append(got, c)
	}
	slices.SortFunc(got, func(a, b cid.Cid) int { return slices.Compare(a.Bytes(), b.Bytes()) })
	if want := cids(blocks...); !slices.Equal(got, want) {
		h.Fatalf("missing below %s: got %v, want %v", root, got, want)
	}
	if sel.IsAll() {
		whole, err := s.Whole(h.ctx, root)
		h.ok(err)
		if whole != (len(blocks) == 0) {
			h.Fatalf("%s is whole: got %v, and %d blocks are missing", root, whole, len(blocks))
		}
	}
}

// counted fails the test unless each block has that count.
func (h harness) counted(s *Store, want uint64, blocks ...block.Block) {
	h.Helper()
	h.ok(s.settle(h.ctx, workExpand, workCollapse))
	h.ok(s.Flush(h.ctx))
	for _, b := range blocks {
		n := nodeOf(b.CID())
		r, err := s.lookup(n.mh)
		h.ok(err)
		if f, _ := r.find(n.codec); f.count != want {
			h.Fatalf("%s is counted %d times, want %d", b.CID(), f.count, want)
		}
	}
}

// flip changes a byte of a block on disk, as a rotting disk does.
func (h harness) flip(fs *crashfs.FS, s *Store, b block.Block) {
	h.Helper()
	h.ok(s.Flush(h.ctx))
	f, err := s.locate(string(b.CID().Hash()))
	h.ok(err)
	if f.loc.kind != locPack {
		h.Fatalf("%s lies in no pack", b.CID())
	}
	h.ok(fs.Corrupt(s.packs.Path(f.loc.pack), f.loc.off+int64(f.loc.head), 0x20))
}

// listen returns a function that waits for the next event of a kind.
func (h harness) listen(s *Store) (next func(EventKind) Event) {
	take, stop := iter.Pull2(s.Events(h.ctx))
	h.Cleanup(stop)
	return func(kind EventKind) Event {
		h.Helper()
		for {
			e, err, _ := take()
			if err != nil {
				h.Fatalf("the events ended before one of kind %d came: %v", kind, err)
			}
			if e.Kind == kind {
				return e
			}
		}
	}
}

// inline is an identity CID that carries a dag-cbor list of these links.
func (h harness) inline(to ...cid.Cid) block.Block {
	h.Helper()
	n, err := qp.BuildList(basicnode.Prototype.List, int64(len(to)), func(l datamodel.ListAssembler) {
		for _, c := range to {
			qp.ListEntry(l, qp.Link(cidlink.Link{Cid: c}))
		}
	})
	h.ok(err)
	data, err := encodeCBOR(n)
	h.ok(err)
	b, err := block.NewWithPrefix(cid.Prefix{Version: 1, Codec: block.DagCBOR, MhType: block.Identity, MhLength: -1}, data)
	h.ok(err)
	return b
}

// nothing fails the test if the store has a block in its packs.
func (h harness) nothing(s *Store) {
	h.Helper()
	st, err := s.Stats(h.ctx)
	h.ok(err)
	if st.LiveBlocks != 0 || st.CachedBlocks != 0 {
		h.Fatalf("stats: got %+v, want no blocks", st)
	}
}

func TestDamagedDirectoryComesAgain(t *testing.T) {
	for _, found := range []string{"verified", "read", "gone when found"} {
		t.Run(found, func(t *testing.T) {
			h := newHarness(t)
			fs := crashfs.New(1)
			s := h.open("repo", Options{fs: fs})
			a, b, c := h.leaf("a"), h.leaf("b"), h.leaf("c")
			dir := h.link("dir", a.CID(), b.CID())
			root := h.link("root", dir.CID(), a.CID(), c.CID())
			h.put(s, a, b, c, dir, root)
			h.alias(s, "x", root)
			h.counted(s, 2, a)
			h.counted(s, 1, b, c, dir, root)

			h.flip(fs, s, dir)
			next := h.listen(s)
			if found == "read" {
				if _, err := s.Get(h.ctx, dir.CID()); !errors.Is(err, block.ErrDamaged) {
					t.Fatalf("get: got error %v, want ErrDamaged", err)
				}
			} else {
				rep, err := s.Verify(h.ctx, VerifyOptions{Data: true, Repair: true})
				h.ok(err)
				if rep.DamagedBlocks != 1 || len(rep.Damaged) != 1 || rep.Damaged[0] != dir.CID() || rep.WrongFacts != 0 || !rep.Repaired {
					t.Fatalf("verify: got %+v, want just %s damaged", rep, dir.CID())
				}
			}
			if e := next(EventDamaged); e.CID != dir.CID() {
				t.Fatalf("event: got %s, want %s", e.CID, dir.CID())
			}
			h.wants(s, dir)
			h.misses(s, root.CID(), Selection{}, dir)
			h.counted(s, 2, a)
			h.counted(s, 1, b)
			h.evict(s)
			h.has(s, true, a, b, c, root)
			h.has(s, false, dir)
			h.audit(s)

			if found == "gone when found" {
				// It is no longer wanted. The counts of its links are taken back by the
				// stored links, for its bytes are lost.
				h.ok(s.RemoveAlias(h.ctx, "x"))
				h.wants(s)
				h.audit(s)
				h.ok(s.Put(h.ctx, dir))
				h.counted(s, 0, a, b, c, dir, root)
			} else {
				h.ok(s.Put(h.ctx, dir))
				h.has(s, true, dir)
				h.wants(s)
				h.misses(s, root.CID(), Selection{})
				h.counted(s, 2, a)
				h.counted(s, 1, b, c, dir, root)
				h.audit(s)
				h.ok(s.RemoveAlias(h.ctx, "x"))
			}
			h.evict(s)
			h.has(s, false, a, b, c, dir, root)
			h.audit(s)
			h.nothing(s)
		})
	}
}

// private is a codec of these tests only. A block of it is a list of CIDs, one after
// the other.
const private = 0x300002

func privateLinks(b block.Block) ([]cid.Cid, error) {
	var out []cid.Cid
	for p := b.Data(); len(p) > 0; {
		n, c, err := cid.CidFromBytes(p)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", block.ErrMalformed, err)
		}
		out, p = append(out, c), p[n:]
	}
	return out, nil
}

var knowsPrivate = map[uint64]func(block.Block) ([]cid.Cid, error){private: privateLinks}

func (h harness) private(to ...cid.Cid) block.Block {
	h.Helper()
	var data []byte
	for _, c := range to {
		data = append(data, c.Bytes()...)
	}
	b, err := block.New(private, data)
	h.ok(err)
	return b
}

func TestCodecLearnedLater(t *testing.T) {
	for _, evictFirst := range []bool{false, true} {
		t.Run(fmt.Sprintf("evict first %v", evictFirst), func(t *testing.T) {
			h := newHarness(t)
			fs := crashfs.New(1)
			s := h.open("repo", Options{fs: fs})
			x, y, z := h.leaf("x"), h.leaf("y"), h.leaf("z")
			odd := h.private(x.CID(), y.CID())
			torn, err := block.New(private, []byte{1, 2, 3})
			h.ok(err)
			dir := h.link("dir", odd.CID(), torn.CID())
			root := h.link("root", dir.CID(), z.CID())
			h.put(s, x, z, odd, torn, dir, root)
			if err := s.SetAlias(h.ctx, "odd", odd.CID(), AliasOptions{}); !errors.Is(err, block.ErrUnknownCodec) {
				t.Fatalf("alias of an unknown codec: got %v, want ErrUnknownCodec", err)
			}
			h.alias(s, "r", root)
			h.wants(s)
			// The walk marks everything whole, which it is as far as is known.
			h.misses(s, root.CID(), Selection{})
			h.counted(s, 0, x, y)
			h.counted(s, 1, odd, torn, z)
			h.audit(s)
			if evictFirst {
				h.evict(s)
				h.has(s, false, x)
				h.has(s, true, odd, torn, z, dir, root)
			}
			h.ok(s.Close())

			s = h.open("repo", Options{fs: fs, Links: knowsPrivate})
			lacks := []block.Block{y}
			if evictFirst {
				lacks = append(lacks, x)
			}
			h.wants(s, lacks...)
			h.misses(s, root.CID(), Selection{}, lacks...)
			h.counted(s, 1, x, y, odd, torn, z)
			h.audit(s)
			h.evict(s)
			h.has(s, !evictFirst, x)
			h.put(s, lacks...)
			h.wants(s)
			h.misses(s, root.CID(), Selection{})
			h.ok(s.SetAlias(h.ctx, "odd", odd.CID(), AliasOptions{}))
			h.counted(s, 2, odd)
			h.evict(s)
			h.has(s, true, x, y, z, odd, torn, dir, root)
			h.ok(s.Close())

			// The codec is unknown again: the links that were learned stay, and
			// collapse by what was stored.
			s = h.open("repo", Options{fs: fs})
			h.wants(s)
			h.audit(s)
			h.ok(s.RemoveAlias(h.ctx, "r"))
			h.evict(s)
			h.has(s, true, odd, x, y)
			h.has(s, false, root, dir, torn, z)
			h.ok(s.RemoveAlias(h.ctx, "odd"))
			h.evict(s)
			h.audit(s)
			h.nothing(s)
		})
	}
}

// What a caller's link function returns is checked like a block's links.
func TestCodecWithOddLinks(t *testing.T) {
	h := newHarness(t)
	a, b := h.leaf("a"), h.leaf("b")
	inner := h.inline(a.CID(), h.inline(b.CID()).CID())
	broken := cid.NewCidV1(block.Raw, []byte{0x12, 0x20, 1})
	links := map[uint64]func(block.Block) ([]cid.Cid, error){
		private:     func(block.Block) ([]cid.Cid, error) { return []cid.Cid{inner.CID(), a.CID(), a.CID()}, nil },
		private + 1: func(block.Block) ([]cid.Cid, error) { return []cid.Cid{a.CID(), cid.Undef}, nil },
		private + 2: func(block.Block) ([]cid.Cid, error) { return []cid.Cid{a.CID(), broken}, nil },
	}
	s := h.open("", Options{Links: links})
	for i, tt := range []struct {
		codec uint64
		wants []block.Block
	}{
		{private, []block.Block{a, b}},
		{private + 1, nil}, // as a block that can't be decoded
		{private + 2, nil},
	} {
		root, err := block.New(tt.codec, []byte{byte(i)})
		h.ok(err)
		h.put(s, root)
		h.ok(s.SetAlias(h.ctx, "x", root.CID(), AliasOptions{}))
		h.wants(s, tt.wants...)
		h.misses(s, root.CID(), Selection{}, tt.wants...)
		h.audit(s)
	}
}
