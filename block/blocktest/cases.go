package blocktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/cairn-ipfs/cairn/block"
)

func testMissing(t *testing.T, s suite) {
	s.missing(s.raw("missing").CID())
	s.missing(s.raw("").CID())
	s.listed()
	s.put()
	s.put(s.raw("here"))
	s.missing(s.raw("missing").CID())
}

// Blocks with all kinds of CIDs, empty ones and one of the largest size.
func testKinds(t *testing.T, s suite) {
	blocks := []block.Block{
		s.raw("hello"),
		s.raw(""),
		s.make(block.Raw, block.SHA2_256, bytes.Repeat([]byte("0123456789abcdef"), block.MaxSize/16)),
		s.make(block.DagCBOR, 0x13, []byte{0xa0}),  // sha2-512
		s.make(block.GitRaw, 0x11, []byte("blob")), // sha1
		s.make(block.Raw, 0x1e, []byte("blake3")),
		s.make(0x300001, 0xb220, []byte("private codec, blake2b-256")),
	}
	s.put(blocks...)
	var cids []cid.Cid
	for _, b := range blocks {
		s.here(b.CID(), b.Data())
		cids = append(cids, b.CID())
	}
	s.listed(cids...)
}

func testPutTwice(t *testing.T, s suite) {
	a, b := s.raw("a"), s.raw("b")
	s.put(a, b, a)
	s.put(b, a)
	s.here(a.CID(), a.Data())
	s.here(b.CID(), b.Data())
	s.listed(a.CID(), b.CID())
}

func testDelete(t *testing.T, s suite) {
	a, b, c := s.raw("a"), s.raw("b"), s.raw("c")
	s.put(a, b, c)
	for range 2 { // the second time they aren't here, which is no error
		if err := s.Delete(t.Context(), a.CID(), c.CID(), s.raw("never here").CID()); err != nil {
			t.Fatalf("Delete: %v", err)
		}
		s.missing(a.CID())
		s.missing(c.CID())
		s.here(b.CID(), b.Data())
		s.listed(b.CID())
	}
	if err := s.Delete(t.Context()); err != nil {
		t.Errorf("Delete nothing: %v", err)
	}
	s.put(a)
	s.here(a.CID(), a.Data())
	s.listed(a.CID(), b.CID())
}

