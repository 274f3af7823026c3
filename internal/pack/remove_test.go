package pack

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// make makes a pack with one block.
func (f fixture) make(id ID, b block.Block) place {
	f.Helper()
	w, err := f.Create(id)
	f.ok(err)
	p := f.append(w, b)[0]
	_, err = w.Seal(w.End())
	f.ok(err)
	return p
}

// there reports whether a pack's file exists.
func (f fixture) there(id ID) bool {
	f.Helper()
	_, err := f.fs.Stat(f.Path(id))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		f.Fatal(err)
	}
	return err == nil
}

func TestRemove(t *testing.T) {
	f := newFixture(t, vfs.NewMem())
	b := f.blocksOf(100)[0]
	p := f.make(1, b)
	buf := make([]byte, 100)
	f.ok(f.ReadAt(1, buf, p.offset+int64(p.head)))
	f.Remove(1)
	if f.there(1) {
		t.Error("the file is there, though nobody reads it")
	}
	f.fails("read", f.ReadAt(1, buf, 0), ErrGone)
	_, _, _, err := f.Sealed(1)
	f.fails("sealed", err, ErrGone)
	_, err = f.Entries(1)
	f.fails("entries", err, ErrGone)
	for _, err := range f.Sections(1, Start, p.end()) {
		f.fails("sections", err, ErrGone)
	}
	f.Remove(1) // already removed
	f.Remove(9) // never existed
}

// Reads of a removed pack may finish, and new ones fail. The file is unlinked after its
// last reader.
func TestRemoveUnderReaders(t *testing.T) {
	f := newFixture(t, vfs.NewMem())
	w, err := f.Create(1)
	f.ok(err)
	places := f.append(w, f.blocksOf(100, 300_000, 5, 300_000)...)
	end := w.End()
	f.ok(w.Close())
	read := 0
	for sec, err := range f.Sections(1, Start, end) {
		f.ok(err)
		if read == 0 {
			inner := 0
			for _, err := range f.Sections(1, Start, end) {
				f.ok(err)
				if inner++; inner == 1 {
					f.Remove(1)
				}
				f.fails("read by another", f.ReadAt(1, make([]byte, 1), 0), ErrGone)
			}
			if inner != len(places) {
				t.Errorf("the inner reader got %d sections, want %d", inner, len(places))
			}
		}
		if !f.there(1) {
			t.Fatal("the file is gone under its reader")
		}
		if sec.CID != places[read].CID() {
			t.Fatalf("section %d: got %s, want %s", read, sec.CID, places[read].CID())
		}
		read++
	}
	if read != len(places) {
		t.Errorf("got %d sections, want %d", read, len(places))
	}
	if f.there(1) {
		t.Error("the file is there, when its last reader is done")
	}
}

// Reads may finish after the folder is closed, and new ones fail.
func TestCloseUnderReaders(t *testing.T) {
	f := newFixture(t, vfs.NewMem())
	p := f.make(1, f.blocksOf(100)[0])
	buf := make([]byte, 100)
	for sec, err := range f.Sections(1, Start, p.end()) {
		f.ok(err)
		f.ok(f.Dir.Close())
		f.fails("read by another", f.ReadAt(1, buf, sec.Offset+int64(sec.Head)), os.ErrClosed)
	}
	if _, err := f.Entries(1); !errors.Is(err, os.ErrClosed) {
		t.Errorf("entries of a closed folder: got %v, want %v", err, os.ErrClosed)
	}
}

