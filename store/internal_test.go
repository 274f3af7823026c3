package store

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/access"
	"github.com/ipfs/go-cid"
)

// A block that is moved or removed between Find and the read is read elsewhere, or
// not found.
func TestFind(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	live, garbage := h.leaf("live"), h.random(rand.New(rand.NewPCG(1, 1)), 10_000)
	root := h.link("root", live.CID())
	h.put(s, live, garbage, root)
	h.alias(s, "x", root)
	reads := Internal(access.Key{}).Reader(s)
	size, readLive, err := reads.Find(h.ctx, live.CID())
	if err != nil || size != live.Size() {
		t.Fatalf("got %d bytes, %v, want %d", size, err, live.Size())
	}
	_, readGarbage, err := reads.Find(h.ctx, garbage.CID())
	h.ok(err)
	if e := h.evict(s); e.Packs == 0 {
		t.Fatalf("evict: got %+v, want the pack gone", e)
	}
	if b, err := readLive(h.ctx); err != nil || string(b.Data()) != "live" || b.CID() != live.CID() {
		t.Errorf("moved: got %q, %v", b.Data(), err)
	}
	if _, err := readGarbage(h.ctx); !errors.Is(err, block.ErrNotFound) {
		t.Errorf("evicted: got %v, want ErrNotFound", err)
	}
	if _, _, err := reads.Find(h.ctx, garbage.CID()); !errors.Is(err, block.ErrNotFound) {
		t.Errorf("absent: got %v, want ErrNotFound", err)
	}
	h.ok(s.Put(h.ctx, garbage))
	_, readGarbage, err = reads.Find(h.ctx, garbage.CID())
	h.ok(err)
	if b, err := readGarbage(h.ctx); err != nil || b.Size() != garbage.Size() {
		t.Errorf("in memory: got %d bytes, %v", b.Size(), err)
	}
	h.audit(s)
}

// Links that the caller has extracted count like those that Put extracts.
func TestPutExtracted(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	leaf := h.leaf("leaf")
	undecodable, err := block.New(block.DagCBOR, []byte("no dag-cbor"))
	h.ok(err)
	root := h.link("root", leaf.CID(), undecodable.CID(), leaf.CID())
	door := Internal(access.Key{})
	batch := s.Batch()
	for _, b := range []block.Block{leaf, undecodable, root} {
		x := door.Extract(s, b)
		want, wantErr := s.Links(b)
		if got, err := x.Links(); !slices.EqualFunc(got, want, cid.Cid.Equals) || (err == nil) != (wantErr == nil) {
			t.Errorf("%s: got %v, %v, want %v, %v", b.CID(), got, err, want, wantErr)
		}
		h.ok(door.PutExtracted(h.ctx, batch, x))
	}
	batch.Alias("x", root.CID(), AliasOptions{})
	h.ok(batch.Commit(h.ctx))
	h.evict(s)
	h.has(s, true, leaf, undecodable, root)
	if missing := h.wanted(s); len(missing) > 0 {
		t.Errorf("missing: %v", missing)
	}
	h.audit(s)
}
