package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/crashfs"
	"github.com/ipfs/go-cid"
)

func TestBlocksRefused(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	good := h.leaf("good")
	record, err := block.New(codecRecord, []byte("no record"))
	h.ok(err)
	for what, bad := range map[string]block.Block{"the zero Block": {}, "the store's own codec": record} {
		if err := s.Put(h.ctx, bad); !errors.Is(err, block.ErrMalformed) {
			t.Errorf("put %s: got %v, want ErrMalformed", what, err)
		}
		b := s.Batch()
		if err := b.Put(h.ctx, good, bad); !errors.Is(err, block.ErrMalformed) {
			t.Errorf("put %s into a batch: got %v, want ErrMalformed", what, err)
		}
		b.Discard()
	}
	if _, err := block.Verify(good.CID(), []byte("bad")); !errors.Is(err, block.ErrHashMismatch) {
		t.Errorf("verify other bytes: got %v, want ErrHashMismatch", err)
	}
	for c, err := range s.Blocks(h.ctx) {
		h.ok(err)
		if c != good.CID() {
			t.Errorf("%s was taken in", c)
		}
	}
	for what, c := range map[string]cid.Cid{
		"undefined": cid.Undef,
		"no hash":   cid.NewCidV1(block.Raw, nil),
		"cut hash":  cid.NewCidV1(block.Raw, []byte{0x12, 0x20, 1, 2, 3}),
		"identity":  cid.NewCidV1(block.Raw, append([]byte{0, 0x81, 0x01}, make([]byte, 129)...)),
	} {
		if _, err := s.Get(h.ctx, c); err == nil || errors.Is(err, block.ErrNotFound) {
			t.Errorf("get, %s: got %v, want an error that says what's wrong", what, err)
		}
		b := s.Batch()
		if here, err := b.Has(h.ctx, c); here || err == nil {
			t.Errorf("has, %s: got %v, %v, want an error", what, here, err)
		}
		b.Discard()
		for range s.ReverseAlias(h.ctx, c) {
			t.Errorf("what keeps, %s: got an alias", what)
		}
		for got, err := range s.Missing(h.ctx, c, Selection{}) {
			if err == nil {
				t.Errorf("missing, %s: got %s, want an error", what, got)
			}
		}
		if err := s.Delete(h.ctx, c); err != nil && !errors.Is(err, block.ErrMalformed) {
			t.Errorf("delete, %s: got %v", what, err)
		}
	}
	h.audit(s)
}

func TestLargestBlock(t *testing.T) {
	h := newHarness(t)
	fs := crashfs.New(1)
	s := h.open("repo", Options{fs: fs, PackSize: 64 << 10})
	data := bytes.Repeat([]byte("0123456789abcdef"), block.MaxSize/16)
	largest, err := block.New(block.Raw, data)
	h.ok(err)
	if _, err := block.New(block.Raw, append(data, 0)); !errors.Is(err, block.ErrTooLarge) {
		t.Errorf("a byte more: got %v, want ErrTooLarge", err)
	}
	root := h.link("root", largest.CID(), h.leaf("").CID())
	h.put(s, largest, root, h.leaf(""))
	h.alias(s, "x", root)
	h.ok(s.Close())
	s = h.open("repo", Options{fs: fs, PackSize: 64 << 10})
	h.has(s, true, largest, root, h.leaf(""))
	h.evict(s)
	h.audit(s)
	h.ok(s.Close())
	_, err = Rebuild(h.ctx, "repo", Options{fs: fs}, nil)
	h.ok(err)
	s = h.open("repo", Options{fs: fs})
	h.has(s, true, largest, root, h.leaf(""))
	h.misses(s, root.CID(), Selection{})
}

// Blocks that can't be decoded have no links. They are kept while something links to
// them, like other blocks.
func TestUndecodable(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	var bad []block.Block
	for i, codec := range []uint64{block.DagCBOR, block.DagPB, block.DagJSON, block.GitRaw, block.DagJOSE} {
		for _, data := range []string{"\xff\xff", strings.Repeat("\x81", 5000), "{", ""} {
			b, err := block.New(codec, fmt.Appendf([]byte(data), "%c", i))
			h.ok(err)
			bad = append(bad, b)
		}
	}
	var links []cid.Cid
	for _, b := range bad {
		links = append(links, b.CID())
	}
	root := h.link("root", links...)
	h.put(s, bad...)
	h.put(s, root)
	h.alias(s, "x", root)
	for i, b := range bad {
		h.alias(s, fmt.Sprint(i), b)
		h.misses(s, b.CID(), Selection{})
	}
	h.wants(s)
	h.misses(s, root.CID(), Selection{})
	h.evict(s)
	h.has(s, true, bad...)
	h.audit(s)
	h.ok(s.RemoveAlias(h.ctx, "x"))
	for i := range bad {
		h.ok(s.RemoveAlias(h.ctx, fmt.Sprint(i)))
	}
	h.evict(s)
	h.nothing(s)
	h.audit(s)
}

