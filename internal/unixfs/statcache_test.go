package unixfs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"
)

// A memoryStatCache is a StatCache in memory.
type memoryStatCache struct {
	mu      sync.Mutex
	rows    map[string]cachedEntry
	lookups []string
	stored  []string
	fail    error
}

type cachedEntry struct {
	stat   FileStat
	result CachedResult
}

var _ StatCache = (*memoryStatCache)(nil)

func (r *memoryStatCache) Lookup(_ context.Context, path string, stat FileStat) (CachedResult, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lookups = append(r.lookups, path)
	row, ok := r.rows[path]
	if !ok || !row.stat.Equal(stat) {
		return CachedResult{}, false, nil
	}
	return row.result, true, nil
}

func (r *memoryStatCache) Store(_ context.Context, path string, stat FileStat, k CachedResult) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stored = append(r.stored, path)
	if r.rows == nil {
		r.rows = map[string]cachedEntry{}
	}
	r.rows[path] = cachedEntry{stat, k}
	return r.fail
}

// TestStatCache: unchanged files are not read again, and the tree is the same.
func TestStatCache(t *testing.T) {
	dir := t.TempDir()
	writeTree(t, dir, fstest.MapFS{
		"a":       {Data: []byte("a")},
		"a.b":     {Data: []byte("a.b")},
		"d/large": {Data: readVectorStream(t, "large", 1000)},
		"d/empty": {},
		"d/link":  {Mode: fs.ModeSymlink, Data: []byte("large")},
		"d.e/f":   {Data: []byte("f")},
	})
	old := time.Now().Add(-time.Hour)
	age := func(name string, by time.Duration) {
		t.Helper()
		if err := os.Chtimes(filepath.Join(dir, name), old, old.Add(-by)); err != nil {
			t.Fatal(err)
		}
	}
	names := []string{"a", "a.b", "d/empty", "d/large", "d.e/f"}
	for _, name := range names {
		age(name, 0)
	}
	// Setting a file's times changes its inode now, so the test uses an FS
	// without inodes.
	tree := func() fs.FS { return inodelessFS{os.DirFS(dir)} }
	for _, p := range []Profile{tinyProfile(), V1Profile(), V0Profile(), {CIDVersion: 1, Hash: 0x12, ChunkSize: 100, Width: 2, Layout: Trickle}} {
		r := &memoryStatCache{}
		o := Options{Profile: p, StatCache: r}
		m := newMemoryStore()
		first, err := ImportFS(t.Context(), m, tree(), o)
		if err != nil {
			t.Fatal(err)
		}
		sorted := []string{"/", "a", "a.b", "d/", "d/empty", "d/large", "d.e/", "d.e/f"}
		after := []string{"a", "a.b", "d/empty", "d/large", "d/", "d.e/f", "d.e/", "/"}
		if !slices.Equal(r.lookups, sorted) || !slices.Equal(r.stored, after) || first.Hashed != first.Size {
			t.Errorf("first: looked up %q, stored %q, hashed %d bytes of %d", r.lookups, r.stored, first.Hashed, first.Size)
		}
		r.lookups, r.stored, m.order = nil, nil, nil
		var progress Progress
		o.Progress = &progress
		again, err := ImportFS(t.Context(), m, tree(), o)
		if err != nil {
			t.Fatal(err)
		}
		if again.CID != first.CID || again.Hashed != 0 || again.Size != first.Size || again.DAGSize != first.DAGSize || again.Files != first.Files || len(r.stored) != 0 {
			t.Errorf("again: got %+v, want %+v, but nothing hashed; stored %q", again, first, r.stored)
		}
		if len(m.order) != again.Symlinks || again.Blocks != again.Symlinks {
			t.Errorf("again: %d blocks were put, want only the symlink", len(m.order))
		}
		if progress.Bytes.Load() != int64(first.Size) || progress.Files.Load() != int64(first.Files) {
			t.Errorf("again: progress: got %d bytes, %d files", progress.Bytes.Load(), progress.Files.Load())
		}
		// A file changed just now, or in the future: it is read, and not cached.
		if err := os.WriteFile(filepath.Join(dir, "d.e/f"), []byte("g"), 0o644); err != nil {
			t.Fatal(err)
		}
		age("d.e/f", -3*time.Hour)
		changed, err := ImportFS(t.Context(), m, tree(), o)
		if err != nil || changed.CID == first.CID || changed.Hashed != 1 || !slices.Equal(r.stored, []string{"d.e/", "/"}) {
			t.Errorf("changed: got %+v, %v, stored %q; want another root, one byte hashed, directories stored", changed, err, r.stored)
		}
		r.stored = nil
		age("d.e/f", time.Minute)
		settled, err := ImportFS(t.Context(), m, tree(), o)
		if err != nil || settled.CID != changed.CID || !slices.Equal(r.stored, []string{"d.e/f"}) {
			t.Errorf("settled: got %+v, %v, stored %q, want d.e/f", settled, err, r.stored)
		}
		if err := os.WriteFile(filepath.Join(dir, "d.e/f"), []byte("f"), 0o644); err != nil {
			t.Fatal(err)
		}
		age("d.e/f", 0)
	}
	broken := &memoryStatCache{fail: errBroken}
	if _, err := ImportFS(t.Context(), discardPutter{}, tree(), Options{StatCache: broken}); !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "a: ") {
		t.Errorf("got %v, want the cache's error, with the path a", err)
	}
}

