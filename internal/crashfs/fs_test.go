package crashfs

import (
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"
)

// TestErrors checks the errors that callers rely on.
func TestErrors(t *testing.T) {
	fs := New(1)
	ok(t, fs.MkdirAll("/d/e", 0o755))
	f := create(t, fs, "f", "x")
	ro, err := fs.Open("f")
	ok(t, err)
	_, writeErr := ro.Write([]byte("x"))
	_, underFile := fs.Create("f/x", "")
	_, overDir := fs.Create("d", "")
	_, noParent := fs.Create("none/x", "")
	_, notDir := fs.OpenDir("f")
	_, listFile := fs.List("f")
	_, root := fs.Create("/", "")
	ok(t, f.Close())
	_, closed := f.Write([]byte("x"))
	for _, c := range []struct {
		name      string
		got, want error
	}{
		{"write to a file opened for reading", writeErr, syscall.EBADF},
		{"create under a file", underFile, syscall.ENOTDIR},
		{"create over a directory", overDir, syscall.EISDIR},
		{"create without a parent", noParent, os.ErrNotExist},
		{"create the root", root, syscall.EINVAL},
		{"open a file as directory", notDir, syscall.ENOTDIR},
		{"list a file", listFile, syscall.ENOTDIR},
		{"remove a full directory", fs.Remove("d"), syscall.ENOTEMPTY},
		{"remove what isn't there", fs.Remove("none"), os.ErrNotExist},
		{"rename what isn't there", fs.Rename("none", "x"), os.ErrNotExist},
		{"rename a file over a directory", fs.Rename("f", "d"), syscall.EISDIR},
		{"rename a directory over a file", fs.Rename("d", "f"), syscall.ENOTDIR},
		{"rename a directory into itself", fs.Rename("d", "d/e/x"), syscall.EINVAL},
		{"link a directory", fs.Link("d", "x"), syscall.EPERM},
		{"make a directory below a file", fs.MkdirAll("f/x", 0o755), syscall.ENOTDIR},
		{"write to a closed file", closed, os.ErrClosed},
		{"close twice", f.Close(), os.ErrClosed},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, c.got, c.want)
		}
	}
}

func TestReading(t *testing.T) {
	fs := New(1)
	f := create(t, fs, "f", "0123456789")
	p := make([]byte, 4)
	if n, err := f.ReadAt(p, 8); n != 2 || err != io.EOF || string(p[:n]) != "89" {
		t.Errorf("at 8: got %d, %v", n, err)
	}
	if n, err := f.ReadAt(p, 20); n != 0 || err != io.EOF {
		t.Errorf("at 20: got %d, %v, want EOF", n, err)
	}
	info, err := f.Stat()
	ok(t, err)
	if info.Name() != "f" || info.Size() != 10 || info.IsDir() {
		t.Errorf("got %s, %d bytes, directory: %t", info.Name(), info.Size(), info.IsDir())
	}
	_, err = f.WriteAt([]byte("x"), 12) // leaves a hole
	ok(t, err)
	expect(t, fs, "/f", "0123456789\x00\x00x")
}

// TestFilesAgainstModel writes, truncates, syncs and crashes at random, and
// compares a file with a plain byte slice, after a crash that keeps all and
// after one that keeps nothing.
func TestFilesAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 3 * page
		fs := New(rapid.Uint64().Draw(t, "seed"))
		var now, synced string
		open := func() *File {
			f, err := fs.OpenReadWrite("f", "")
			if err != nil {
				t.Fatal(err)
			}
			return f.(*File)
		}
		f := open()
		root, err := fs.OpenDir("/")
		if err == nil {
			err = root.Sync()
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				off := rapid.IntRange(0, most).Draw(t, "off")
				p := strings.Repeat(rapid.StringMatching("[a-z]").Draw(t, "byte"), rapid.IntRange(1, page).Draw(t, "n"))
				if _, err := f.WriteAt([]byte(p), int64(off)); err != nil {
					t.Fatal(err)
				}
				if off > len(now) {
					now += strings.Repeat("\x00", off-len(now))
				}
				now = now[:off] + p + now[min(len(now), off+len(p)):]
			},
			"truncate": func(t *rapid.T) {
				size := rapid.IntRange(0, most).Draw(t, "size")
				if err := f.Truncate(int64(size)); err != nil {
					t.Fatal(err)
				}
				now += strings.Repeat("\x00", max(0, size-len(now)))
				now = now[:size]
			},
			"sync": func(t *rapid.T) {
				if err := f.Sync(); err != nil {
					t.Fatal(err)
				}
				synced = now
			},
			"crash": func(t *rapid.T) {
				if rapid.Bool().Draw(t, "keep") {
					fs = fs.CrashKeeping(100)
				} else {
					fs = fs.CrashKeeping(0)
					now = synced
				}
				synced = now
				f = open()
			},
			"": func(t *rapid.T) {
				got := make([]byte, len(now)+1)
				n, err := f.ReadAt(got, 0)
				if err != io.EOF || string(got[:n]) != now {
					t.Fatalf("got %d bytes, %v, want %d, or they differ", n, err, len(now))
				}
			},
		})
	})
}
