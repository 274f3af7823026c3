package unixfs

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
)

// makeRandomFile makes a file of random bytes.
func makeRandomFile(b *testing.B, size int64) string {
	b.Helper()
	name := filepath.Join(b.TempDir(), "random")
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.CopyN(f, rand.Reader, size); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return name
}

// An appendPutter appends blocks to a file, as a store does.
type appendPutter struct{ f *os.File }

var _ Releaser = appendPutter{}

func newAppendPutter(b *testing.B) appendPutter {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "blocks"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	return appendPutter{f}
}

func (appendPutter) ReleasesBlocks() bool { return true }

func (a appendPutter) Put(_ context.Context, blocks ...block.Block) error {
	for _, blk := range blocks {
		if _, err := a.f.Write(blk.Data()); err != nil {
			return err
		}
	}
	return nil
}

// reset empties the file.
func (a appendPutter) reset(b *testing.B) {
	b.Helper()
	if err := a.f.Truncate(0); err != nil {
		b.Fatal(err)
	}
	if _, err := a.f.Seek(0, io.SeekStart); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkFile imports a file of 256 MiB in the page cache, beside its
// yardstick: one goroutine reads pieces of 1 MiB into reused memory, one per core
// hashes them, and one appends them to a file, or drops them.
func BenchmarkFile(b *testing.B) {
	const size = 256 << 20
	name := makeRandomFile(b, size)
	file := newAppendPutter(b)
	run := func(what string, once func(b *testing.B, f *os.File)) {
		b.Run(what, func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				f, err := os.Open(name)
				if err != nil {
					b.Fatal(err)
				}
				file.reset(b)
				once(b, f)
				f.Close()
			}
		})
	}
	imported := func(put block.Putter, p Profile) func(*testing.B, *os.File) {
		return func(b *testing.B, f *os.File) {
			if _, err := Import(b.Context(), put, f, Options{Profile: p}); err != nil {
				b.Fatal(err)
			}
		}
	}
	run("hash/plain loop", func(b *testing.B, f *os.File) { runYardstick(b, f, io.Discard) })
	run("hash/v1", imported(releasingPutter{}, V1Profile()))
	run("hash/v0", imported(releasingPutter{}, V0Profile()))
	run("hash/v1, blocks kept", imported(discardPutter{}, V1Profile()))
	run("hash/v0, blocks kept", imported(discardPutter{}, V0Profile()))
	run("hash/v1, a stream", func(b *testing.B, f *os.File) {
		if _, err := Import(b.Context(), releasingPutter{}, struct{ io.Reader }{f}, Options{}); err != nil {
			b.Fatal(err)
		}
	})
	run("append/plain loop", func(b *testing.B, f *os.File) { runYardstick(b, f, file.f) })
	run("append/v1", imported(file, V1Profile()))
	run("append/v1, blocks kept", imported(struct{ block.Putter }{file}, V1Profile()))
}

// runYardstick runs the yardstick of BenchmarkFile.
func runYardstick(b *testing.B, from io.Reader, to io.Writer) {
	type piece struct {
		data   []byte
		hashed chan struct{}
	}
	cores := runtime.GOMAXPROCS(0)
	free := make(chan *piece, 2*cores+2)
	for range cap(free) {
		free <- &piece{data: make([]byte, 1<<20), hashed: make(chan struct{}, 1)}
	}
	full, ordered := make(chan *piece, cap(free)), make(chan *piece, cap(free))
	var running sync.WaitGroup
	for range cores {
		running.Go(func() {
			for p := range full {
				sha256.Sum256(p.data)
				p.hashed <- struct{}{}
			}
		})
	}
	running.Go(func() {
		for p := range ordered {
			<-p.hashed
			if _, err := to.Write(p.data); err != nil {
				b.Error(err)
			}
			free <- p
		}
	})
	for {
		p := <-free
		if _, err := io.ReadFull(from, p.data); err == io.EOF {
			break
		} else if err != nil {
			b.Fatal(err)
		}
		full <- p
		ordered <- p
	}
	close(full)
	close(ordered)
	running.Wait()
}

// BenchmarkTree imports the source tree of Go, beside its yardstick: a walk
// that reads one file after another, hashes it and appends it to a file.
func BenchmarkTree(b *testing.B) {
	root := findGoSource(b)
	file := newAppendPutter(b)
	run := func(what string, once func(b *testing.B) error) {
		b.Run(what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				file.reset(b)
				if err := once(b); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("plain loop", func(b *testing.B) error {
		return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sha256.Sum256(data)
			_, err = file.f.Write(data)
			return err
		})
	})
	run("ImportPath", func(b *testing.B) error {
		_, err := ImportPath(b.Context(), file, root, Options{})
		return err
	})
	run("ImportFS", func(b *testing.B) error {
		_, err := ImportFS(b.Context(), file, os.DirFS(root), Options{})
		return err
	})
}

// BenchmarkRead reads a file of 64 MiB from blocks in memory, beside a copy of
// the same bytes.
func BenchmarkRead(b *testing.B) {
	const size = 64 << 20
	data := readVectorStream(b, "read", size)
	m := newMemoryStore()
	r, err := Import(b.Context(), m, bytes.NewReader(data), Options{})
	if err != nil {
		b.Fatal(err)
	}
	into := make([]byte, 256<<10)
	b.Run("copy", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{bytes.NewReader(data)}, into); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Read", func(b *testing.B) {
		b.SetBytes(size)
		b.ReportAllocs()
		for b.Loop() {
			f, err := Open(b.Context(), m, r.CID)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, into); err != nil {
				b.Fatal(err)
			}
			f.Close()
		}
	})
}

// findGoSource returns the source tree of the Go toolchain that runs the tests.
func findGoSource(b *testing.B) string {
	b.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		b.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "src")
}