// An inodelessFS hides the inodes of files.
type inodelessFS struct{ fs.FS }

func (w inodelessFS) ReadDir(name string) ([]fs.DirEntry, error) {
	list, err := fs.ReadDir(w.FS, name)
	for i := range list {
		list[i] = inodelessEntry{list[i]}
	}
	return list, err
}

func (w inodelessFS) ReadLink(name string) (string, error)   { return fs.ReadLink(w.FS, name) }
func (w inodelessFS) Lstat(name string) (fs.FileInfo, error) { return fs.Lstat(w.FS, name) }

type inodelessEntry struct{ fs.DirEntry }

func (e inodelessEntry) Info() (fs.FileInfo, error) {
	info, err := e.DirEntry.Info()
	return inodelessInfo{info}, err
}

type inodelessInfo struct{ fs.FileInfo }

func (inodelessInfo) Sys() any { return nil }

func TestFileStat(t *testing.T) {
	now := time.Now()
	at := func(ago time.Duration) time.Time { return now.Add(-ago) }
	for _, tt := range []struct {
		modified, changed time.Time
		want              bool
	}{
		{at(time.Hour), at(time.Hour), true},
		{at(time.Hour), time.Time{}, true},
		{at(racySlack + 1), at(racySlack + 1), true},
		{at(racySlack), at(time.Hour), false},
		{at(time.Hour), at(racySlack), false},
		{at(0), at(0), false},
		{at(-time.Hour), at(time.Hour), false},
	} {
		if got := (FileStat{Modified: tt.modified, Changed: tt.changed}).settled(now); got != tt.want {
			t.Errorf("modified %v, changed %v ago: got %t", now.Sub(tt.modified), now.Sub(tt.changed), got)
		}
	}
	was := FileStat{Size: 1, Mode: 0o644, Modified: at(5), Changed: at(6), Inode: 7}
	if !was.Equal(FileStat{Size: 1, Mode: 0o644, Modified: was.Modified.UTC(), Changed: was.Changed.UTC(), Inode: 7}) {
		t.Error("equal times in another time zone: got a change")
	}
	for what, change := range map[string]func(*FileStat){
		"size":     func(s *FileStat) { s.Size++ },
		"mode":     func(s *FileStat) { s.Mode = 0o600 },
		"modified": func(s *FileStat) { s.Modified = at(4) },
		"changed":  func(s *FileStat) { s.Changed = at(4) },
		"inode":    func(s *FileStat) { s.Inode++ },
	} {
		now := was
		change(&now)
		if now.Equal(was) {
			t.Errorf("another %s: got no change", what)
		}
	}
}

// TestCacheKey: options that affect CIDs of files change the key, others don't.
func TestCacheKey(t *testing.T) {
	base := Options{}.CacheKey()
	if got := (Options{Profile: V1Profile(), Workers: 3, SkipHidden: true}).CacheKey(); got != base {
		t.Errorf("got %q, want %q", got, base)
	}
	seen := map[string]string{base: "the default"}
	for what, change := range map[string]func(*Options){
		"v0":        func(o *Options) { o.Profile = V0Profile() },
		"hash":      func(o *Options) { o.Profile.Hash = 0x13 },
		"leaves":    func(o *Options) { o.Profile.RawLeaves = false },
		"chunk":     func(o *Options) { o.Profile.ChunkSize++ },
		"rabin":     func(o *Options) { _ = o.Profile.SetChunker("rabin-1000-2000-3000") },
		"rabin min": func(o *Options) { _ = o.Profile.SetChunker("rabin-1001-2000-3000") },
		"rabin avg": func(o *Options) { _ = o.Profile.SetChunker("rabin-1000-2001-3000") },
		"buzhash":   func(o *Options) { _ = o.Profile.SetChunker("buzhash") },
		"layout":    func(o *Options) { o.Profile.Layout = Trickle },
		"width":     func(o *Options) { o.Profile.Width = 5 },
		"inline":    func(o *Options) { o.Profile.Inline = 5 },
		"mode":      func(o *Options) { o.KeepMode = true },
		"times":     func(o *Options) { o.KeepTimes = true },
	} {
		o := Options{Profile: V1Profile()}
		change(&o)
		if other, there := seen[o.CacheKey()]; there {
			t.Errorf("%s has the key of %s", what, other)
		}
		seen[o.CacheKey()] = what
	}
}
