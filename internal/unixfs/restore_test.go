package unixfs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cairn-ipfs/cairn/block"
)

// TestFarTimes exports files whose times no file system can hold: they get the
// nearest that it can.
func TestFarTimes(t *testing.T) {
	for _, year := range []int{-9999, 1, 1700, 2300, 9999, 1 << 33} {
		m := newMemoryStore()
		when := time.Date(year, 1, 2, 3, 4, 5, 0, time.UTC)
		b, err := block.New(block.DagPB, (&Node{Type: TypeFile, Modified: when}).Encode())
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Put(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(t.TempDir(), "f")
		if err := Export(t.Context(), m, b.CID(), to, ExportOptions{}); err != nil {
			t.Errorf("%d: %v", year, err)
			continue
		}
		info, err := os.Lstat(to)
		if err != nil {
			t.Fatal(err)
		}
		got := info.ModTime().UTC().Year()
		if year < 1970 && (got > 1970 || got < year) || year > 1970 && (got < 2037 || got > year) {
			t.Errorf("%d: got the year %d", year, got)
		}
	}
}

// TestRestore: imported permissions and times are restored, on disk and in an
// archive.
func TestRestore(t *testing.T) {
	when := time.Date(2021, 2, 3, 4, 5, 6, 789_000_000, time.UTC)
	base := t.TempDir()
	writeTree(t, base, fstest.MapFS{
		"from/plain":      {Data: []byte("plain")},
		"from/tool":       {Data: []byte("#!/bin/sh")},
		"from/d/read":     {Data: readVectorStream(t, "restore", 3000)},
		"from/d/e/secret": {},
		"from/link":       {Mode: fs.ModeSymlink, Data: []byte("plain")},
	})
	from, to := filepath.Join(base, "from"), filepath.Join(base, "to")
	modes := map[string]fs.FileMode{"plain": 0o640, "tool": 0o755, "d/read": 0o400, "d/e/secret": 0o600, "d/e": 0o700, "d": 0o750, ".": 0o711}
	offset := time.Duration(0)
	times := map[string]time.Time{}
	for _, name := range []string{"plain", "tool", "d/read", "d/e/secret", "d/e", "d", "."} {
		offset += time.Hour
		times[name] = when.Add(offset)
		full := filepath.Join(from, name)
		if err := errors.Join(os.Chmod(full, modes[name]), os.Chtimes(full, times[name], times[name])); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []Profile{V1Profile(), V0Profile(), tinyProfile()} {
		p.ShardThreshold = 200
		m := newMemoryStore()
		r, err := ImportPath(t.Context(), m, from, Options{Profile: p, KeepMode: true, KeepTimes: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []ExportOptions{{}, {Overwrite: true}} {
			if err := Export(t.Context(), m, r.CID, to, o); err != nil {
				t.Fatal(err)
			}
		}
		for name, mode := range modes {
			info, err := os.Lstat(filepath.Join(to, name))
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != mode || !info.ModTime().Equal(times[name]) {
				t.Errorf("%s: got %v, %v, want %v, %v", name, info.Mode().Perm(), info.ModTime(), mode, times[name])
			}
		}
		if err := os.RemoveAll(to); err != nil {
			t.Fatal(err)
		}
		var archive bytes.Buffer
		if err := ExportTar(t.Context(), m, r.CID, "root", &archive, ExportOptions{}); err != nil {
			t.Fatal(err)
		}
		for name, h := range readTarHeaders(t, archive.Bytes()) {
			name = path.Join(".", strings.TrimPrefix(name, "root"))
			name = strings.TrimPrefix(name, "/")
			if name == "" {
				name = "."
			}
			if mode, ok := modes[name]; ok && (fs.FileMode(h.Mode) != mode || !h.ModTime.Equal(times[name])) {
				t.Errorf("%s in an archive: got %o, %v, want %o, %v", name, h.Mode, h.ModTime, mode, times[name])
			}
		}
		// Importing again gives the same CID.
		again, err := ImportFS(t.Context(), m, FS(t.Context(), m, r.CID), Options{Profile: p, KeepMode: true, KeepTimes: true})
		if err != nil || again.CID != r.CID {
			t.Errorf("imported from its own FS: got %s, %v, want %s", again.CID, err, r.CID)
		}
	}
}

// TestRestoreNoSetuid: an export doesn't set setuid, setgid and sticky bits.
func TestRestoreNoSetuid(t *testing.T) {
	m := newMemoryStore()
	file := putNode(t, m, Node{Type: TypeFile, Mode: 0o104_755})
	file.Name = "f"
	dir := putNode(t, m, Node{Type: TypeDirectory, Mode: 0o3777, Links: []Link{file}})
	to := filepath.Join(t.TempDir(), "to")
	if err := Export(t.Context(), m, dir.CID, to, ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"f": 0o755, ".": fs.ModeDir | 0o777} {
		if info, err := os.Lstat(filepath.Join(to, name)); err != nil || info.Mode() != want {
			t.Errorf("%s: got %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
}

func readTarHeaders(t *testing.T, archive []byte) map[string]*tar.Header {
	t.Helper()
	headers := map[string]*tar.Header{}
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return headers
		}
		if err != nil {
			t.Fatal(err)
		}
		headers[h.Name] = h
	}
}

// TestExportTar reads an archive back as a tree.
func TestExportTar(t *testing.T) {
	long := strings.Repeat("long name ", 25)
	tree := fstest.MapFS{
		"a/b":          {Data: readVectorStream(t, "tar", 10_000)},
		"a/" + long:    {Data: []byte("long")},
		"empty":        {},
		"none":         {Mode: fs.ModeDir | 0o755},
		"link":         {Mode: fs.ModeSymlink, Data: []byte("../../etc/" + long)},
		"ünï/\u00a0 x": {Data: []byte("x")},
	}
	for i := range 100 {
		tree[fmt.Sprintf("many/%d", i)] = &fstest.MapFile{Data: fmt.Append(nil, i)}
	}
	m := newMemoryStore()
	r, err := ImportFS(t.Context(), m, tree, Options{Profile: tinyProfile()})
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	var progress Progress
	if err := ExportTar(t.Context(), m, r.CID, "root", &archive, ExportOptions{Progress: &progress}); err != nil {
		t.Fatal(err)
	}
	if progress.Files.Load() != int64(r.Files) || progress.Bytes.Load() != int64(r.Size) {
		t.Errorf("progress: got %d files, %d bytes, want %d, %d", progress.Files.Load(), progress.Bytes.Load(), r.Files, r.Size)
	}
	back := fstest.MapFS{}
	from := tar.NewReader(bytes.NewReader(archive.Bytes()))
	for {
		h, err := from.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(strings.TrimPrefix(h.Name, "root/"), "/")
		data, err := io.ReadAll(from)
		if err != nil {
			t.Fatal(err)
		}
		switch f := (&fstest.MapFile{Data: data}); h.Typeflag {
		case tar.TypeDir:
			f.Mode = fs.ModeDir
			if name != "" {
				back[name] = f
			}
		case tar.TypeSymlink:
			f.Mode, f.Data = fs.ModeSymlink, []byte(h.Linkname)
			back[name] = f
		default:
			back[name] = f
		}
	}
	again, err := ImportFS(t.Context(), discardPutter{}, back, Options{Profile: tinyProfile()})
	if err != nil || again.CID != r.CID {
		t.Errorf("imported again: got %s, %v, want %s", again.CID, err, r.CID)
	}
	// A single file, and the same archive every time.
	e := lookupPath(t, m, r.CID, "a/b")
	var one, two bytes.Buffer
	if err := errors.Join(ExportTar(t.Context(), m, e.CID, "b", &one, ExportOptions{}), ExportTar(t.Context(), m, e.CID, "b", &two, ExportOptions{})); err != nil {
		t.Fatal(err)
	}
	if h := readTarHeaders(t, one.Bytes()); len(h) != 1 || h["b"] == nil || !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Errorf("one file: got %v, or different archives", h)
	}
}

// TestTarRefuses: no archive leads out of its target, and an incomplete one has
// no end.
func TestTarRefuses(t *testing.T) {
	m := newMemoryStore()
	leaf := putRaw(t, m, "leaf")
	for _, name := range []string{"", ".", "..", "/", "/abs", "a/b", "../out", "nul\x00", "\xff"} {
		l := leaf
		l.Name = name
		root := putNode(t, m, Node{Type: TypeDirectory, Links: []Link{l}})
		if err := ExportTar(t.Context(), m, root.CID, "root", io.Discard, ExportOptions{}); !errors.Is(err, block.ErrMalformed) {
			t.Errorf("%q: got %v, want ErrMalformed", name, err)
		}
		if err := ExportTar(t.Context(), m, leaf.CID, name, io.Discard, ExportOptions{}); !errors.Is(err, errInvalidEntryName) {
			t.Errorf("%q for the root: got %v, want an error", name, err)
		}
	}
	short := putNode(t, m, Node{Type: TypeFile, FileSize: 1000, BlockSizes: []uint64{4, 996}, Links: []Link{leaf, leaf}})
	var archive bytes.Buffer
	if err := ExportTar(t.Context(), m, short.CID, "f", &archive, ExportOptions{}); !errors.Is(err, block.ErrMalformed) {
		t.Errorf("got %v, want ErrMalformed", err)
	}
	r := tar.NewReader(&archive)
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the archive: got %v, want it truncated", err)
	}
}

// TestExportBounds: the export of a tree without end stops at the bounds.
func TestExportBounds(t *testing.T) {
	m := newMemoryStore()
	leaf := putRaw(t, m, "12345678")
	wide := leaf
	for range 20 {
		wide = putNode(t, m, Node{Type: TypeDirectory, Links: []Link{{CID: wide.CID, Name: "a"}, {CID: wide.CID, Name: "b"}}})
	}
	var huge Link
	at, size := leaf, uint64(8)
	for range 20 {
		n := Node{Type: TypeFile}
		for range 8 {
			n.Links = append(n.Links, Link{CID: at.CID})
			n.BlockSizes = append(n.BlockSizes, size)
		}
		n.FileSize = 8 * size
		huge = putNode(t, m, n)
		at, size = huge, n.FileSize
		if size > 1<<60 {
			break
		}
	}
	for what, tt := range map[string]struct {
		root Link
		o    ExportOptions
	}{
		"2^20 files":         {wide, ExportOptions{MaxEntries: 100}},
		"2^20 files' bytes":  {wide, ExportOptions{MaxBytes: 100}},
		"a file of exabytes": {huge, ExportOptions{MaxBytes: 1 << 40}},
	} {
		base := t.TempDir()
		if err := Export(t.Context(), m, tt.root.CID, filepath.Join(base, "t"), tt.o); !errors.Is(err, block.ErrTooLarge) {
			t.Errorf("%s: got %v, want ErrTooLarge", what, err)
		}
		entries := 0
		err := filepath.WalkDir(base, func(string, fs.DirEntry, error) error { entries++; return nil })
		if err != nil || entries > 101 {
			t.Errorf("%s: %d entries were written, %v", what, entries, err)
		}
		if err := ExportTar(t.Context(), m, tt.root.CID, "t", io.Discard, tt.o); !errors.Is(err, block.ErrTooLarge) {
			t.Errorf("%s in an archive: got %v, want ErrTooLarge", what, err)
		}
	}
	exact := ExportOptions{MaxEntries: 1, MaxBytes: 8}
	if err := Export(t.Context(), m, leaf.CID, filepath.Join(t.TempDir(), "f"), exact); err != nil {
		t.Errorf("at the bounds: %v", err)
	}
}

// TestExportClash: two entries whose names are one to the file system are an
// error, in a fresh and in an existing directory.
func TestExportClash(t *testing.T) {
	m := newMemoryStore()
	r, err := ImportFS(t.Context(), m, fstest.MapFS{"d/README": {Data: []byte("1")}, "d/x": {}, "d/ReadMe": {Data: []byte("2")}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	if err := os.MkdirAll(filepath.Join(base, "t/d"), 0o755); err != nil {
		t.Fatal(err)
	}
	parent, err := os.OpenRoot(base)
	if err != nil {
		t.Fatal(err)
	}
	defer parent.Close()
	export := func(folds bool) error {
		o := ExportOptions{Overwrite: true}
		e := exporter{ctx: t.Context(), get: m, options: o, bounds: o.bounds(), folds: func(*os.Root) (bool, error) { return folds, nil }}
		return e.exportEntry(destination{dir: parent, name: "t", path: "."}, r.CID, 0)
	}
	// Into an existing directory.
	if err := export(true); !errors.Is(err, errClash) || !strings.Contains(err.Error(), `d: "README" and "ReadMe"`) {
		t.Errorf("got %v, want a clash of README and ReadMe in d", err)
	}
	if err := export(false); err != nil {
		t.Error(err)
	}
	// Into a fresh one, where lstat finds the other entry.
	at := destination{dir: parent, name: "t", path: "p", fresh: true}
	e := exporter{ctx: t.Context(), get: m, options: ExportOptions{Overwrite: true}}
	if _, err := e.lstat(at); !errors.Is(err, errClash) || !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want a clash", err)
	}
	folds, err := foldsNames(parent)
	if err != nil {
		t.Fatal(err)
	}
	_, err = parent.Lstat("T")
	if (err == nil) != folds {
		t.Errorf("foldsNames: got %t, but Lstat returned %v", folds, err)
	}
	if got := readTree(t, base); slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, "unixfs") }) {
		t.Errorf("left behind: %q, want nothing", got)
	}
	for _, pair := range [][2]string{{"ß", "ẞ"}, {"K", "\u212a"}, {"straße", "STRAßE"}, {"σ", "ς"}} {
		f := foldedNames{}
		if f.add(pair[0]) != nil || f.add(pair[1]) == nil {
			t.Errorf("%q and %q don't clash", pair[0], pair[1])
		}
	}
}

// FuzzExport exports random bytes as a root: nothing outside of the target
// changes. A few blocks exist that the root can link to.
func FuzzExport(f *testing.F) {
	m := newMemoryStore()
	leaf := putRaw(f, m, "leaf")
	link := putNode(f, m, Node{Type: TypeSymlink, Data: []byte("../outside")})
	dir := putNode(f, m, Node{Type: TypeDirectory, Mode: 0o500, Links: []Link{{CID: leaf.CID, Name: "f"}}})
	f.Add([]byte("leaf"))
	f.Add((&Node{Type: TypeDirectory, Links: []Link{{CID: link.CID, Name: "a"}, {CID: dir.CID, Name: "a"}, {CID: dir.CID, Name: "A"}}}).Encode())
	f.Add((&Node{Type: TypeDirectory, Links: []Link{{CID: leaf.CID, Name: "../outside/x"}}}).Encode())
	f.Add((&Node{Type: TypeFile, FileSize: 1 << 50, BlockSizes: []uint64{4, 1<<50 - 4}, Links: []Link{leaf, leaf}}).Encode())
	f.Add((&Node{Type: TypeFile, Mode: 0o7777, Modified: time.Unix(1<<60, 5)}).Encode())
	f.Add((&Node{Type: TypeSymlink, Data: []byte("/\x00")}).Encode())
	base := f.TempDir()
	if err := os.Mkdir(filepath.Join(base, "outside"), 0o755); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := block.New(block.DagPB, data)
		if err != nil {
			return
		}
		store := overlayGetter{m, b}
		in, err := os.MkdirTemp(base, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(in)
		o := ExportOptions{MaxBytes: 1 << 16, MaxEntries: 1000, Overwrite: true}
		target := filepath.Join(in, "t")
		exported := Export(t.Context(), store, b.CID(), target, o)
		var archive bytes.Buffer
		archived := ExportTar(context.Background(), store, b.CID(), "t", &archive, o)
		if archived == nil {
			checkTar(t, archive.Bytes())
		}
		for dir, most := range map[string]int{in: 1, filepath.Join(base, "outside"): 0} {
			if list, err := os.ReadDir(dir); err != nil || len(list) > most || most == 1 && len(list) == 1 && list[0].Name() != "t" {
				t.Fatalf("%s: got %v, %v", dir, list, err)
			}
		}
		if exported == nil {
			if _, err := os.Lstat(target); err != nil {
				t.Fatalf("exported without error: %v", err)
			}
		}
	})
}

// checkTar reads an archive. All entries must be below t.
func checkTar(t *testing.T, archive []byte) {
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if !filepath.IsLocal(h.Name) || h.Name != "t" && !strings.HasPrefix(h.Name, "t/") {
			t.Fatalf("entry %q is outside of t", h.Name)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Fatal(err)
		}
	}
}
