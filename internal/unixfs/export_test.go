package unixfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cairn-ipfs/cairn/block"
	"pgregory.net/rapid"
)

// readTree lists a tree on disk, one line for each file, directory and symlink.
func readTree(t testing.TB, dir string) []string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		line := filepath.ToSlash(rel)
		switch {
		case d.IsDir():
			line += "/"
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " -> " + target
		default:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" = %x", data)
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// drawTree draws a tree of files, symlinks and directories.
func drawTree(t *rapid.T) fstest.MapFS {
	tree := fstest.MapFS{}
	name := rapid.StringMatching(`[a-zü.][a-zA-Z0-9 "-]{1,6}`)
	var fill func(prefix string, depth int)
	fill = func(prefix string, depth int) {
		for n := range rapid.MapOfN(name, rapid.Just(true), 0, 12).Draw(t, "names") {
			if n == ".." {
				continue
			}
			path := prefix + n
			switch kind := rapid.IntRange(0, 5).Draw(t, "kind"); {
			case kind == 0 && depth < 4:
				tree[path] = &fstest.MapFile{Mode: fs.ModeDir | 0o755}
				fill(path+"/", depth+1)
			case kind == 1:
				target := rapid.SampledFrom([]string{"x", "../..", "/etc/passwd", "a/b/../c"}).Draw(t, "target")
				tree[path] = &fstest.MapFile{Mode: fs.ModeSymlink, Data: []byte(target)}
			default:
				tree[path] = &fstest.MapFile{Data: rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "data")}
			}
		}
	}
	fill("", 0)
	return tree
}

// TestTreeRoundTrip imports trees from disk and exports them to another place.
func TestTreeRoundTrip(t *testing.T) {
	base := t.TempDir()
	count := 0
	rapid.Check(t, func(rt *rapid.T) {
		count++
		from, to := filepath.Join(base, fmt.Sprint(count, "from")), filepath.Join(base, fmt.Sprint(count, "to"))
		if err := os.Mkdir(from, 0o755); err != nil {
			rt.Fatal(err)
		}
		writeTree(t, from, drawTree(rt))
		m := newMemoryStore()
		p := rapid.SampledFrom([]Profile{tinyProfile(), tinyV0Profile(), V1Profile()}).Draw(rt, "profile")
		r, err := ImportPath(t.Context(), m, from, Options{Profile: p})
		if err != nil {
			rt.Fatal(err)
		}
		var progress Progress
		if err := Export(t.Context(), m, r.CID, to, ExportOptions{Progress: &progress}); err != nil {
			rt.Fatal(err)
		}
		want := readTree(t, from)
		if got := readTree(t, to); !slices.Equal(got, want) {
			rt.Fatalf("got  %q\nwant %q", got, want)
		}
		if progress.Files.Load() != int64(r.Files) || progress.Bytes.Load() != int64(r.Size) {
			rt.Errorf("got %d files, %d bytes, want %d, %d", progress.Files.Load(), progress.Bytes.Load(), r.Files, r.Size)
		}
		// Exporting again over it changes nothing.
		if err := Export(t.Context(), m, r.CID, to, ExportOptions{}); !errors.Is(err, fs.ErrExist) {
			rt.Errorf("without Overwrite: got %v, want fs.ErrExist", err)
		}
		if err := Export(t.Context(), m, r.CID, to, ExportOptions{Overwrite: true}); err != nil {
			rt.Fatal(err)
		}
		if got := readTree(t, to); !slices.Equal(got, want) {
			rt.Fatalf("after Overwrite: got  %q\nwant %q", got, want)
		}
	})
}

// TestExportNames: entry names that lead out of the target are refused.
func TestExportNames(t *testing.T) {
	m := newMemoryStore()
	evil := putRaw(t, m, "evil")
	for _, name := range []string{"", ".", "..", "/", "/abs", "a/b", "../out", "nul\x00", "..\x00"} {
		l := evil
		l.Name = name
		base := t.TempDir()
		root := putNode(t, m, Node{Type: TypeDirectory, Links: []Link{l}})
		err := Export(t.Context(), m, root.CID, filepath.Join(base, "t"), ExportOptions{Overwrite: true})
		if !errors.Is(err, block.ErrMalformed) {
			t.Errorf("%q: got %v, want ErrMalformed", name, err)
		}
		if got := readTree(t, base); !slices.Equal(got, []string{"./", "t/"}) {
			t.Errorf("%q: got %q", name, got)
		}
	}
}

// TestExportLongNames: a name of 255 bytes, the limit of file systems, is
// exported, and the error for a longer one contains it.
func TestExportLongNames(t *testing.T) {
	m := newMemoryStore()
	leaf := putRaw(t, m, "leaf")
	for _, tt := range []struct {
		size int
		good bool
	}{{255, true}, {256, false}, {100_000, false}} {
		leaf.Name = strings.Repeat("n", tt.size)
		base := t.TempDir()
		root := putNode(t, m, Node{Type: TypeDirectory, Links: []Link{leaf}})
		err := Export(t.Context(), m, root.CID, filepath.Join(base, "t"), ExportOptions{})
		if (err == nil) != tt.good || err != nil && !strings.Contains(err.Error(), leaf.Name) {
			t.Errorf("%d bytes: got %.100v, want good: %t", tt.size, err, tt.good)
		}
		want := []string{"./", "t/"}
		if tt.good {
			want = append(want, "t/"+leaf.Name+" = 6c656166")
		}
		if got := readTree(t, base); !slices.Equal(got, want) {
			t.Errorf("%d bytes: got %.100q", tt.size, got)
		}
	}
}

