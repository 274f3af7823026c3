package statcache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/ipld"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
	"pgregory.net/rapid"
)

func newCaches(t testing.TB) *Caches {
	t.Helper()
	s, err := store.Open(t.Context(), "", store.Options{}) // the same code as on disk, with nothing to sync
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return New(s)
}

// A failer is a testing.T or a rapid.T.
type failer interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

var errFail = errors.New("failed")

// addTree adds a tree with its stat cache, under an alias of the same name. With
// fail, it fails before the commit.
func addTree(t failer, ctx context.Context, s *Caches, name string, tree fs.FS, o unixfs.Options, fail error) unixfs.Result {
	t.Helper()
	batch := s.store.Batch()
	defer batch.Discard()
	cache, err := s.Open(ctx, batch, name, o.CacheKey())
	if err != nil || cache == nil {
		t.Fatalf("open the cache of %s: got %v, %v", name, cache, err)
	}
	o.StatCache = cache
	r, err := unixfs.ImportFS(ctx, batch, tree, o)
	if err == nil {
		err = fail
	}
	if err == nil {
		err = cache.Finish(ctx, r.CID)
	}
	if err == nil {
		batch.Alias(name, r.CID, store.AliasOptions{})
		err = batch.Commit(ctx)
	}
	if closed := cache.Close(ctx); closed != nil {
		t.Fatal(closed)
	}
	if !errors.Is(err, fail) || fail == nil && err != nil {
		t.Fatalf("add %s: got %v, want %v", name, err, fail)
	}
	return r
}

// plainRoot returns the root that an import without a cache makes.
func plainRoot(t failer, tree fs.FS, o unixfs.Options) cid.Cid {
	t.Helper()
	r, err := unixfs.ImportFS(context.Background(), discard{}, tree, o)
	if err != nil {
		t.Fatal(err)
	}
	return r.CID
}

// checkWhole fails unless all blocks below root are in the store.
func checkWhole(t failer, ctx context.Context, s *store.Store, root cid.Cid) {
	t.Helper()
	for c, err := range s.Missing(ctx, root, store.Selection{}) {
		t.Fatalf("%s is missing below %s, %v", c, root, err)
	}
}

// statRows are how many rows there are of files, those of directories left
// out.
func countRows(t failer, ctx context.Context, s *Caches) int {
	t.Helper()
	rows := 0
	for item, err := range s.store.Space(space).All(ctx, []byte("f")) {
		if err != nil {
			t.Fatal(err)
		}
		if item.Key[len(item.Key)-1] != 0 {
			rows++
		}
	}
	return rows
}

// file returns a file last modified so long before a fixed date.
func file(data string, ago time.Duration) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(data), ModTime: time.Unix(1_700_000_000, 0).Add(-ago)}
}

// discard is a Putter that keeps nothing.
type discard struct{}

func (discard) Put(context.Context, ...block.Block) error { return nil }

// small returns options with chunks of ten bytes.
func small() unixfs.Options {
	p := unixfs.V1Profile()
	p.ChunkSize = 10
	return unixfs.Options{Profile: p}
}

func TestCache(t *testing.T) {
	ctx, s := t.Context(), newCaches(t)
	tree := fstest.MapFS{
		"a": file("a", 0), "a.b": file("a.b", 0), "d/x": file("file of several blocks", 0), "d/y": file("", 0),
		"d.e/f": file("f", 0), "fresh": {Data: []byte("fresh"), ModTime: time.Now().Add(time.Hour)},
	}
	add := func(o unixfs.Options, hashed uint64, rows int) {
		t.Helper()
		r := addTree(t, ctx, s, "tree", tree, o, nil)
		if want := plainRoot(t, tree, o); r.CID != want {
			t.Errorf("got %s, want %s", r.CID, want)
		}
		if r.Hashed != hashed {
			t.Errorf("%d bytes hashed, want %d", r.Hashed, hashed)
		}
		checkWhole(t, ctx, s.store, r.CID)
		if got := countRows(t, ctx, s); got != rows {
			t.Errorf("%d rows, want %d", got, rows)
		}
	}
	add(small(), 32, 5)
	add(small(), 5, 5) // the fresh file is never trusted
	tree["d/x"] = file("file of severed blocks", time.Hour)
	add(small(), 22+5, 5)
	add(small(), 5, 5)
	// One file is removed, another is new.
	delete(tree, "a.b")
	tree["z"] = file("z", 0)
	add(small(), 1+5, 5)
	add(small(), 5, 5)
	tree["fresh"] = file("fresh", 0)
	add(small(), 5, 6)
	add(small(), 0, 6)
	// Another manner has a cache of its own, and leaves the first as it was.
	other := small()
	other.KeepTimes = true
	add(other, 30, 12)
	add(other, 0, 12)
	add(small(), 0, 12)
}

