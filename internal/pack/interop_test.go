package pack

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/cairn-ipfs/cairn/internal/car"
	"github.com/cockroachdb/pebble/v2/vfs"
	carv2 "github.com/ipld/go-car/v2"
	"github.com/ipld/go-car/v2/blockstore"
)

// Any IPFS tool can read a pack at any time: open, cut, or sealed.
func TestGoCarReadsPacks(t *testing.T) {
	dir := t.TempDir()
	f := fixture{TB: t}
	var err error
	f.Dir, err = OpenDir(vfs.Default, dir)
	f.ok(err)
	defer f.Dir.Close()
	blocks := f.blocksOf(sizes...)
	w, err := f.Create(1)
	f.ok(err)
	places := f.append(w, blocks[:10]...)
	end := w.End()
	f.goCar(filepath.Join(dir, ID(1).Name()), places)
	f.ok(w.Close())
	f.goCar(filepath.Join(dir, ID(1).Name()), places)
	w, err = f.Resume(1, end)
	f.ok(err)
	f.append(w, blocks[10:]...)
	f.ok(w.Close())
	f.ok(f.Cut(1, end))
	f.goCar(filepath.Join(dir, ID(1).Name()), places)
	_, err = f.SealAt(1, end)
	f.ok(err)
	f.goCar(filepath.Join(dir, ID(1).Name()), places)
}

// goCar reads a pack with go-car, as a stream and by its index.
func (f fixture) goCar(path string, places []place) {
	f.Helper()
	file, err := os.Open(path)
	f.ok(err)
	defer file.Close()
	r, err := carv2.NewBlockReader(file, carv2.MaxAllowedSectionSize(4<<20))
	f.ok(err)
	for i, p := range places {
		b, err := r.Next()
		if err != nil || b.Cid() != p.CID() || !bytes.Equal(b.RawData(), p.Data()) {
			f.Fatalf("go-car: block %d: got %v, %v, want %s", i, b, err, p.CID())
		}
	}
	if b, err := r.Next(); err != io.EOF {
		f.Fatalf("go-car: behind the last block: got %v, %v, want the end", b, err)
	}
	bs, err := blockstore.OpenReadOnly(path, blockstore.UseWholeCIDs(false), carv2.MaxAllowedSectionSize(4<<20))
	f.ok(err)
	defer bs.Close()
	for _, p := range places {
		b, err := bs.Get(f.Context(), p.CID())
		if err != nil || !bytes.Equal(b.RawData(), p.Data()) {
			f.Fatalf("go-car: get %s: got %v", p.CID(), err)
		}
	}
	if has, err := bs.Has(f.Context(), f.blocksOf(1, 2)[0].CID()); has || err != nil {
		f.Fatalf("go-car has a block that isn't there: %v, %v", has, err)
	}
}

// Our streaming reader reads them, too.
func TestStreamReadsPacks(t *testing.T) {
	f := newFixture(t, vfs.NewMem())
	blocks := f.blocksOf(sizes...)
	w, err := f.Create(1)
	f.ok(err)
	places := f.append(w, blocks...)
	for _, state := range []string{"open", "sealed"} {
		if state == "sealed" {
			_, err := w.Seal(w.End())
			f.ok(err)
		}
		size, err := f.Size(1)
		f.ok(err)
		p := make([]byte, size)
		f.ok(f.ReadAt(1, p, 0))
		r, err := car.NewReader(bytes.NewReader(p))
		f.ok(err)
		i := 0
		for b, err := range r.Blocks() {
			f.ok(err)
			if b.CID() != places[i].CID() {
				t.Fatalf("%s: block %d: got %s, want %s", state, i, b.CID(), places[i].CID())
			}
			i++
		}
		if i != len(places) {
			t.Errorf("%s: got %d blocks, want %d", state, i, len(places))
		}
	}
}
