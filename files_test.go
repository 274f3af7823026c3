package cairn

import (
	"bytes"
	"errors"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/block/blocktest"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

func testTree() fstest.MapFS {
	return fstest.MapFS{
		"a":         {Data: []byte("one")},
		"b/c/d":     {Data: bytes.Repeat([]byte("two"), 400_000)},
		"b/e":       {},
		"t/x.html":  {Data: []byte("Hello, {{.}}!")},
		"t/y.plain": {Data: []byte("plain")},
	}
}

// evict removes all garbage.
func evict(t *testing.T, n *Node) {
	t.Helper()
	_, err := n.Store().Evict(t.Context(), store.EvictOptions{})
	ok(t, err)
}

func TestFS(t *testing.T) {
	ctx := t.Context()
	n := open(t, Config{})
	added, err := n.AddFS(ctx, testTree(), AddOptions{})
	ok(t, err)
	evict(t, n)
	dir := n.FS(ctx, added.CID)
	ok(t, fstest.TestFS(dir, "a", "b/c/d", "b/e", "t/x.html"))

	tmpl, err := template.ParseFS(dir, "t/*.html")
	ok(t, err)
	var out strings.Builder
	ok(t, tmpl.ExecuteTemplate(&out, "x.html", "<you>"))
	if out.String() != "Hello, &lt;you&gt;!" {
		t.Errorf("template: got %q", out.String())
	}
	info, err := fs.Stat(dir, "a")
	ok(t, err)
	c, isCID := info.Sys().(cid.Cid)
	if !isCID {
		t.Fatalf("Sys is %T", info.Sys())
	}
	f, err := n.OpenFile(ctx, c)
	ok(t, err)
	defer f.Close()
	if data, err := io.ReadAll(f); err != nil || string(data) != "one" || f.Size() != 3 || f.CID() != c {
		t.Errorf("got %q of %d bytes, %v", data, f.Size(), err)
	}
}

// http.FileServerFS serves ranges of a file.
func TestFSServes(t *testing.T) {
	ctx := t.Context()
	n := open(t, Config{})
	added, err := n.AddFS(ctx, testTree(), AddOptions{})
	ok(t, err)
	server := httptest.NewServer(http.FileServerFS(n.FS(ctx, added.CID)))
	defer server.Close()
	for _, c := range []struct {
		path, span string
		status     int
		want       string
	}{
		{"/a", "", http.StatusOK, "one"},
		{"/b/c/d", "bytes=1048575-1048580", http.StatusPartialContent, strings.Repeat("two", 10)[1048575%3 : 1048575%3+6]},
		{"/b/c/d", "bytes=-3", http.StatusPartialContent, "two"},
		{"/b/e", "", http.StatusOK, ""},
		{"/none", "", http.StatusNotFound, "404 page not found\n"},
		{"/b/", "", http.StatusOK, "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n<a href=\"c/\">c/</a>\n<a href=\"e\">e</a>\n</pre>\n"},
	} {
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+c.path, nil)
		ok(t, err)
		if c.span != "" {
			q.Header.Set("Range", c.span)
		}
		answer, err := http.DefaultClient.Do(q)
		ok(t, err)
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != c.status || string(body) != c.want {
			t.Errorf("%s %s: got %d, %q, %v; want %d, %q", c.path, c.span, answer.StatusCode, body, err, c.status, c.want)
		}
	}
}

func writeTree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, data := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		ok(t, os.MkdirAll(filepath.Dir(path), 0o755))
		ok(t, os.WriteFile(path, []byte(data), 0o644))
		// Old enough for the stat cache to trust it.
		old := time.Now().Add(-time.Hour)
		ok(t, os.Chtimes(path, old, old))
	}
}