// TestExportThroughSymlink: an existing symlink is replaced, never followed.
func TestExportThroughSymlink(t *testing.T) {
	m := newMemoryStore()
	file := putRaw(t, m, "new")
	file.Name = "f"
	sub := putNode(t, m, Node{Type: TypeDirectory, Links: []Link{file}})
	sub.Name = "d"
	root := putNode(t, m, Node{Type: TypeDirectory, Links: []Link{sub, file}})

	base := t.TempDir()
	writeTree(t, base, fstest.MapFS{
		"outside/f": {Data: []byte("old")},
		"t/d":       {Mode: fs.ModeSymlink, Data: []byte("../outside")},
		"t/f":       {Mode: fs.ModeSymlink, Data: []byte("../outside/f")},
	})
	target := filepath.Join(base, "t")
	before := readTree(t, base)
	if err := Export(t.Context(), m, root.CID, target, ExportOptions{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want fs.ErrExist", err)
	}
	if got := readTree(t, base); !slices.Equal(got, before) {
		t.Errorf("got %q, want %q", got, before)
	}
	if err := Export(t.Context(), m, root.CID, target, ExportOptions{Overwrite: true}); err != nil {
		t.Fatal(err)
	}
	want := []string{"./", "outside/", "outside/f = 6f6c64", "t/", "t/d/", "t/d/f = 6e6577", "t/f = 6e6577"}
	if got := readTree(t, base); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}

	// The same with a tree that contains the symlink.
	link := putNode(t, m, Node{Type: TypeSymlink, Data: []byte("../outside")})
	link.Name = "d-"
	other := sub
	other.Name = "d-/"[:2]
	trap := putNode(t, m, Node{Type: TypeDirectory, Links: []Link{link, other}})
	if err := Export(t.Context(), m, trap.CID, filepath.Join(base, "u"), ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := readTree(t, filepath.Join(base, "u")); !slices.Equal(got, []string{"./", "d- -> ../outside"}) {
		t.Errorf("got %q, want only the first entry of the name", got)
	}
}

// TestExportOverOtherKinds: a directory replaces a file, but nothing replaces a
// directory.
func TestExportOverOtherKinds(t *testing.T) {
	m := newMemoryStore()
	file := putRaw(t, m, "file")
	dir := putNode(t, m, Node{Type: TypeDirectory})
	link := putNode(t, m, Node{Type: TypeSymlink, Data: []byte("nowhere")})
	base := t.TempDir()
	target := filepath.Join(base, "x")
	overwrite := ExportOptions{Overwrite: true}
	steps := []struct {
		name string
		link Link
		want string
		err  error
	}{
		{"file", file, "x = 66696c65", nil},
		{"symlink over file", link, "x -> nowhere", nil},
		{"file over symlink", file, "x = 66696c65", nil},
		{"directory over file", dir, "x/", nil},
		{"directory over directory", dir, "x/", nil},
		{"file over directory", file, "x/", fs.ErrExist},
		{"symlink over directory", link, "x/", fs.ErrExist},
	}
	for _, s := range steps {
		if err := Export(t.Context(), m, s.link.CID, target, overwrite); !errors.Is(err, s.err) {
			t.Errorf("%s: got %v, want %v", s.name, err, s.err)
		}
		if got := readTree(t, base); !slices.Equal(got, []string{"./", s.want}) {
			t.Errorf("%s: got %q, want %q", s.name, got, s.want)
		}
	}
	if err := Export(t.Context(), m, file.CID, string(filepath.Separator), overwrite); err == nil {
		t.Error("over the root of the file system: no error")
	}
	if err := Export(t.Context(), m, file.CID, filepath.Join(base, "no", "where"), overwrite); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a missing directory: got %v, want fs.ErrNotExist", err)
	}
}

// TestExportMissingBlock: a file with a missing block leaves nothing behind.
func TestExportMissingBlock(t *testing.T) {
	m := newMemoryStore()
	r, err := ImportFS(t.Context(), m, fstest.MapFS{"d/f": {Data: []byte("one two three")}}, Options{Profile: tinyProfile()})
	if err != nil {
		t.Fatal(err)
	}
	delete(m.blocks, string(m.order[2].Hash()))
	base := t.TempDir()
	var p Progress
	err = Export(t.Context(), m, r.CID, filepath.Join(base, "t"), ExportOptions{Progress: &p})
	if !errors.Is(err, block.ErrNotFound) || !strings.Contains(err.Error(), "d/f: ") {
		t.Errorf("got %v, want ErrNotFound of d/f", err)
	}
	if got := readTree(t, base); !slices.Equal(got, []string{"./", "t/", "t/d/"}) {
		t.Errorf("got %q, want only directories", got)
	}
	if p.Files.Load() != 0 || p.Bytes.Load() == 0 {
		t.Errorf("got %d files, %d bytes, want none and a few", p.Files.Load(), p.Bytes.Load())
	}
}

// TestExportDepth: the nesting of directories is bounded.
func TestExportDepth(t *testing.T) {
	m := newMemoryStore()
	at := putNode(t, m, Node{Type: TypeDirectory})
	for range MaxDepth {
		at.Name = "d"
		at = putNode(t, m, Node{Type: TypeDirectory, Links: []Link{at}})
	}
	err := Export(t.Context(), m, at.CID, filepath.Join(t.TempDir(), "t"), ExportOptions{})
	if !errors.Is(err, block.ErrMalformed) {
		t.Errorf("got %v, want ErrMalformed", err)
	}
}

// TestExportLargeFile: a file of many blocks is exported unchanged.
func TestExportLargeFile(t *testing.T) {
	m := newMemoryStore()
	data := readVectorStream(t, "large", 5<<20+3)
	r, err := Import(t.Context(), m, bytes.NewReader(data), Options{})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "f")
	if err := Export(t.Context(), m, r.CID, name, ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("got %d bytes, %v, want %d", len(got), err, len(data))
	}
}
