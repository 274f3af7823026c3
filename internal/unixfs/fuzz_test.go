package unixfs

import (
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// FuzzRead reads random bytes as a root in every way. A few blocks exist that
// the root can link to.
func FuzzRead(f *testing.F) {
	m := newMemoryStore()
	leaf := putRaw(f, m, "leaf")
	f.Add([]byte("leaf"))
	f.Add((&Node{Type: TypeFile, FileSize: 8, BlockSizes: []uint64{4, 4}, Links: []Link{leaf, leaf}}).Encode())
	f.Add((&Node{Type: TypeFile, FileSize: 1 << 41, BlockSizes: []uint64{4, 1<<41 - 4}, Links: []Link{leaf, leaf}}).Encode())
	f.Add((&Node{Type: TypeDirectory, Links: []Link{{CID: leaf.CID, Name: "a"}, {CID: leaf.CID, Name: ".."}}}).Encode())
	f.Add((&Node{Type: TypeHAMTShard, Data: []byte{1}, HashType: hashMurmur3, Fanout: 8, Links: []Link{{CID: leaf.CID, Name: "0"}}}).Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > block.MaxSize {
			return
		}
		b, err := block.New(block.DagPB, data)
		if err != nil {
			t.Fatal(err)
		}
		store := overlayGetter{m, b}
		ctx := t.Context()
		info, err := Stat(ctx, store, b.CID())
		if err != nil {
			return
		}
		switch info.Type {
		case TypeFile:
			file, err := Open(ctx, store, b.CID())
			if err != nil {
				t.Fatalf("Stat took it, Open did not: %v", err)
			}
			defer file.Close()
			n, err := io.Copy(io.Discard, io.LimitReader(file, 1<<20))
			if err == nil && n != min(info.Size, 1<<20) {
				t.Fatalf("read %d bytes without error, of %d", n, info.Size)
			}
			p := make([]byte, 100)
			if n, err := file.ReadAt(p, info.Size/2); err == nil && n != len(p) {
				t.Fatalf("ReadAt: %d bytes without error", n)
			}
		case TypeDirectory:
			seen := map[string]bool{}
			for e, err := range ReadDir(ctx, store, b.CID()) {
				if err != nil {
					break
				}
				if seen[e.Name] {
					t.Fatalf("%q twice", e.Name)
				}
				seen[e.Name] = true
				if found, err := Lookup(ctx, store, b.CID(), e.Name); err != nil || found != e {
					t.Fatalf("looked up %+v, got %+v, %v", e, found, err)
				}
			}
		}
	})
}

// An overlayGetter is a Getter with one more block.
type overlayGetter struct {
	block.Getter
	more block.Block
}

func (o overlayGetter) Get(ctx context.Context, c cid.Cid) (block.Block, error) {
	if c == o.more.CID() {
		return o.more, nil
	}
	b, err := o.Getter.Get(ctx, c)
	if err != nil {
		return b, fmt.Errorf("overlay: %w", err)
	}
	return b, nil
}

// FuzzEdit edits random bytes as a directory. The new root has the changes, and
// its other entries are readable if they were before.
func FuzzEdit(f *testing.F) {
	m := newMemoryStore()
	leaf := putRaw(f, m, "leaf")
	f.Add((&Node{Type: TypeDirectory, Links: []Link{{CID: leaf.CID, Name: "b"}, {CID: leaf.CID, Name: "a"}, {CID: leaf.CID, Name: "a"}}}).Encode(), "a")
	_, err := buildHAMT([]Link{{CID: leaf.CID, Name: "a"}, {CID: leaf.CID, Name: "b"}, {CID: leaf.CID, Name: "c"}}, 8, attributes{}, func(n *Node) (part, error) {
		f.Add(n.Encode(), "b")
		l := putNode(f, m, *n)
		return part{cid: l.CID, tsize: l.Tsize}, nil
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		b, err := block.New(block.DagPB, data)
		if err != nil {
			return
		}
		ctx, store := t.Context(), newMemoryStore()
		get := overlayGetter{unionGetter{store, m}, b}
		tree, err := Edit(ctx, get, store, b.CID(), Options{Profile: tinyProfile()})
		if err != nil {
			return
		}
		if err := tree.Link(ctx, "a new name", leaf.CID); err != nil {
			return
		}
		removed := checkName(name) == nil && tree.Remove(ctx, name) == nil
		root, err := tree.Commit(ctx)
		if err != nil {
			return
		}
		if e, err := Lookup(ctx, get, root, "a new name"); name != "a new name" && (err != nil || e.CID != leaf.CID) {
			t.Fatalf("the added entry: got %+v, %v", e, err)
		}
		if e, err := Lookup(ctx, get, root, name); removed && err == nil {
			t.Fatalf("%q was removed: got %+v", name, e)
		}
		for e, err := range ReadDir(ctx, get, b.CID()) {
			if err != nil {
				break
			}
			if now, err := Lookup(ctx, get, root, e.Name); e.Name != name && e.Name != "a new name" && (err != nil || now.CID != e.CID) {
				t.Fatalf("%q: got %+v, %v, want %s as before", e.Name, now, err, e.CID)
			}
		}
	})
}

// A unionGetter gets from two Getters.
type unionGetter struct{ first, second block.Getter }

func (s unionGetter) Get(ctx context.Context, c cid.Cid) (block.Block, error) {
	if b, err := s.first.Get(ctx, c); err == nil {
		return b, nil
	}
	return s.second.Get(ctx, c)
}