// A link that can't be followed is wanted like others, and breaks nothing.
func TestLinksThatCantBeFollowed(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	hash := func(code ...byte) cid.Cid { return cid.NewCidV1(block.Raw, append(code, make([]byte, 16)...)) }
	a := h.leaf("a")
	odd := []cid.Cid{
		hash(0xd5, 0x01, 16),                        // md5
		hash(0xfe, 0xff, 0x03, 16),                  // an unknown code
		hash(0x12, 16),                              // sha2-256, truncated
		cid.NewCidV1(1<<60, a.CID().Hash()),         // an unknown codec
		cid.NewCidV1(codecRecord, a.CID().Hash()),   // the store's own
		cid.NewCidV1(block.DagCBOR, a.CID().Hash()), // bytes that aren't dag-cbor
	}
	root := h.link("root", append(odd, a.CID())...)
	h.put(s, root)
	h.alias(s, "x", root)
	if got := len(h.wanted(s)); got != len(odd)+1 {
		t.Errorf("%d blocks are wanted, want %d: %v", got, len(odd)+1, h.wanted(s))
	}
	h.put(s, a)
	if got := len(h.wanted(s)); got != 3 {
		t.Errorf("%d blocks are wanted, want the three that can't come: %v", got, h.wanted(s))
	}
	if _, err := s.Get(h.ctx, odd[0]); !errors.Is(err, block.ErrHashRefused) {
		t.Errorf("get by md5: got %v, want ErrHashRefused", err)
	}
	h.evict(s)
	h.has(s, true, a, root)
	h.audit(s)
	h.ok(s.RemoveAlias(h.ctx, "x"))
	h.wants(s)
	h.evict(s)
	h.audit(s)
	h.nothing(s)
}

// The disk gets full at some byte of a commit. The commit fails or succeeds whole.
// The store continues as soon as there is space, or fails and is opened again.
func TestFullDisk(t *testing.T) {
	w := newSwap(newHarness(t))
	failed, fine, reopened := 0, 0, 0
	for room := int64(0); room < 300_000; room += 500 + room/4 {
		fs := crashfs.New(uint64(room))
		s := w.prepare(fs)
		du, err := fs.GetDiskUsage("")
		w.ok(err)
		fs.Full(int64(du.UsedBytes) + room)
		err = w.try(s, "new", w.new)
		if err != nil {
			failed++
		} else {
			fine++
		}
		if err != nil && !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, ErrFailed) {
			t.Fatalf("with room for %d bytes: got %v, want an error that says why", room, err)
		}
		fs.Full(-1)
		when := fmt.Sprintf("with room for %d bytes (%v)", room, err)
		if s.index.err() == nil {
			if after := w.check(s, when, false); err == nil && !after {
				t.Fatalf("%s: what was acknowledged isn't there", when)
			}
			w.commit(s, "new", w.new)
		}
		if cerr := s.Close(); cerr != nil && !errors.Is(cerr, ErrFailed) {
			t.Errorf("%s: close: %v", when, cerr)
		}
		s = w.open(fs)
		if !w.check(s, when, false) {
			if err == nil {
				t.Fatalf("%s: what was acknowledged isn't there", when)
			}
			reopened++
			w.commit(s, "new", w.new)
			w.check(s, when, false)
		}
		w.evict(s)
		w.has(s, false, w.garbage...)
		w.ok(s.Close())
	}
	t.Logf("%d commits failed, %d went well; %d times the store had to be opened again", failed, fine, reopened)
	if failed < 5 || fine < 1 {
		t.Errorf("%d commits failed and %d went well, want both", failed, fine)
	}
}

