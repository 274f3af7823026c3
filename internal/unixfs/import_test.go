package unixfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// tinyProfile returns a profile under which a few bytes make a deep file, and a
// few names a HAMT.
func tinyProfile() Profile {
	p := V1Profile()
	p.Name, p.ChunkSize, p.Width, p.ShardThreshold, p.ShardFanout = "", 3, 2, 300, 8
	return p
}

// tinyV0Profile is tinyProfile with wrapped leaves.
func tinyV0Profile() Profile {
	p := tinyProfile()
	p.CIDVersion, p.RawLeaves = 0, false
	return p
}

// TestBalancedShape: all leaves are at one depth, and each node is full before the
// next begins.
func TestBalancedShape(t *testing.T) {
	for width := 2; width <= 5; width++ {
		for leaves := 1; leaves <= 130; leaves++ {
			m := newMemoryStore()
			p := tinyProfile()
			p.ChunkSize, p.Width = 1, width
			r, err := Import(t.Context(), m, bytes.NewReader(make([]byte, leaves)), Options{Profile: p})
			if err != nil {
				t.Fatal(err)
			}
			depth, capacity := 0, 1
			for capacity < leaves {
				depth, capacity = depth+1, capacity*width
			}
			checkShape(t, m, r.CID, depth, leaves, width)
		}
	}
}

// checkShape checks that c is a balanced file of that many leaves of one byte.
func checkShape(t *testing.T, m *memoryStore, c cid.Cid, depth, leaves, width int) {
	t.Helper()
	n, err := load(t.Context(), m, c)
	if err != nil {
		t.Fatal(err)
	}
	if depth == 0 {
		if len(n.Links) != 0 || len(n.Data) != 1 {
			t.Fatalf("got %d links and %d bytes for a leaf", len(n.Links), len(n.Data))
		}
		return
	}
	below := 1
	for range depth - 1 {
		below *= width
	}
	if want := (leaves + below - 1) / below; len(n.Links) != want {
		t.Fatalf("%d leaves of width %d: got %d links at height %d, want %d", leaves, width, len(n.Links), depth, want)
	}
	for i, l := range n.Links {
		count := min(below, leaves-i*below)
		if n.BlockSizes[i] != uint64(count) {
			t.Fatalf("block size: got %d, want %d", n.BlockSizes[i], count)
		}
		checkShape(t, m, l.CID, depth-1, count, width)
	}
}

// TestImportOrder: blocks come children first, and in the same order every time.
func TestImportOrder(t *testing.T) {
	tree := fstest.MapFS{
		"a/b/c": {Data: []byte("content that takes several chunks")},
		"a/d":   {Data: []byte("x")},
		"e":     {Data: nil},
		"f":     {Data: []byte("g"), Mode: fs.ModeSymlink},
	}
	var first []cid.Cid
	for range 20 {
		m := newMemoryStore()
		r, err := ImportFS(t.Context(), m, tree, Options{Profile: tinyProfile()})
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		var size uint64
		for _, c := range m.order {
			b := m.blocks[string(c.Hash())]
			size += uint64(b.Size())
			seen[string(c.Hash())] = true
			n, err := decodeBlock(b)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range n.Links {
				if !seen[string(l.CID.Hash())] {
					t.Fatalf("%s came before its child %s", c, l.CID)
				}
			}
		}
		if last := m.order[len(m.order)-1]; last != r.CID {
			t.Errorf("the last block is %s, want the root %s", last, r.CID)
		}
		if r.Blocks != len(m.order) || r.Files != 3 || r.Dirs != 3 || r.Symlinks != 1 || r.Size != 34 || r.DAGSize != size {
			t.Errorf("got %+v, of %d blocks, %d bytes", r, len(m.order), size)
		}
		if first == nil {
			first = m.order
		} else if !reflect.DeepEqual(m.order, first) {
			t.Fatal("the order of blocks differs from the first time")
		}
	}
}