// CIDv0 and CIDv1 dag-pb name the same block.
func testVersion(t *testing.T, s suite) {
	a := s.make(block.DagPB, block.SHA2_256, []byte("\x0a\x01a"))
	b := s.make(block.DagPB, block.SHA2_256, []byte("\x0a\x01b"))
	v0 := func(b block.Block) block.Block {
		b, err := b.WithCID(cid.NewCidV0(b.CID().Hash()))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	s.put(a)
	s.put(v0(b))
	for _, c := range []cid.Cid{a.CID(), v0(a).CID()} {
		s.here(c, a.Data())
	}
	for _, c := range []cid.Cid{b.CID(), v0(b).CID()} {
		s.here(c, b.Data())
	}
	s.put(v0(a), b)
	s.listed(a.CID(), b.CID())
	if err := s.Delete(t.Context(), v0(a).CID(), b.CID()); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	for _, c := range []cid.Cid{a.CID(), v0(a).CID(), b.CID(), v0(b).CID()} {
		s.missing(c)
	}
	s.listed()
}

// Bytes serve every codec of their multihash. A store may list them under any of
// these.
func testCodecs(t *testing.T, s suite) {
	raw := s.raw("\xa0")
	asCBOR := raw.WithCodec(block.DagCBOR)
	s.put(raw)
	s.here(raw.CID(), raw.Data())
	s.here(asCBOR.CID(), raw.Data())
	s.put(asCBOR)
	s.here(raw.CID(), raw.Data())
	s.here(asCBOR.CID(), raw.Data())
	got := s.list()
	for i, c := range got {
		if slices.Contains(got[:i], c) || c != raw.CID() && c != asCBOR.CID() {
			t.Errorf("Blocks: got %v, want %s or %s, or each once", got, raw.CID(), asCBOR.CID())
		}
	}
	if len(got) == 0 {
		t.Error("Blocks: got nothing")
	}
}

// Identity CIDs are always here, and never stored.
func testIdentity(t *testing.T, s suite) {
	for _, data := range []string{"", "inline", string(make([]byte, block.MaxIdentity))} {
		b := s.make(block.Raw, block.Identity, []byte(data))
		s.here(b.CID(), b.Data())
		s.put(b)
		s.here(b.CID(), b.Data())
		s.listed()
		if err := s.Delete(t.Context(), b.CID()); err != nil {
			t.Errorf("Delete %s: %v", b.CID(), err)
		}
		s.here(b.CID(), b.Data())
	}
}

// CIDs that can't name a block are never here, and do no harm.
func testBadCIDs(t *testing.T, s suite) {
	bad := []cid.Cid{
		cid.Undef,
		cid.NewCidV1(block.Raw, append([]byte{0x00, 0x81, 0x01}, make([]byte, block.MaxIdentity+1)...)),
		cid.NewCidV1(block.Raw, append([]byte{0xd5, 0x01, 16}, make([]byte, 16)...)), // md5
		cid.NewCidV1(block.Raw, append([]byte{0x12, 4}, make([]byte, 4)...)),         // sha2-256, cut
	}
	for _, c := range bad {
		if b, err := s.Get(t.Context(), c); err == nil {
			t.Errorf("Get %x: got %d bytes, want an error", c.Bytes(), b.Size())
		}
		if has, _ := s.Has(t.Context(), c); has {
			t.Errorf("Has %x: got true, want false", c.Bytes())
		}
		if size, err := s.Size(t.Context(), c); err == nil {
			t.Errorf("Size %x: got %d, want an error", c.Bytes(), size)
		}
	}
	s.put(s.raw("still works"))
	s.here(s.raw("still works").CID(), []byte("still works"))
}

func testMany(t *testing.T, s suite) {
	const n = 2000
	var blocks []block.Block
	var cids []cid.Cid
	for i := range n {
		b := s.raw(fmt.Sprint("block ", i))
		blocks = append(blocks, b)
		cids = append(cids, b.CID())
	}
	for batch := range slices.Chunk(blocks, 300) {
		s.put(batch...)
	}
	for i := 0; i < n; i += 37 {
		s.here(blocks[i].CID(), blocks[i].Data())
	}
	s.listed(cids...)
	if err := s.Delete(t.Context(), cids[:n/2]...); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	s.listed(cids[n/2:]...)
	s.missing(cids[0])
	s.here(cids[n-1], blocks[n-1].Data())
}

// An iteration of Blocks may be ended early and started again.
func testListEnds(t *testing.T, s suite) {
	a, b := s.raw("a"), s.raw("b")
	s.put(a, b)
	var n int
	for _, err := range s.Blocks(t.Context()) {
		if err != nil {
			t.Fatalf("Blocks: %v", err)
		}
		n++
		break
	}
	if n != 1 {
		t.Errorf("Blocks: got %d, want 1 before the break", n)
	}
	s.listed(a.CID(), b.CID())
	s.put(s.raw("c"))
	s.listed(a.CID(), b.CID(), s.raw("c").CID())
}

// The store may be used while it is being listed.
func testListReentrant(t *testing.T, s suite) {
	a, b := s.raw("a"), s.raw("b")
	s.put(a, b)
	listed := make(map[cid.Cid]bool)
	for c, err := range s.Blocks(t.Context()) {
		if err != nil {
			t.Fatalf("Blocks: %v", err)
		}
		listed[c] = true
		if c != a.CID() && c != b.CID() {
			continue // "c", put below, may be listed or not
		}
		if _, err := s.Get(t.Context(), c); err != nil {
			t.Errorf("Get %s while listing: %v", c, err)
		}
		s.put(s.raw("c"))
		if err := s.Delete(t.Context(), c); err != nil {
			t.Errorf("Delete %s while listing: %v", c, err)
		}
	}
	if !listed[a.CID()] || !listed[b.CID()] {
		t.Errorf("Blocks: got %v, want %s and %s among them", listed, a.CID(), b.CID())
	}
	s.listed(s.raw("c").CID())
}

// The bytes of a block that was returned stay as they are, whatever the store
// does next.
func testBytesKept(t *testing.T, s suite) {
	data := bytes.Repeat([]byte("kept"), 10_000)
	kept := s.make(block.Raw, block.SHA2_256, data)
	s.put(kept)
	got, err := s.Get(t.Context(), kept.CID())
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	for i := range 50 {
		b := s.make(block.Raw, block.SHA2_256, bytes.Repeat([]byte{byte(i)}, 40_000))
		s.put(b)
		s.here(b.CID(), b.Data())
	}
	if err := s.Delete(t.Context(), kept.CID()); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	s.missing(kept.CID())
	if _, err := block.Verify(got.CID(), got.Data()); err != nil {
		t.Errorf("the bytes that Get returned: %v", err)
	}
	if string(data) != string(bytes.Repeat([]byte("kept"), 10_000)) {
		t.Error("the bytes that were put have changed")
	}
}

func testCancelled(t *testing.T, s suite) {
	b := s.raw("here")
	s.put(b)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	check := func(call string, err error) {
		t.Helper()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want context.Canceled", call, err)
		}
	}
	_, err := s.Get(ctx, b.CID())
	check("Get", err)
	_, err = s.Get(ctx, s.raw("missing").CID())
	check("Get what is missing", err)
	_, err = s.Has(ctx, b.CID())
	check("Has", err)
	_, err = s.Size(ctx, b.CID())
	check("Size", err)
	check("Put", s.Put(ctx, s.raw("new")))
	check("Delete", s.Delete(ctx, b.CID()))
	err = nil
	for _, e := range s.Blocks(ctx) {
		err = e
	}
	check("Blocks", err)
	s.here(b.CID(), b.Data())
}

// Goroutines share some blocks. Each also has blocks of its own, which must behave
// as if it were alone.
func testConcurrent(t *testing.T, s suite) {
	const workers, rounds = 8, 40
	shared := s.raw("shared")
	s.put(shared)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				own := s.raw(fmt.Sprint("own ", w, " ", i))
				if err := s.Put(t.Context(), own, shared, s.raw(fmt.Sprint("all ", i))); err != nil {
					t.Errorf("Put: %v", err)
				}
				s.here(own.CID(), own.Data())
				s.here(shared.CID(), shared.Data())
				if i%10 == w {
					s.list()
				}
				if i%2 == 0 {
					if err := s.Delete(t.Context(), own.CID()); err != nil {
						t.Errorf("Delete: %v", err)
					}
					s.missing(own.CID())
				}
			}
		})
	}
	wg.Wait()
	want := []cid.Cid{shared.CID()}
	for i := range rounds {
		want = append(want, s.raw(fmt.Sprint("all ", i)).CID())
		for w := range workers {
			if i%2 == 1 {
				want = append(want, s.raw(fmt.Sprint("own ", w, " ", i)).CID())
			}
		}
	}
	s.listed(want...)
}