// Adding a folder again reads only changed files, also with another node on the same
// repository, and afterwards the folder is whole.
func TestAddPathAgain(t *testing.T) {
	ctx := t.Context()
	repo, dir := t.TempDir(), t.TempDir()
	big := strings.Repeat("x", 3<<20)
	writeTree(t, dir, map[string]string{"a": "one", "sub/b": "two", "sub/c": big})
	add := func(n *Node, o AddOptions) AddResult {
		t.Helper()
		o.Alias = "dir"
		got, err := n.AddPath(ctx, dir, o)
		ok(t, err)
		evict(t, n)
		hasher, err := NewHasher(o)
		ok(t, err)
		want, err := hasher.AddPath(ctx, dir)
		ok(t, err)
		if got.CID != want.CID {
			t.Errorf("got %s, want %s", got.CID, want.CID)
		}
		for c, err := range n.Store().Missing(ctx, got.CID, store.Selection{}) {
			t.Errorf("%s is missing, %v", c, err)
		}
		return got
	}
	n := open(t, Config{Dir: repo})
	first := add(n, AddOptions{})
	if first.HashedBytes != first.Size {
		t.Errorf("the first time: %d bytes hashed, want %d", first.HashedBytes, first.Size)
	}
	// The change times are too recent to be trusted until the file system's clock
	// has advanced.
	for again := first; again.HashedBytes > 0; {
		again = add(n, AddOptions{})
	}
	ok(t, n.Close())
	n = open(t, Config{Dir: repo})
	if again := add(n, AddOptions{}); again.HashedBytes != 0 || again.CID != first.CID {
		t.Errorf("unchanged: %d bytes hashed, want none; %s", again.HashedBytes, again.CID)
	}
	if again := add(n, AddOptions{Rehash: true}); again.HashedBytes != first.Size {
		t.Errorf("with Rehash: %d bytes hashed, want %d", again.HashedBytes, first.Size)
	}
	if other := add(n, AddOptions{Profile: "unixfs-v0-2015"}); other.HashedBytes != first.Size {
		t.Errorf("by another profile: %d bytes hashed, want %d", other.HashedBytes, first.Size)
	}
	writeTree(t, dir, map[string]string{"sub/d": "four"})
	if changed := add(n, AddOptions{}); changed.CID == first.CID {
		t.Error("a new file was passed over")
	}
}