// TestLoss: files whose blocks were lost are read again.
func TestLoss(t *testing.T) {
	ctx, s := t.Context(), newCaches(t)
	tree := fstest.MapFS{"a": file("a", 0), "d/x": file("file of several blocks", 0), "e": file("another of several", 0)}
	root := addTree(t, ctx, s, "tree", tree, small(), nil).CID
	x, err := ipld.Resolve(ctx, s.store, root, "d/x")
	if err != nil {
		t.Fatal(err)
	}
	var leaf cid.Cid
	for c, err := range s.store.Blocks(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if b, err := s.store.Get(ctx, c); err == nil && string(b.Data()) == "file of se" {
			leaf = c
		}
	}
	for what, lost := range map[string][]cid.Cid{"a leaf": {leaf}, "a file's root": {x}, "the root": {root}, "all": nil} {
		if err := s.store.RemoveAlias(ctx, "tree"); err != nil {
			t.Fatal(err)
		}
		if lost == nil {
			for c, err := range s.store.Blocks(ctx) {
				if err != nil {
					t.Fatal(err)
				}
				lost = append(lost, c)
			}
		}
		if err := s.store.Delete(ctx, lost...); err != nil {
			t.Fatal(err)
		}
		r := addTree(t, ctx, s, "tree", tree, small(), nil)
		if r.CID != root || r.Hashed == 0 {
			t.Errorf("%s lost: got %s, %d bytes hashed, want %s and some", what, r.CID, r.Hashed, root)
		}
		checkWhole(t, ctx, s.store, root)
		if r := addTree(t, ctx, s, "tree", tree, small(), nil); r.Hashed != 0 {
			t.Errorf("after %s was lost: %d bytes hashed again", what, r.Hashed)
		}
	}
}

// TestFailed: an import that fails keeps the rows it has written, and the next
// one uses them.
func TestFailed(t *testing.T) {
	ctx, s := t.Context(), newCaches(t)
	tree := fstest.MapFS{}
	const files = maxChanges + 500
	for i := range files {
		tree[fmt.Sprintf("%d/%d", i%7, i)] = file(fmt.Sprintf("%08d", i), 0)
	}
	addTree(t, ctx, s, "tree", tree, small(), errFail)
	// Rows of directories count towards maxChanges.
	known := countRows(t, ctx, s)
	if known < maxChanges-7 || known > maxChanges {
		t.Errorf("%d rows, want %d", known, maxChanges)
	}
	r := addTree(t, ctx, s, "tree", tree, small(), nil)
	if want := uint64(8 * (files - known)); r.Hashed != want {
		t.Errorf("%d bytes hashed, want %d", r.Hashed, want)
	}
	checkWhole(t, ctx, s.store, r.CID)
	if got := countRows(t, ctx, s); got != files {
		t.Errorf("%d rows, want %d", got, files)
	}
}

// TestBound: the trees unused for longest are removed, and of a tree that is too
// large only a part is kept.
func TestBound(t *testing.T) {
	ctx, s := t.Context(), newCaches(t)
	s.rows = 10
	tree := fstest.MapFS{}
	for i := range 4 {
		tree[fmt.Sprint(i)] = file(fmt.Sprint(i), 0)
	}
	for i := range 5 {
		addTree(t, ctx, s, fmt.Sprint("tree", i), tree, small(), nil)
		if got, want := countRows(t, ctx, s), min(4*(i+1), 8); got != want {
			t.Errorf("after %d trees: %d rows, want %d", i+1, got, want)
		}
	}
	for i := range 30 {
		tree[fmt.Sprint(i)] = file(fmt.Sprint(i), 0)
	}
	for range 2 {
		r := addTree(t, ctx, s, "large", tree, small(), nil)
		checkWhole(t, ctx, s.store, r.CID)
		if got := countRows(t, ctx, s); got != 10 {
			t.Errorf("a large tree: %d rows, want 10", got)
		}
	}
	// Files whose paths are too long for a key are read each time.
	deep := fstest.MapFS{}
	name := "x"
	for range 20 {
		name += "/" + fmt.Sprintf("%0250d", 1)
	}
	deep[name] = file("deep", 0)
	for range 2 {
		if r := addTree(t, ctx, s, "deep", deep, small(), nil); r.Hashed != 4 {
			t.Errorf("a deep file: %d bytes hashed, want 4", r.Hashed)
		}
	}
}

