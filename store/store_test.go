package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/block/blocktest"
	"github.com/cairn-ipfs/cairn/internal/access"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/datamodel"
	"github.com/ipld/go-ipld-prime/fluent/qp"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/node/basicnode"
)

// harness has helpers that fail the test on any error.
type harness struct {
	testing.TB
	ctx context.Context
}

func newHarness(t testing.TB) harness { return harness{t, context.Background()} }

func (h harness) ok(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h harness) open(dir string, o Options) *Store {
	h.Helper()
	s, err := Open(h.ctx, dir, o)
	h.ok(err)
	h.Cleanup(func() { s.Close() })
	return s
}

// leaf is a raw block with that text.
func (h harness) leaf(format string, args ...any) block.Block {
	h.Helper()
	b, err := block.New(block.Raw, fmt.Appendf(nil, format, args...))
	h.ok(err)
	return b
}

// random is a raw block of n random bytes.
func (h harness) random(rng *rand.Rand, n int) block.Block {
	h.Helper()
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
	b, err := block.New(block.Raw, p)
	h.ok(err)
	return b
}

// link is a dag-cbor block that links to others.
func (h harness) link(name string, to ...cid.Cid) block.Block {
	h.Helper()
	n, err := qp.BuildMap(basicnode.Prototype.Map, 2, func(m datamodel.MapAssembler) {
		qp.MapEntry(m, "name", qp.String(name))
		qp.MapEntry(m, "links", qp.List(int64(len(to)), func(l datamodel.ListAssembler) {
			for _, c := range to {
				qp.ListEntry(l, qp.Link(cidlink.Link{Cid: c}))
			}
		}))
	})
	h.ok(err)
	data, err := encodeCBOR(n)
	h.ok(err)
	b, err := block.New(block.DagCBOR, data)
	h.ok(err)
	return b
}

func encodeCBOR(n datamodel.Node) ([]byte, error) {
	var w sliceWriter
	err := dagcbor.Encode(n, &w)
	return w, err
}

type sliceWriter []byte

func (w *sliceWriter) Write(p []byte) (int, error) {
	*w = append(*w, p...)
	return len(p), nil
}

func (h harness) put(s *Store, blocks ...block.Block) {
	h.Helper()
	b := s.Batch()
	h.ok(b.Put(h.ctx, blocks...))
	h.ok(b.Commit(h.ctx))
}

func (h harness) alias(s *Store, name string, root block.Block) {
	h.Helper()
	h.ok(s.SetAlias(h.ctx, name, root.CID(), AliasOptions{}))
}

func (h harness) has(s *Store, want bool, blocks ...block.Block) {
	h.Helper()
	for _, b := range blocks {
		got, err := s.Has(h.ctx, b.CID())
		h.ok(err)
		if got != want {
			h.Fatalf("has %s: got %v, want %v", b.CID(), got, want)
		}
		if !want {
			if _, err := s.Get(h.ctx, b.CID()); !errors.Is(err, block.ErrNotFound) {
				h.Fatalf("get %s: got error %v, want ErrNotFound", b.CID(), err)
			}
			continue
		}
		k, err := s.Get(h.ctx, b.CID())
		h.ok(err)
		if string(k.Data()) != string(b.Data()) || k.CID() != b.CID() {
			h.Fatalf("get %s: got other bytes", b.CID())
		}
	}
}

func (h harness) evict(s *Store) EvictResult {
	h.Helper()
	e, err := s.Evict(h.ctx, EvictOptions{})
	h.ok(err)
	return e
}

// audit fails the test if there is an error in the index or the data.
func (h harness) audit(s *Store) {
	h.Helper()
	rep, err := s.Verify(h.ctx, VerifyOptions{Data: true})
	h.ok(err)
	if !rep.OK() {
		h.Fatalf("verify: damaged %v, wrong %v", rep.Damaged, rep.Wrong)
	}
}

func (h harness) wanted(s *Store) []cid.Cid {
	h.Helper()
	var cids []cid.Cid
	for c, err := range s.Wanted(h.ctx) {
		h.ok(err)
		cids = append(cids, c)
	}
	slices.SortFunc(cids, func(a, b cid.Cid) int { return slices.Compare(a.Bytes(), b.Bytes()) })
	return cids
}

func TestConformance(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		blocktest.Run(t, func(t *testing.T) blocktest.Store { return newHarness(t).open("", Options{}) })
	})
	t.Run("disk", func(t *testing.T) {
		blocktest.Run(t, func(t *testing.T) blocktest.Store { return newHarness(t).open(t.TempDir(), Options{}) })
	})
}

func TestKeepsAndEvicts(t *testing.T) {
	h := newHarness(t)
	dir := t.TempDir()
	s := h.open(dir, Options{})
	a, b, c := h.leaf("a"), h.leaf("b"), h.leaf("c")
	root := h.link("root", a.CID(), b.CID())
	h.put(s, a, b, c, root)
	h.alias(s, "x", root)
	h.has(s, true, a, b, c, root)
	h.evict(s)
	h.has(s, true, a, b, root)
	h.has(s, false, c)
	h.audit(s)
	h.ok(s.Close())

	s = h.open(dir, Options{})
	h.has(s, true, a, b, root)
	al, err := s.GetAlias(h.ctx, "x")
	h.ok(err)
	if al.Root != root.CID() {
		t.Fatalf("resolve: got %s, want %s", al.Root, root.CID())
	}
	h.ok(s.RemoveAlias(h.ctx, "x"))
	if err := s.RemoveAlias(h.ctx, "x"); !errors.Is(err, ErrNoAlias) {
		t.Fatalf("remove again: got %v, want ErrNoAlias", err)
	}
	h.evict(s)
	h.has(s, false, a, b, root)
	h.audit(s)
	st, err := s.Stats(h.ctx)
	h.ok(err)
	if st.LiveBlocks != 0 || st.CachedBlocks != 0 {
		t.Fatalf("stats: %+v, want nothing", st)
	}
}

func TestPowerLoss(t *testing.T) {
	h := newHarness(t)
	mem := vfs.NewCrashableMem()
	s := h.open("repo", Options{fs: mem})
	a := h.leaf("a")
	root := h.link("root", a.CID())
	h.put(s, a, root)
	h.alias(s, "x", root)
	h.ok(s.Put(h.ctx, h.leaf("cached")))
	after := mem.CrashClone(vfs.CrashCloneCfg{})
	h.ok(s.Close())

	s = h.open("repo", Options{fs: after})
	h.has(s, true, a, root)
	h.audit(s)
	if _, err := s.GetAlias(h.ctx, "x"); err != nil {
		t.Fatal(err)
	}
}

// TestReader reads into memory of the caller, where that is long enough, and
// not where the block isn't in a pack.
func TestReader(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	b := h.leaf("a block")
	h.ok(s.Put(h.ctx, b))
	h.ok(s.Flush(h.ctx))
	reads := Internal(access.Key{}).Reader(s)
	for size := range 2 * b.Size() {
		memory := make([]byte, size)
		got, err := reads.GetInto(h.ctx, b.CID(), memory)
		if err != nil || string(got.Data()) != "a block" || cap(got.Data()) != b.Size() {
			t.Errorf("%d bytes: got %q, %v", size, got.Data(), err)
		}
		if into := size > 0 && &got.Data()[0] == &memory[0]; into != (size >= b.Size()) {
			t.Errorf("%d bytes: got %v for reading into them", size, into)
		}
	}
	if _, err := reads.GetInto(h.ctx, h.leaf("absent").CID(), nil); !errors.Is(err, block.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}