// Below the reserve no block is accepted, but calls that free space work, and the
// index stays correct.
func TestReserve(t *testing.T) {
	const reserve = 1 << 20
	h := newHarness(t)
	fs := crashfs.New(1)
	s := h.open("repo", Options{fs: fs, PackSize: 64 << 10, Reserve: reserve})
	rng := rand.New(rand.NewPCG(1, 1))
	var garbage []block.Block
	for range 20 {
		garbage = append(garbage, h.random(rng, 20_000))
	}
	a, late := h.leaf("a"), h.leaf("late")
	root := h.link("root", a.CID())
	h.put(s, append(garbage[:19:19], a, root)...)
	h.alias(s, "x", root)
	h.alias(s, "y", root)
	open := s.Batch()
	h.ok(open.Put(h.ctx, late))

	du, err := fs.GetDiskUsage("")
	h.ok(err)
	fs.Full(int64(du.UsedBytes) + reserve - 100_000)
	// The first call finds out and returns the error; from then on puts are
	// refused.
	h.ok(s.Put(h.ctx, late))
	if err := s.Flush(h.ctx); !errors.Is(err, ErrBatchLost) || !errors.Is(err, ErrDiskFull) {
		t.Errorf("flush: got %v, want ErrBatchLost and ErrDiskFull", err)
	}
	h.has(s, false, late)
	refused := map[string]error{
		"put":       s.Put(h.ctx, late),
		"set alias": s.SetAlias(h.ctx, "z", root.CID(), AliasOptions{}),
		"set":       s.Space("p").Set(h.ctx, []byte("k"), nil),
		"pin":       s.TempPin().Add(h.ctx, a.CID()),
	}
	b := s.Batch()
	h.ok(b.Put(h.ctx, garbage[19]))
	refused["commit"] = b.Commit(h.ctx)
	for what, err := range refused {
		if !errors.Is(err, ErrDiskFull) {
			t.Errorf("%s: got %v, want ErrDiskFull", what, err)
		}
	}
	h.has(s, true, a, root)
	h.ok(s.RemoveAlias(h.ctx, "y"))
	h.ok(s.Delete(h.ctx, garbage[0].CID()))
	e := h.evict(s)
	if e.Bytes < 300_000 {
		t.Errorf("evict: got %+v, want the space of the garbage", e)
	}
	h.has(s, true, a, root)
	h.has(s, false, garbage...)

	// There's space again.
	h.ok(s.Put(h.ctx, late))
	h.alias(s, "z", late)
	h.has(s, true, late)
	if err := open.Commit(h.ctx); err != nil && !errors.Is(err, ErrBatchLost) {
		t.Errorf("commit of a batch that was open meanwhile: got %v", err)
	}
	h.audit(s)
	h.ok(s.Close())
	s = h.open("repo", Options{fs: fs, Reserve: reserve})
	h.has(s, true, a, root, late)
	h.audit(s)
}

func TestReadOnlyDisk(t *testing.T) {
	h := newHarness(t)
	fs := crashfs.New(1)
	s := h.open("repo", Options{fs: fs})
	a := h.leaf("a")
	root := h.link("root", a.CID())
	h.put(s, a, root)
	h.alias(s, "x", root)

	// It becomes read-only while the store is open, as a disk with errors does.
	fs.ReadOnly(true)
	h.has(s, true, a, root)
	for what, err := range map[string]error{
		"set alias":    s.SetAlias(h.ctx, "y", root.CID(), AliasOptions{}),
		"remove alias": s.RemoveAlias(h.ctx, "x"),
	} {
		if !errors.Is(err, syscall.EROFS) && !errors.Is(err, ErrFailed) {
			t.Errorf("%s: got %v, want an error that says why", what, err)
		}
	}
	s.Close()

	// It is read-only when the store is opened.
	if _, err := Open(h.ctx, "repo", Options{fs: fs}); !errors.Is(err, syscall.EROFS) {
		t.Errorf("open: got %v, want an error that says it's read-only", err)
	}
	if _, err := Open(h.ctx, "new", Options{fs: fs}); !errors.Is(err, syscall.EROFS) {
		t.Errorf("open a new one: got %v, want an error that says it's read-only", err)
	}
	if _, err := Rebuild(h.ctx, "repo", Options{fs: fs}, nil); !errors.Is(err, syscall.EROFS) {
		t.Errorf("rebuild: got %v, want an error that says it's read-only", err)
	}
	fs.ReadOnly(false)
	s = h.open("repo", Options{fs: fs})
	h.has(s, true, a, root)
	if _, err := s.GetAlias(h.ctx, "x"); err != nil {
		t.Error(err)
	}
	h.wants(s)
	h.audit(s)
}
