package unixfs

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// importFS imports a tree and returns it as a file system.
func importFS(t *testing.T, tree fstest.MapFS, o Options) (fs.FS, *memoryStore, cid.Cid) {
	t.Helper()
	m := newMemoryStore()
	r, err := ImportFS(t.Context(), m, tree, o)
	if err != nil {
		t.Fatal(err)
	}
	return FS(t.Context(), m, r.CID), m, r.CID
}

func TestFS(t *testing.T) {
	when := time.Date(2025, 3, 4, 5, 6, 7, 8, time.UTC)
	tree := fstest.MapFS{
		"index.html":     {Data: []byte("<h1>hello</h1>"), Mode: 0o640, ModTime: when},
		"empty":          {Mode: 0o600},
		"a/b/c/deep":     {Data: readVectorStream(t, "deep", 1000)},
		"a/dir":          {Mode: fs.ModeDir | 0o700, ModTime: when},
		"a/link":         {Mode: fs.ModeSymlink, Data: []byte("b/c/deep")},
		"a/up":           {Mode: fs.ModeSymlink, Data: []byte("../a/b/../b/c")},
		"ünïcode name":   {Data: []byte("x")},
		"a/b/executable": {Data: []byte("#!"), Mode: 0o755},
	}
	var names []string
	for i := range 200 {
		names = append(names, fmt.Sprintf("many/%d", i))
		tree[names[i]] = &fstest.MapFile{Data: fmt.Append(nil, i)}
	}
	for what, o := range map[string]Options{
		"tiny":    {Profile: tinyProfile()},
		"v0":      {Profile: V0Profile(), KeepMode: true, KeepTimes: true},
		"v1":      {Profile: V1Profile(), KeepTimes: true},
		"trickle": {Profile: Profile{CIDVersion: 1, Hash: block.SHA2_256, ChunkSize: 10, Width: 3, Layout: Trickle, Inline: 30}},
	} {
		t.Run(what, func(t *testing.T) {
			fsys, _, _ := importFS(t, tree, o)
			if err := fstest.TestFS(fsys, append(names, "index.html", "empty", "a/b/c/deep", "a/dir", "a/link", "a/up", "ünïcode name")...); err != nil {
				t.Error(err)
			}
			f, err := fsys.Open("a/up/deep")
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := iotest.TestReader(f, tree["a/b/c/deep"].Data); err != nil {
				t.Error(err)
			}
			info, err := fs.Stat(fsys, "index.html")
			if err != nil {
				t.Fatal(err)
			}
			mode, modified := fs.FileMode(0o444), time.Time{}
			if o.KeepMode {
				mode = 0o640
			}
			if o.KeepTimes {
				modified = when
			}
			if info.Mode() != mode || !info.ModTime().Equal(modified) || info.Name() != "index.html" {
				t.Errorf("got %v, %v, %s; want %v, %v, index.html", info.Mode(), info.ModTime(), info.Name(), mode, modified)
			}
			if c, ok := info.Sys().(cid.Cid); !ok || !c.Defined() {
				t.Errorf("Sys: got %#v, want the CID", info.Sys())
			}
			sub, err := fs.Sub(fsys, "a/b")
			if err != nil {
				t.Fatal(err)
			}
			if err := fstest.TestFS(sub, "c/deep", "executable"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFSErrors(t *testing.T) {
	fsys, m, root := importFS(t, fstest.MapFS{
		"d/f":     {Data: []byte("f")},
		"gone":    {Data: []byte("gone")},
		"out":     {Mode: fs.ModeSymlink, Data: []byte("../x")},
		"abs":     {Mode: fs.ModeSymlink, Data: []byte("/etc/passwd")},
		"nowhere": {Mode: fs.ModeSymlink, Data: []byte("d/x")},
		"loop":    {Mode: fs.ModeSymlink, Data: []byte("loop2")},
		"loop2":   {Mode: fs.ModeSymlink, Data: []byte("d/../loop")},
		"long":    {Mode: fs.ModeSymlink, Data: bytes.Repeat([]byte("./"), maxTarget)},
	}, Options{})
	gone, err := Lookup(t.Context(), m, root, "gone")
	if err != nil {
		t.Fatal(err)
	}
	delete(m.blocks, string(gone.CID.Hash()))
	for name, want := range map[string]error{
		"x": fs.ErrNotExist, "d/x": fs.ErrNotExist, "d/f/x": fs.ErrNotExist, "nowhere": fs.ErrNotExist,
		"/d": fs.ErrInvalid, "d/": fs.ErrInvalid, "..": fs.ErrInvalid, "": fs.ErrInvalid,
		"gone": block.ErrNotFound, "out": block.ErrMalformed, "abs": block.ErrMalformed,
		"loop": block.ErrMalformed, "loop2/x": block.ErrMalformed, "long": block.ErrMalformed,
	} {
		var path *fs.PathError
		if _, err := fsys.Open(name); !errors.Is(err, want) || !errors.As(err, &path) || path.Path != name {
			t.Errorf("open %q: got %v, want a PathError of %v", name, err, want)
		}
		if _, err := fs.Stat(fsys, name); !errors.Is(err, want) {
			t.Errorf("stat %q: got %v, want %v", name, err, want)
		}
		if _, err := fs.Stat(fsys, name); want != fs.ErrNotExist && errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: got %v, want no fs.ErrNotExist", name, err)
		}
	}
	if _, err := fs.ReadDir(fsys, "d/f"); !errors.Is(err, ErrNotDirectory) {
		t.Errorf("list a file: got %v, want ErrNotDirectory", err)
	}
	d, err := fsys.Open("d")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Read(make([]byte, 1)); !errors.Is(err, ErrNotFile) {
		t.Errorf("read a directory: got %v, want ErrNotFile", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.(fs.ReadDirFile).ReadDir(-1); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("list a closed directory: got %v, want ErrClosed", err)
	}
	// An invalid name ends the listing.
	leaf := putRaw(t, m, "leaf")
	leaf.Name = "a/b"
	odd := FS(t.Context(), m, putNode(t, m, Node{Type: TypeDirectory, Links: []Link{leaf}}).CID)
	if _, err := fs.ReadDir(odd, "."); !errors.Is(err, block.ErrMalformed) {
		t.Errorf("a name with a slash: got %v, want ErrMalformed", err)
	}
}

// TestHugeSize: a huge declared size costs no memory.
func TestHugeSize(t *testing.T) {
	m := newMemoryStore()
	leaf := putRaw(t, m, "leaf")
	const said = 2 << 40
	file := putNode(t, m, Node{Type: TypeFile, FileSize: said, BlockSizes: []uint64{4, said - 4}, Links: []Link{leaf, leaf}})
	file.Name = "f"
	fsys := FS(t.Context(), m, putNode(t, m, Node{Type: TypeDirectory, Links: []Link{file}}).CID)
	if info, err := fs.Stat(fsys, "f"); err != nil || info.Size() != said {
		t.Errorf("got %v, %v, want a size of 2 TiB", info, err)
	}
	before := countAllocated()
	_, err := fs.ReadFile(fsys, "f")
	if !errors.Is(err, block.ErrMalformed) {
		t.Errorf("got %v, want ErrMalformed", err)
	}
	if used := countAllocated() - before; used > 10<<20 {
		t.Errorf("%d bytes were allocated", used)
	}
}

// countAllocated returns the bytes allocated so far.
func countAllocated() uint64 {
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.TotalAlloc
}

// TestServeHTTP: http.FileServerFS serves from an FS, with ranges.
func TestServeHTTP(t *testing.T) {
	data := readVectorStream(t, "served", 10_000)
	when := time.Date(2025, 3, 4, 5, 6, 7, 0, time.UTC)
	fsys, _, _ := importFS(t, fstest.MapFS{
		"f.bin":       {Data: data, ModTime: when},
		"index.html":  {Data: []byte("<h1>index</h1>"), ModTime: when},
		"d/sub/x.txt": {Data: []byte("x"), ModTime: when},
	}, Options{Profile: tinyProfile(), KeepTimes: true})
	server := httptest.NewServer(http.FileServerFS(fsys))
	defer server.Close()
	for _, tt := range []struct {
		path, ask, since string
		status           int
		want             string
	}{
		{"/f.bin", "", "", 200, string(data)},
		{"/f.bin", "bytes=17-4999", "", 206, string(data[17:5000])},
		{"/f.bin", "bytes=-10", "", 206, string(data[len(data)-10:])},
		{"/f.bin", "bytes=20000-", "", 416, ""},
		{"/f.bin", "", when.Format(http.TimeFormat), 304, ""},
		{"/", "", "", 200, "<h1>index</h1>"},
		{"/d/", "", "", 200, `<a href="sub/">`},
		{"/d/sub/x.txt", "", "", 200, "x"},
		{"/nothing", "", "", 404, ""},
	} {
		request, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tt.ask != "" {
			request.Header.Set("Range", tt.ask)
		}
		if tt.since != "" {
			request.Header.Set("If-Modified-Since", tt.since)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != tt.status || !strings.Contains(string(body), tt.want) {
			t.Errorf("%s %s: got %d, %d bytes, %v; want %d, %.20q", tt.path, tt.ask, answer.StatusCode, len(body), err, tt.status, tt.want)
		}
	}
}

func TestParseTemplates(t *testing.T) {
	fsys, _, _ := importFS(t, fstest.MapFS{
		"t/page.html": {Data: []byte(`{{template "part.html" .}}!`)},
		"t/part.html": {Data: []byte(`hello {{.}}`)},
	}, Options{})
	page, err := template.ParseFS(fsys, "t/*.html")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := page.ExecuteTemplate(&out, "page.html", "<you>"); err != nil || out.String() != "hello &lt;you&gt;!" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

func TestFollow(t *testing.T) {
	_, m, root := importFS(t, fstest.MapFS{
		"a/b/c":  {Data: []byte("c")},
		"a/link": {Mode: fs.ModeSymlink, Data: []byte("b")},
		"a/back": {Mode: fs.ModeSymlink, Data: []byte("./link/../../a")},
		"top":    {Mode: fs.ModeSymlink, Data: []byte("a/link/c")},
	}, Options{})
	for _, tt := range []struct {
		path, name string
		want       error
	}{
		{"", "", nil},
		{"top", "c", nil},
		{"a/link", "b", nil},
		{"/a/link//./c", "c", nil},
		{"a/back/back/link/c", "c", nil},
		{"a/link/..", "a", nil},
		{"a/link/../..", "", nil},
		{"a/link/../../..", "", block.ErrMalformed},
		{"top/x", "", ErrNotDirectory},
		{"a/back/x", "", fs.ErrNotExist},
	} {
		at, err := follow(t.Context(), m, root, tt.path, true)
		if e := at.entry; !errors.Is(err, tt.want) || e.Name != tt.name || (err == nil && !e.CID.Defined()) {
			t.Errorf("%q: got %+v, %v, want %q, %v", tt.path, at.entry, err, tt.name, tt.want)
		}
	}
	// The most symlinks allowed, and one more.
	at := putRaw(t, m, "end")
	links := []Link{{CID: at.CID, Name: "0"}}
	for i := range maxSymlinks + 1 {
		l := putNode(t, m, Node{Type: TypeSymlink, Data: fmt.Append(nil, i)})
		l.Name = fmt.Sprint(i + 1)
		links = append(links, l)
	}
	chain := putNode(t, m, Node{Type: TypeDirectory, Links: links}).CID
	if e, err := follow(t.Context(), m, chain, fmt.Sprint(maxSymlinks), true); err != nil || e.entry.CID != at.CID {
		t.Errorf("%d symlinks: got %+v, %v", maxSymlinks, e, err)
	}
	if _, err := follow(t.Context(), m, chain, fmt.Sprint(maxSymlinks+1), true); !errors.Is(err, block.ErrMalformed) {
		t.Errorf("%d symlinks: got %v, want ErrMalformed", maxSymlinks+1, err)
	}
}