// An Adder is all or nothing.
func TestAdder(t *testing.T) {
	ctx := t.Context()
	n := open(t, Config{})
	dir := t.TempDir()
	writeTree(t, dir, map[string]string{"a": "one"})
	a, err := n.Adder(AddOptions{})
	ok(t, err)
	x, err := a.Add(ctx, strings.NewReader("x"))
	ok(t, err)
	y, err := a.AddPath(ctx, dir)
	ok(t, err)
	if _, err := a.AddPath(ctx, filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
	for _, c := range []cid.Cid{x.CID, y.CID} {
		if _, err := n.Resolve(ctx, PinName(c)); !errors.Is(err, store.ErrNoAlias) {
			t.Errorf("%s before Commit: got %v, want ErrNoAlias", c, err)
		}
	}
	ok(t, a.Commit(ctx))
	a.Discard()
	evict(t, n)
	for _, c := range []cid.Cid{x.CID, y.CID} {
		if _, err := n.Resolve(ctx, PinName(c)); err != nil {
			t.Errorf("%s isn't pinned: %v", c, err)
		}
		_, err := n.Get(ctx, c)
		ok(t, err)
	}

	a, err = n.Adder(AddOptions{})
	ok(t, err)
	z, err := a.Add(ctx, strings.NewReader("z"))
	ok(t, err)
	a.Discard()
	evict(t, n)
	if _, err := n.Get(ctx, z.CID); !errors.Is(err, block.ErrNotFound) {
		t.Errorf("discarded: got %v, want ErrNotFound", err)
	}
	if err := a.Commit(ctx); err == nil {
		t.Error("commit after discard: got no error")
	}

	// An alias has one root.
	a, err = n.Adder(AddOptions{Alias: "x"})
	ok(t, err)
	defer a.Discard()
	_, err = a.Add(ctx, strings.NewReader("1"))
	ok(t, err)
	if _, err = a.Add(ctx, strings.NewReader("2")); err == nil {
		t.Error("a second root under one alias: got no error")
	}
}

// TestNewAdder adds to a Putter. If the Putter has a Commit, the Adder commits it.
func TestNewAdder(t *testing.T) {
	ctx := t.Context()
	hasher, err := NewHasher(AddOptions{})
	ok(t, err)
	want, err := hasher.Add(ctx, strings.NewReader("x"))
	ok(t, err)

	var mem blocktest.Mem
	a, err := NewAdder(&mem, AddOptions{})
	ok(t, err)
	got, err := a.Add(ctx, strings.NewReader("x"))
	ok(t, err)
	a.Discard()
	if b, err := mem.Get(ctx, want.CID); err != nil || string(b.Data()) != "x" || got != want {
		t.Errorf("got %+v and %q, %v; want %+v", got, b.Data(), err, want)
	}

	n := open(t, Config{})
	for _, name := range []string{"", "named"} {
		a, err = NewAdder(n.Batch(), AddOptions{Alias: name})
		ok(t, err)
		_, err = a.Add(ctx, strings.NewReader("x"))
		ok(t, err)
		ok(t, a.Commit(ctx))
		if name == "" {
			name = PinName(want.CID)
		}
		if c, err := n.Resolve(ctx, name); err != nil || c != want.CID {
			t.Errorf("%s: got %s, %v, want %s", name, c, err, want.CID)
		}
	}
	batch := n.Batch()
	a, err = NewAdder(batch, AddOptions{})
	ok(t, err)
	a.Discard()
	if err := batch.Commit(ctx); err == nil {
		t.Error("commit of a batch whose Adder was discarded: got no error")
	}
	if _, err := NewAdder(&mem, AddOptions{NoCopy: true}); err == nil {
		t.Error("without a copy: got no error")
	}
}

func TestAddRefused(t *testing.T) {
	ctx := t.Context()
	n := open(t, Config{})
	for _, o := range []AddOptions{
		{Profile: "unixfs-v7"},
		{Chunker: "knife"},
		{Chunker: "size-0"},
		{Wrap: "a/b"},
		{Exclude: []string{"[a"}},
		{Alias: strings.Repeat("n", 2000)},
	} {
		if _, err := n.AddFS(ctx, testTree(), o); err == nil {
			t.Errorf("%+v: got no error", o)
		}
	}
	errCut := errors.New("cut")
	_, err := n.Add(ctx, io.MultiReader(strings.NewReader("x"), errReader{errCut}), AddOptions{Alias: "cut"})
	if !errors.Is(err, errCut) {
		t.Errorf("got %v, want %v", err, errCut)
	}
	if _, err := n.Resolve(ctx, "cut"); !errors.Is(err, store.ErrNoAlias) {
		t.Errorf("what was cut short has a name, %v", err)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// An edited directory has the CID that adding it gives, and is durable. The old one
// stays as it was.
func TestEdit(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	n := open(t, Config{Dir: dir})
	old, err := n.AddFS(ctx, testTree(), AddOptions{})
	ok(t, err)
	tree, err := n.Edit(ctx, old.CID, EditOptions{Alias: "edited"})
	ok(t, err)
	ok(t, errors.Join(
		tree.Remove(ctx, "b/c"),
		tree.Mkdir(ctx, "new/dir"),
		tree.Write(ctx, "new/dir/f", strings.NewReader("three")),
		tree.Move(ctx, "a", "new/a"),
		tree.Symlink(ctx, "s", "new/a"),
		tree.Link(ctx, "whole", old.CID),
	))
	if err := tree.Remove(ctx, "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("remove of nothing: got %v, want ErrNotExist", err)
	}
	if err := tree.Write(ctx, "t", strings.NewReader("")); !errors.Is(err, ErrNotFile) {
		t.Errorf("write over a directory: got %v, want ErrNotFile", err)
	}
	root, err := tree.Commit(ctx)
	ok(t, err)
	want := testTree()
	delete(want, "b/c/d")
	delete(want, "a")
	want["new/dir/f"] = &fstest.MapFile{Data: []byte("three")}
	want["new/a"] = &fstest.MapFile{Data: []byte("one")}
	want["s"] = &fstest.MapFile{Data: []byte("new/a"), Mode: fs.ModeSymlink}
	for name, f := range testTree() {
		want["whole/"+name] = f
	}
	hasher, err := NewHasher(AddOptions{})
	ok(t, err)
	if w, err := hasher.AddFS(ctx, want); err != nil || w.CID != root {
		t.Errorf("got %s, want %s, %v", root, w.CID, err)
	}
	ok(t, n.RemoveAlias(ctx, PinName(old.CID)))
	evict(t, n)
	ok(t, n.Close())
	n = open(t, Config{Dir: dir})
	ok(t, fstest.TestFS(n.FS(ctx, root), "new/a", "new/dir/f", "b/e", "whole/b/c/d"))

	// A discarded Tree sets no alias, and has ended.
	tree, err = n.Edit(ctx, root, EditOptions{Alias: "edited"})
	ok(t, err)
	ok(t, tree.Remove(ctx, "t"))
	tree.Discard()
	if _, err := tree.Commit(ctx); err == nil {
		t.Error("commit after discard: got no error")
	}
	if c, err := n.Resolve(ctx, "edited"); err != nil || c != root {
		t.Errorf("got %s, %v; want %s", c, err, root)
	}

	// Beginning with an empty directory.
	tree, err = n.Edit(ctx, cid.Undef, EditOptions{})
	ok(t, err)
	ok(t, tree.Write(ctx, "a", strings.NewReader("one")))
	root, err = tree.Commit(ctx)
	ok(t, err)
	if c, err := n.Resolve(ctx, PinName(root)); err != nil || c != root {
		t.Errorf("got %s, %v; want %s", c, err, root)
	}
	if _, err := n.Edit(ctx, encode(t, 1).CID(), EditOptions{}); !errors.Is(err, block.ErrNotFound) {
		t.Errorf("edit of what isn't here: got %v, want ErrNotFound", err)
	}
}