func TestImportOptions(t *testing.T) {
	dir := t.TempDir()
	writeTree(t, dir, fstest.MapFS{
		"t/a":        {Data: []byte("some bytes")},
		"t/.hidden":  {Data: []byte("h")},
		"t/.git/x":   {Data: []byte("g")},
		"t/link":     {Data: []byte("/etc/passwd"), Mode: fs.ModeSymlink},
		"t/loop":     {Data: []byte("../t"), Mode: fs.ModeSymlink},
		"bare\xff":   {Data: []byte("some bytes")},
		"t/sub/deep": {Data: []byte("d")},
	})
	m := newMemoryStore()
	paths := func(path string, o Options) []string {
		t.Helper()
		var got []string
		o.OnItem = func(a ImportItem) { got = append(got, a.Path+" "+a.Type.String()) }
		if _, err := ImportPath(t.Context(), m, path, o); err != nil {
			t.Fatal(err)
		}
		return got
	}
	tree := filepath.Join(dir, "t")
	tests := []struct {
		name, path string
		options    Options
		want       string
	}{
		{"whole", tree, Options{}, ".git/x File, .git Directory, .hidden File, a File, link Symlink, loop Symlink, sub/deep File, sub Directory, . Directory"},
		{"without hidden", tree, Options{SkipHidden: true}, "a File, link Symlink, loop Symlink, sub/deep File, sub Directory, . Directory"},
		{"wrapped", filepath.Join(tree, "sub"), Options{Wrap: "w"}, "w/deep File, w Directory, . Directory"},
		{"file", filepath.Join(tree, "a"), Options{Profile: tinyProfile()}, ". File"},
		{"file wrapped", filepath.Join(tree, "a"), Options{Wrap: "name"}, "name File, . Directory"},
		{"file of an odd name", filepath.Join(dir, "bare\xff"), Options{}, ". File"},
		{"symlink", filepath.Join(tree, "link"), Options{}, ". Symlink"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.Join(paths(tt.path, tt.options), ", "); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	var p Progress
	r, err := ImportPath(t.Context(), m, tree, Options{Progress: &p})
	if err != nil {
		t.Fatal(err)
	}
	if p.Bytes.Load() != 13 || p.Files.Load() != 4 || r.Size != 13 {
		t.Errorf("got %d bytes, %d files, size %d; want 13, 4, 13", p.Bytes.Load(), p.Files.Load(), r.Size)
	}
	target := lookupPath(t, m, r.CID, "link")
	if got, err := Stat(t.Context(), m, target.CID); err != nil || got.Target != "/etc/passwd" {
		t.Errorf("got %q, %v, want /etc/passwd", got.Target, err)
	}
}

// TestImportFromOffset: an io.ReaderAt is read from its offset, which is at the
// end afterwards.
func TestImportFromOffset(t *testing.T) {
	data := readVectorStream(t, "place", 100)
	want, err := Import(t.Context(), discardPutter{}, io.MultiReader(bytes.NewReader(data[7:])), Options{Profile: tinyProfile()})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for what, r := range map[string]io.ReadSeeker{"os.File": f, "bytes.Reader": bytes.NewReader(data)} {
		if _, err := r.Seek(7, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		got, err := Import(t.Context(), discardPutter{}, r, Options{Profile: tinyProfile()})
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", what, got, err, want)
		}
		if at, err := r.Seek(0, io.SeekCurrent); err != nil || at != 100 {
			t.Errorf("%s: the offset is %d, %v, want 100", what, at, err)
		}
	}
}

var errBroken = errors.New("broken")

// A failingSource is a Putter and a Reader that fail after a number of calls.
type failingSource struct{ left int }

func (f *failingSource) Put(context.Context, ...block.Block) error {
	if f.left--; f.left < 0 {
		return errBroken
	}
	return nil
}

func (f *failingSource) Read(p []byte) (int, error) {
	if f.left--; f.left < 0 {
		return 0, errBroken
	}
	return len(p), nil
}

// TestImportErrors: after an error all goroutines have ended (synctest fails
// otherwise), and the error is the first one.
func TestImportErrors(t *testing.T) {
	p := V1Profile()
	p.ChunkSize = 4096
	synctest.Test(t, func(t *testing.T) {
		for left := range 6 {
			_, err := Import(t.Context(), &failingSource{left}, &vectorStream{seed: "zeros", left: 10 << 20}, Options{Profile: p})
			if !errors.Is(err, errBroken) {
				t.Errorf("put fails after %d: got %v", left, err)
			}
			_, err = Import(t.Context(), discardPutter{}, &failingSource{left}, Options{Profile: p})
			if !errors.Is(err, errBroken) {
				t.Errorf("read fails after %d: got %v", left, err)
			}
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		put := putFunc(func() error { cancel(errBroken); return nil })
		_, err := Import(ctx, put, &vectorStream{seed: "zeros", left: 1 << 40}, Options{Profile: p})
		if !errors.Is(err, errBroken) {
			t.Errorf("cancelled: got %v", err)
		}
		_, err = Import(ctx, discardPutter{}, strings.NewReader(""), Options{})
		if !errors.Is(err, errBroken) {
			t.Errorf("cancelled before: got %v", err)
		}
	})
}

type putFunc func() error

func (f putFunc) Put(context.Context, ...block.Block) error { return f() }

// TestImportWindow: while the Putter blocks, reading stops at the window.
func TestImportWindow(t *testing.T) {
	p := V1Profile()
	p.ChunkSize = 64 << 10
	synctest.Test(t, func(t *testing.T) {
		const workers = 3
		source := &vectorStream{seed: "zeros", left: 64 << 20}
		total := source.left
		move := make(chan struct{})
		put := putFunc(func() error { <-move; return nil })
		done := make(chan error)
		go func() {
			_, err := Import(t.Context(), put, source, Options{Profile: p, Workers: workers})
			done <- err
		}()
		synctest.Wait()
		window := windowPerWorker*workers + windowExtra
		limit := int64(window*p.ChunkSize + batchBytes)
		if got := total - source.left; got > limit {
			t.Errorf("read %d bytes ahead of the Putter, want at most %d", got, limit)
		}
		close(move)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if source.left != 0 {
			t.Errorf("%d bytes are unread", source.left)
		}
	})
}

// A copyingPutter stores copies of blocks, slowly.
type copyingPutter struct{ *memoryStore }

func (copyingPutter) ReleasesBlocks() bool { return true }

func (c copyingPutter) Put(ctx context.Context, blocks ...block.Block) error {
	for _, b := range blocks {
		same, err := block.Verify(b.CID(), bytes.Clone(b.Data()))
		if err != nil {
			return err
		}
		if err := c.memoryStore.Put(ctx, same); err != nil {
			return err
		}
		runtime.Gosched()
	}
	return nil
}

// TestImportReleases: reused memory isn't overwritten while the Putter reads it.
func TestImportReleases(t *testing.T) {
	for _, p := range []Profile{V1Profile(), V0Profile()} {
		p.ChunkSize = 10_000
		data := readVectorStream(t, "release", 3_000_007)
		want, err := Import(t.Context(), discardPutter{}, bytes.NewReader(data), Options{Profile: p})
		if err != nil {
			t.Fatal(err)
		}
		for what, r := range map[string]io.Reader{"anywhere": bytes.NewReader(data), "serially": io.MultiReader(bytes.NewReader(data))} {
			m := copyingPutter{newMemoryStore()}
			got, err := Import(t.Context(), m, r, Options{Profile: p})
			if err != nil || got != want {
				t.Fatalf("read %s: got %+v, %v, want %+v", what, got, err, want)
			}
			f, err := Open(t.Context(), m, got.CID)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := io.ReadAll(f); err != nil || !bytes.Equal(back, data) {
				t.Errorf("read %s: got other bytes, %v", what, err)
			}
			f.Close()
		}
	}
}

func TestProfiles(t *testing.T) {
	if _, err := ProfileByName("unixfs-v9"); err == nil || !strings.Contains(err.Error(), "unixfs-v1-2025") {
		t.Errorf("got %v, want an error that names the profiles", err)
	}
	for what, change := range map[string]func(*Profile){
		"CID version 2":        func(p *Profile) { p.CIDVersion = 2 },
		"raw leaves in CIDv0":  func(p *Profile) { p.CIDVersion = 0 },
		"no chunk":             func(p *Profile) { p.ChunkSize = 0 },
		"a chunk over a block": func(p *Profile) { p.ChunkSize = MaxChunkSize + 1 },
		"one link":             func(p *Profile) { p.Width = 1 },
		"too many links":       func(p *Profile) { p.Width = MaxWidth + 1 },
		"a fanout of 100":      func(p *Profile) { p.ShardFanout = 100 },
		"a fanout of 2048":     func(p *Profile) { p.ShardFanout = 2048 },
		"an unknown rule":      func(p *Profile) { p.ShardRule = 7 },
		"a hash of no use":     func(p *Profile) { p.Hash = 0xd5 },
	} {
		p := V1Profile()
		change(&p)
		if _, err := Import(t.Context(), discardPutter{}, strings.NewReader("x"), Options{Profile: p}); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	// The largest values still fit into blocks.
	p := V0Profile()
	p.ChunkSize, p.Width = MaxChunkSize, MaxWidth
	if _, err := Import(t.Context(), discardPutter{}, &vectorStream{seed: "zeros", left: MaxChunkSize}, Options{Profile: p}); err != nil {
		t.Error(err)
	}
	p.ChunkSize = 1
	if _, err := Import(t.Context(), discardPutter{}, &vectorStream{seed: "zeros", left: MaxWidth + 1}, Options{Profile: p}); err != nil {
		t.Error(err)
	}
	// Without a threshold, a directory larger than a block fails.
	p = V1Profile()
	p.ShardThreshold = 0
	var names listFS
	for range 9000 {
		names = append(names, strings.Repeat("n", 240)+string(rune('a'+len(names)%26))+strings.Repeat("x", len(names)/26))
	}
	tree := fstest.MapFS{}
	for _, name := range names {
		tree[name] = &fstest.MapFile{}
	}
	if _, err := ImportFS(t.Context(), discardPutter{}, tree, Options{Profile: p}); !errors.Is(err, block.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
}
