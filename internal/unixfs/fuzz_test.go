package unixfs

import (
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// FuzzRead takes any bytes for the root of whatever they are, above a few
// blocks that are there, and looks at it in all ways.
func FuzzRead(f *testing.F) {
	m := newMemory()
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
		store := overlay{m, b}
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

// overlay is a store with one more block.
type overlay struct {
	block.Getter
	more block.Block
}

func (o overlay) Get(ctx context.Context, c cid.Cid) (block.Block, error) {
	if c == o.more.CID() {
		return o.more, nil
	}
	b, err := o.Getter.Get(ctx, c)
	if err != nil {
		return b, fmt.Errorf("overlay: %w", err)
	}
	return b, nil
}