// While removals are held, as by a backup, removed packs can't be read any more, but
// their files stay.
func TestHold(t *testing.T) {
	f := newFixture(t, vfs.NewMem())
	blocks := f.blocksOf(10, 20, 30, 40)
	for i, b := range blocks {
		f.make(ID(i+1), b)
	}
	f.ok(f.ReadAt(2, make([]byte, 1), 0)) // open, and idle
	one, two := f.Hold(), f.Hold()
	f.Remove(1)
	f.Remove(2)
	f.fails("read a removed pack", f.ReadAt(1, make([]byte, 1), 0), ErrGone)
	f.fails("read a removed pack", f.ReadAt(2, make([]byte, 1), 0), ErrGone)
	for _, err := range f.Sections(3, Start, Start+1000) {
		if err != nil {
			break
		}
		f.Remove(3) // under a reader
	}
	one()
	one() // twice counts once
	for id := ID(1); id <= 3; id++ {
		if !f.there(id) {
			t.Errorf("pack %d is gone, though somebody holds it", id)
		}
	}
	two()
	for id := ID(1); id <= 3; id++ {
		if f.there(id) {
			t.Errorf("pack %d is there, though nobody holds it", id)
		}
	}
	if !f.there(4) {
		t.Error("pack 4 is gone, which nobody removed")
	}
	f.ok(f.ReadAt(4, make([]byte, 1), 0))

	// A pack is removed during a hold, and still read when the hold ends.
	release := f.Hold()
	for _, err := range f.Sections(4, Start, Start+1) {
		if err == nil {
			t.Fatal("got a section of one byte")
		}
		f.Remove(4)
		release()
		if !f.there(4) {
			t.Error("pack 4 is gone under its reader")
		}
	}
	if f.there(4) {
		t.Error("pack 4 is there, when its reader is done")
	}
}

// The number of packs that stay open is bounded.
func TestIdlePacksAreClosed(t *testing.T) {
	const n = 2*maxIdle + 10
	fs := &countingFS{FS: vfs.NewMem()}
	f := newFixture(t, fs)
	b := f.blocksOf(10)[0]
	for id := ID(1); id <= n; id++ {
		f.make(id, b)
	}
	for range 3 {
		for id := ID(1); id <= n; id++ {
			f.ok(f.ReadAt(id, make([]byte, 1), 0))
			if open := fs.now(); open > maxIdle {
				t.Fatalf("%d packs are open, want at most %d", open, maxIdle)
			}
		}
	}
	// The packs that were read last are still open.
	before := fs.opens()
	for id := ID(n); id > n-maxIdle; id-- {
		f.ok(f.ReadAt(id, make([]byte, 1), 0))
	}
	if got := fs.opens() - before; got > 0 {
		t.Errorf("%d packs were opened again that had just been read", got)
	}
	f.ok(f.Close())
	if open := fs.now(); open != 0 {
		t.Errorf("%d packs are open after Close", open)
	}
}

// countingFS counts the files that are open for reading.
type countingFS struct {
	vfs.FS
	mu           sync.Mutex // guards the following fields
	open, opened int
}

func (c *countingFS) now() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

func (c *countingFS) opens() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.opened
}

func (c *countingFS) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	file, err := c.FS.Open(name, o...)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open++
	c.opened++
	return &countedFile{file, c}, nil
}

type countedFile struct {
	vfs.File
	c *countingFS
}

func (f *countedFile) Close() error {
	f.c.mu.Lock()
	f.c.open--
	f.c.mu.Unlock()
	return f.File.Close()
}

// Readers, removals and holds at the same time.
func TestRemoveWhileReading(t *testing.T) {
	const packs = 200
	fs := &countingFS{FS: vfs.NewMem()}
	f := newFixture(t, fs)
	b := f.blocksOf(1000)[0]
	var places [packs + 1]place
	for id := ID(1); id <= packs; id++ {
		places[id] = f.make(id, b)
	}
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			buf := make([]byte, b.Size())
			for i := range 10 * packs {
				id := ID((i*7+worker)%packs + 1)
				err := f.ReadAt(id, buf, places[id].offset+int64(places[id].head))
				if err != nil && !errors.Is(err, ErrGone) || err == nil && !bytes.Equal(buf, b.Data()) {
					t.Errorf("read pack %d: got other bytes, or %v", id, err)
					return
				}
			}
		})
	}
	wg.Go(func() {
		for id := ID(1); id <= packs; id += 2 {
			if id%3 == 0 {
				release := f.Hold()
				f.Remove(id)
				release()
				continue
			}
			f.Remove(id)
		}
	})
	wg.Wait()
	for id := ID(1); id <= packs; id++ {
		if got, want := f.there(id), id%2 == 0; got != want {
			t.Errorf("pack %d is there: %v, want %v", id, got, want)
		}
	}
	f.ok(f.Close())
	if open := fs.now(); open != 0 {
		t.Errorf("%d files are left open", open)
	}
}
