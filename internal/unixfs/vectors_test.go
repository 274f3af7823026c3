package unixfs

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"testing"
	"testing/fstest"
)

// vectors are Kubo's CIDs of reproducible inputs.
type vectors struct {
	Files []struct {
		Seed string
		Size int64
		CID  map[string]string
	}
	Trees []struct {
		Name    string
		Entries [][2]json.RawMessage
		CID     map[string]string
	}
}

func readVectors(t *testing.T) vectors {
	t.Helper()
	data, err := os.ReadFile("testdata/unixfs.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// A vectorStream generates an input: the SHA-256 hashes of a seed and a counter;
// for the seed "zeros", zero bytes.
type vectorStream struct {
	seed    string
	left    int64
	counter uint64
	pending []byte
}

func (s *vectorStream) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), s.left)]
	if s.seed == "zeros" {
		clear(p)
		s.left -= int64(len(p))
		return len(p), nil
	}
	n := 0
	for n < len(p) {
		if len(s.pending) == 0 {
			sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(s.seed), s.counter))
			s.counter++
			s.pending = sum[:]
		}
		m := copy(p[n:], s.pending)
		s.pending = s.pending[m:]
		n += m
	}
	s.left -= int64(n)
	return n, nil
}

func readVectorStream(t testing.TB, seed string, size int64) []byte {
	t.Helper()
	data, err := io.ReadAll(&vectorStream{seed: seed, left: size})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestFileVectors(t *testing.T) {
	for _, v := range readVectors(t).Files {
		for name, want := range v.CID {
			t.Run(fmt.Sprintf("%s/%s-%d", name, v.Seed, v.Size), func(t *testing.T) {
				if testing.Short() && v.Size > 100<<20 {
					t.Skip("a GiB to hash")
				}
				p, err := ProfileByName(name)
				if err != nil {
					t.Fatal(err)
				}
				r, err := Import(t.Context(), discardPutter{}, &vectorStream{seed: v.Seed, left: v.Size}, Options{Profile: p})
				if err != nil {
					t.Fatal(err)
				}
				if r.CID.String() != want {
					t.Errorf("as a stream: got %s, want %s", r.CID, want)
				}
				if r.Size != uint64(v.Size) {
					t.Errorf("size: got %d, want %d", r.Size, v.Size)
				}
				if v.Size > 100<<20 {
					return
				}
				r, err = Import(t.Context(), discardPutter{}, bytes.NewReader(readVectorStream(t, v.Seed, v.Size)), Options{Profile: p})
				if err != nil {
					t.Fatal(err)
				}
				if r.CID.String() != want {
					t.Errorf("read at several offsets: got %s, want %s", r.CID, want)
				}
			})
		}
	}
}

// makeFlatTree makes a tree of many files by its name in the vectors.
func makeFlatTree(t *testing.T, name string) fstest.MapFS {
	t.Helper()
	tree := fstest.MapFS{}
	put := func(file, seed string, size int) {
		tree[file] = &fstest.MapFile{Data: readVectorStream(t, seed, int64(size))}
	}
	switch name {
	case "flat-1000", "flat-6000":
		count := 1000
		if name == "flat-6000" {
			count = 6000
		}
		for i := range count {
			put(fmt.Sprintf("file-%05d.txt", i), fmt.Sprintf("f%d", i), i%50)
		}
	case "flat-20000":
		for i := range 20000 {
			put(fmt.Sprintf("pkg-%06d-%d.%d_x86_64.hpkg", i, i*7%13, i%9), fmt.Sprintf("p%d", i), i%70)
		}
	default:
		t.Fatalf("unknown tree %q", name)
	}
	return tree
}

func makeEntryTree(t *testing.T, entries [][2]json.RawMessage) fstest.MapFS {
	t.Helper()
	tree := fstest.MapFS{}
	for _, e := range entries {
		var file, text string
		var content [2]json.RawMessage
		if err := json.Unmarshal(e[0], &file); err != nil {
			t.Fatal(err)
		}
		switch {
		case json.Unmarshal(e[1], &content) == nil:
			var seed string
			var size int64
			if err := json.Unmarshal(content[0], &seed); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(content[1], &size); err != nil {
				t.Fatal(err)
			}
			tree[file] = &fstest.MapFile{Data: readVectorStream(t, seed, size)}
		case json.Unmarshal(e[1], &text) != nil:
			t.Fatalf("entry %s: invalid value %s", file, e[1])
		case text == "dir":
			tree[file] = &fstest.MapFile{Mode: fs.ModeDir | 0o755}
		default:
			tree[file] = &fstest.MapFile{Mode: fs.ModeSymlink | 0o777, Data: []byte(text)}
		}
	}
	return tree
}

func TestTreeVectors(t *testing.T) {
	for _, v := range readVectors(t).Trees {
		var tree fstest.MapFS
		if v.Entries == nil {
			tree = makeFlatTree(t, v.Name)
		} else {
			tree = makeEntryTree(t, v.Entries)
		}
		dir := ""
		if len(tree) <= 1000 { // writing more takes too long
			dir = t.TempDir()
			writeTree(t, dir, tree)
		}
		for name, want := range v.CID {
			t.Run(v.Name+"/"+name, func(t *testing.T) {
				p, err := ProfileByName(name)
				if err != nil {
					t.Fatal(err)
				}
				r, err := ImportFS(t.Context(), discardPutter{}, tree, Options{Profile: p})
				if err != nil {
					t.Fatal(err)
				}
				if r.CID.String() != want {
					t.Errorf("from an fs.FS: got %s, want %s", r.CID, want)
				}
				if dir == "" {
					return
				}
				r, err = ImportPath(t.Context(), discardPutter{}, dir, Options{Profile: p})
				if err != nil {
					t.Fatal(err)
				}
				if r.CID.String() != want {
					t.Errorf("from disk: got %s, want %s", r.CID, want)
				}
			})
		}
	}
}

// writeTree writes a tree to disk.
func writeTree(t testing.TB, dir string, tree fstest.MapFS) {
	t.Helper()
	for name, f := range tree {
		full := filepath.Join(dir, filepath.FromSlash(name))
		err := os.MkdirAll(filepath.Join(dir, filepath.FromSlash(path.Dir(name))), 0o755)
		switch {
		case err != nil:
		case f.Mode.IsDir():
			err = os.MkdirAll(full, 0o755)
		case f.Mode&fs.ModeSymlink != 0:
			err = os.Symlink(string(f.Data), full)
		default:
			err = os.WriteFile(full, f.Data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