// TestBusy: one import at a time has a tree's cache.
func TestBusy(t *testing.T) {
	ctx, s := t.Context(), newCaches(t)
	batch := s.store.Batch()
	defer batch.Discard()
	first, err := s.Open(ctx, batch, "tree", "manner")
	if err != nil || first == nil {
		t.Fatalf("got %v, %v", first, err)
	}
	for _, tt := range []struct {
		path, manner string
		busy         bool
	}{{"tree", "manner", true}, {"tree", "other", false}, {"other", "manner", false}} {
		c, err := s.Open(ctx, batch, tt.path, tt.manner)
		if err != nil || (c == nil) != tt.busy {
			t.Errorf("%s, %s: got %v, %v, want busy: %t", tt.path, tt.manner, c, err, tt.busy)
		}
		if c != nil {
			if err := c.Close(ctx); err != nil {
				t.Error(err)
			}
		}
	}
	if err := first.Close(ctx); err != nil {
		t.Fatal(err)
	}
	again, err := s.Open(ctx, batch, "tree", "manner")
	if err != nil || again == nil {
		t.Fatalf("after Close: got %v, %v", again, err)
	}
	if err := again.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestModel changes a tree and loses blocks at random: an add gives the root that
// one without a cache gives, whole.
func TestModel(t *testing.T) {
	ctx, s := t.Context(), newCaches(t)
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		name := fmt.Sprint("tree", round)
		tree := fstest.MapFS{}
		age := time.Duration(0) // each change has a time of its own
		names := rapid.SampledFrom([]string{"a", "b", "d/a", "d/b", "d.c", "d/e/a", "e/a"})
		o := small()
		rt.Repeat(map[string]func(*rapid.T){
			"write": func(rt *rapid.T) {
				age += time.Second
				tree[names.Draw(rt, "name")] = file(rapid.StringN(0, 40, -1).Draw(rt, "data"), age)
			},
			"remove": func(rt *rapid.T) { delete(tree, names.Draw(rt, "name")) },
			"lose": func(rt *rapid.T) {
				if err := s.store.RemoveAlias(ctx, name); err != nil && !errors.Is(err, store.ErrNoAlias) {
					rt.Fatal(err)
				}
				var all []cid.Cid
				for c, err := range s.store.Blocks(ctx) {
					if err != nil {
						rt.Fatal(err)
					}
					all = append(all, c)
				}
				if len(all) > 0 {
					if err := s.store.Delete(ctx, rapid.SampledFrom(all).Draw(rt, "lost")); err != nil {
						rt.Fatal(err)
					}
				}
			},
			"fail": func(rt *rapid.T) { addTree(rt, ctx, s, name, tree, o, errFail) },
			"add": func(rt *rapid.T) {
				r := addTree(rt, ctx, s, name, tree, o, nil)
				if want := plainRoot(rt, tree, o); r.CID != want {
					rt.Fatalf("got %s, want %s", r.CID, want)
				}
				checkWhole(rt, ctx, s.store, r.CID)
				if again := addTree(rt, ctx, s, name, tree, o, nil); again.CID != r.CID || again.Hashed != 0 {
					rt.Fatalf("again: got %s, %d bytes hashed", again.CID, again.Hashed)
				}
			},
		})
		if err := s.store.RemoveAlias(ctx, name); err != nil && !errors.Is(err, store.ErrNoAlias) {
			rt.Fatal(err)
		}
	})
}

// FuzzRow parses any bytes as rows: what parses is written and read back alike.
func FuzzRow(f *testing.F) {
	now := time.Unix(1_700_000_000, 5)
	root := plainRoot(f, fstest.MapFS{}, unixfs.Options{})
	r := row{3, unixfs.FileStat{Size: 1 << 40, Mode: fs.ModeSetuid | 0o755, Modified: now, Inode: 1 << 63}, unixfs.CachedResult{CID: root, Size: 1 << 40, DAGSize: 5}}
	if got, ok := parseRow(r.append(nil)); !ok || !got.stat.Equal(r.stat) || got.known != r.known || got.generation != 3 {
		f.Errorf("got %+v, %t, want %+v", got, ok, r)
	}
	h := head{generation: 7, used: now.Truncate(time.Second), rows: 9, root: root}
	if got := parseHead(h.append(nil)); !got.used.Equal(h.used) || got.root != root || got.rows != 9 || got.generation != 7 {
		f.Errorf("got %+v, want %+v", got, h)
	}
	if _, ok := parseRow(nil); ok {
		f.Error("an empty value: got a row, want none")
	}
	f.Add(r.append(nil))
	f.Add(h.append(nil))
	f.Fuzz(func(t *testing.T, p []byte) {
		if r, ok := parseRow(p); ok {
			if again, ok := parseRow(r.append(nil)); !ok || !again.stat.Equal(r.stat) || again.known != r.known {
				t.Fatalf("got %+v, %t, want %+v", again, ok, r)
			}
		}
		parseHead(p)
	})
}
