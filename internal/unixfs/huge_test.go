package unixfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// A blockFile is a store on disk, so that its blocks don't count as memory.
type blockFile struct {
	f   *os.File
	end int64
	at  map[[32]byte]span
}

type span struct {
	offset int64
	size   int
}

func newBlockFile(t testing.TB) *blockFile {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "blocks"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &blockFile{f: f, at: map[[32]byte]span{}}
}

func (s *blockFile) Put(_ context.Context, blocks ...block.Block) error {
	for _, b := range blocks {
		if _, err := s.f.WriteAt(b.Data(), s.end); err != nil {
			return err
		}
		s.at[[32]byte(b.CID().Hash()[2:])] = span{s.end, b.Size()}
		s.end += int64(b.Size())
	}
	return nil
}

func (s *blockFile) Get(_ context.Context, c cid.Cid) (block.Block, error) {
	where, ok := s.at[[32]byte(c.Hash()[2:])]
	if !ok {
		return block.Block{}, block.ErrNotFound
	}
	data := make([]byte, where.size)
	if _, err := s.f.ReadAt(data, where.offset); err != nil {
		return block.Block{}, err
	}
	return block.Verify(c, data)
}

// makeHugeDir makes a directory of count entries in s.
func makeHugeDir(t testing.TB, s block.Putter, count int) cid.Cid {
	t.Helper()
	b, err := block.New(block.Raw, []byte("entry"))
	if err != nil {
		t.Fatal(err)
	}
	links := make([]Link, count)
	for i := range links {
		links[i] = Link{CID: b.CID(), Name: fmt.Sprintf("entry-%07d", i), Tsize: uint64(b.Size())}
	}
	root, err := buildHAMT(links, V1Profile().ShardFanout, attributes{}, func(n *Node) (part, error) {
		k, err := n.block(V1Profile())
		if err != nil {
			return part{}, err
		}
		return n.toPart(k), s.Put(t.Context(), k, b)
	})
	if err != nil {
		t.Fatal(err)
	}
	return root.cid
}

// TestHugeDirectory: the first entries of a large directory need only a few
// blocks, and a lookup only those on its path.
func TestHugeDirectory(t *testing.T) {
	const count = 100_000
	m := newMemoryStore()
	root := makeHugeDir(t, m, count)
	m.gets = 0
	for _, err := range ReadDir(t.Context(), m, root) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	// The root, and shardsAhead on each level.
	if most := 1 + 2*(shardsAhead+1); m.gets > most {
		t.Errorf("the first entry: got %d blocks, want at most %d", m.gets, most)
	}
	m.gets = 0
	if _, err := Lookup(t.Context(), m, root, "entry-0077777"); err != nil || m.gets > 4 {
		t.Errorf("a lookup: got %d blocks, %v, want at most 4", m.gets, err)
	}
	f, err := FS(t.Context(), m, root).Open(".")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m.gets = 0
	list, err := f.(interface {
		ReadDir(int) ([]os.DirEntry, error)
	}).ReadDir(10)
	if got := m.countGets(); err != nil || len(list) != 10 || got > 100 {
		t.Errorf("ten entries of an FS: got %d, %v, with %d blocks", len(list), err, got)
	}
	seen := 0
	for _, err := range ReadDir(t.Context(), m, root) {
		if err != nil {
			t.Fatal(err)
		}
		seen++
	}
	if seen != count {
		t.Errorf("listed %d entries, want %d", seen, count)
	}
}

// BenchmarkMillion lists, looks up in and edits a directory of a million entries
// on disk. The yardstick of listing is reading its blocks.
func BenchmarkMillion(b *testing.B) {
	s := newBlockFile(b)
	root := makeHugeDir(b, s, 1_000_000)
	live := func() int64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	b.Run("read all blocks", func(b *testing.B) {
		for b.Loop() {
			for h := range s.at {
				c := cid.NewCidV1(block.DagPB, append([]byte{0x12, 0x20}, h[:]...))
				if _, err := s.Get(b.Context(), c); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("list", func(b *testing.B) {
		var first time.Duration
		var peak int64
		for b.Loop() {
			runtime.GC()
			before := live()
			begin, seen := time.Now(), 0
			for _, err := range ReadDir(b.Context(), s, root) {
				if err != nil {
					b.Fatal(err)
				}
				if seen++; seen == 1 {
					first = max(first, time.Since(begin))
				}
				if seen%5000 == 0 {
					peak = max(peak, live()-before)
				}
			}
			if seen != 1_000_000 {
				b.Fatalf("listed %d entries", seen)
			}
		}
		b.ReportMetric(float64(first.Microseconds()), "µs-to-first")
		b.ReportMetric(float64(peak)/(1<<20), "MiB-peak")
	})
	b.Run("look up", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := Lookup(b.Context(), s, root, fmt.Sprintf("entry-%07d", i*7919%1_000_000)); err != nil {
				b.Fatal(err)
			}
		}
	})
	entry, err := Lookup(b.Context(), s, root, "entry-0000000")
	if err != nil {
		b.Fatal(err)
	}
	edit := func(name string, change func(*Tree, int) error) {
		b.Run(name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				tree, err := Edit(b.Context(), s, s, root, Options{})
				if err == nil {
					err = change(tree, i)
				}
				if err == nil {
					_, err = tree.Commit(b.Context())
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	edit("add an entry", func(t *Tree, i int) error { return t.Link(b.Context(), fmt.Sprint("new-", i), entry.CID) })
	edit("remove an entry", func(t *Tree, i int) error { return t.Remove(b.Context(), fmt.Sprintf("entry-%07d", i*7919%1_000_000)) })
}
