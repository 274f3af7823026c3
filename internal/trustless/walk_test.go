package trustless

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// visits walks, and returns the CIDs of visits that aren't quiet.
func visits(t *testing.T, w *walk, root cid.Cid) ([]cid.Cid, error) {
	t.Helper()
	b, err := getInlined(t.Context(), w.get, root)
	if err != nil {
		t.Fatal(err)
	}
	w.root = b
	var got []cid.Cid
	for v, err := range w.from(t.Context(), child{cid: root}) {
		if err != nil {
			return got, err
		}
		if !v.quiet {
			got = append(got, v.cid)
		}
	}
	return got, nil
}

// TestWideWalk walks a DAG with far more links than a walk holds: it extracts dropped
// ones again.
func TestWideWalk(t *testing.T) {
	store := &blocks{}
	below := rawBlock(t, []byte("the lowest")).CID()
	put(t, store, rawBlock(t, []byte("the lowest")))
	const width = 4000
	for level := range 12 {
		links := []cid.Cid{below}
		for i := range width {
			leaf := rawBlock(t, random(8, uint64(level*width+i)))
			put(t, store, leaf)
			links = append(links, leaf.CID())
		}
		b := cborBlock(t, nil, links...)
		put(t, store, b)
		below = b.CID()
	}
	want := dagOf(t, store, below)
	before := store.gets.Load()
	w := &walk{get: store, children: allChildren, seen: newSeenSet(nil)}
	most := 0
	w.children = func(b block.Block, at child) []child {
		most = max(most, w.held)
		return allChildren(b, at)
	}
	got, err := visits(t, w, below)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %d blocks, %v, want %d", len(got), err, len(want))
	}
	if most > maxHeld+width {
		t.Errorf("held %d links, want at most %d", most, maxHeld+width)
	}
	if reads := store.gets.Load() - before; reads < 14 || reads > 30 {
		t.Errorf("got %d reads, want those of 12 blocks, and a few more", reads)
	}
}

// TestDeepWalk expects an error from a walk that holds too many levels.
func TestDeepWalk(t *testing.T) {
	store := &blocks{}
	leaf := rawBlock(t, []byte("leaf"))
	put(t, store, leaf)
	last := leaf.CID()
	for i := range maxFrames + 10 {
		b := cborBlock(t, random(8, uint64(i)), last, leaf.CID())
		put(t, store, b)
		last = b.CID()
	}
	if _, err := visits(t, &walk{get: store, children: allChildren, seen: newSeenSet(nil)}, last); !errors.Is(err, block.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
	// A chain holds no level, however long it is.
	last = chain(t, store, maxFrames+10)
	if got, err := visits(t, &walk{get: store, children: allChildren, seen: newSeenSet(nil)}, last); err != nil || len(got) != maxFrames+10 {
		t.Errorf("a chain: got %d blocks, %v", len(got), err)
	}
}

// TestSeenSet fills a set to its bounds.
func TestSeenSet(t *testing.T) {
	s := newSeenSet(nil)
	number := func(codec uint64, i int) cid.Cid {
		hash := make([]byte, 34)
		hash[0], hash[1] = 0x12, 32
		hash[2], hash[3], hash[4] = byte(i), byte(i>>8), byte(i>>16)
		return cid.NewCidV1(codec, hash)
	}
	for i := range maxSeen / 2 {
		if isNew, full := s.add(number(block.Raw, i)); !isNew || full {
			t.Fatalf("leaf %d: got new %v, full %v", i, isNew, full)
		}
	}
	for i := range 1000 {
		if isNew, _ := s.add(number(block.Raw, i)); isNew || !s.Has(number(block.Raw, i)) {
			t.Fatalf("leaf %d was forgotten", i)
		}
	}
	if isNew, full := s.add(number(block.Raw, maxSeen)); !isNew || full || s.Has(number(block.Raw, maxSeen)) {
		t.Errorf("a leaf too many: got new %v, full %v, want it new and not remembered", isNew, full)
	}
	links := 0
	for full := false; !full; links++ {
		_, full = s.add(number(block.DagCBOR, links))
		if links > maxSeen {
			t.Fatal("the set never is full")
		}
	}
	if want := maxSeen/8*3 + 1; links != want {
		t.Errorf("full after %d blocks with links, want %d", links, want)
	}
	v0 := cid.NewCidV0(number(block.DagPB, 1).Hash())
	s = newSeenSet(nil)
	s.add(number(block.DagPB, 1))
	if isNew, _ := s.add(v0); isNew {
		t.Error("a CIDv0 is another block than its CIDv1")
	}
}

// TestReadAhead bounds what is read ahead of a client that reads nothing.
func TestReadAhead(t *testing.T) {
	store := &blocks{}
	root := addFile(t, store, random(40<<20, 1), wide())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a := newReadAhead(store, newQuota(blocksInAll, 2*aheadBytes+block.MaxSize, 0), "")
	b, err := store.Get(ctx, root)
	if err != nil {
		t.Fatal(err)
	}
	a.reading.Go(func() {
		a.run(ctx, resolved{end: root}, content{walk: &walk{get: store, root: b, children: allChildren}, root: child{cid: root}})
	})
	waits := func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.left <= 0 && a.leaves == 0
	}
	eventually(t, "nothing more is read", waits)
	a.mu.Lock()
	held := aheadBytes - a.left
	a.mu.Unlock()
	if most := aheadBytes + leafReaders*block.MaxSize; held > most {
		t.Errorf("got %d bytes read ahead, want at most %d", held, most)
	}
	cancel()
	a.stop()
	a.reading.Wait()
}
