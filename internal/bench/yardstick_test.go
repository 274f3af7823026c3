package bench_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// newRandomFile makes a file of random bytes. Writing it leaves it in the page cache.
func (s *stage) newRandomFile(size int64) string {
	s.Helper()
	f, err := os.Create(filepath.Join(s.TempDir(), "random"))
	s.check(err)
	_, err = io.CopyN(f, rand.Reader, size)
	s.check(err)
	s.check(f.Sync())
	s.check(f.Close())
	return f.Name()
}

// plainLoop is the yardstick for adding a file: one goroutine reads pieces of 1 MiB,
// one goroutine for each core hashes them, and one appends them to a new file, which
// is synced at the end.
func plainLoop(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()

	type piece struct {
		memory, data []byte
		hashed       chan struct{}
	}
	cores := runtime.GOMAXPROCS(0)
	free := make(chan *piece, 2*cores+2)
	for range cap(free) {
		free <- &piece{memory: make([]byte, 1<<20), hashed: make(chan struct{}, 1)}
	}
	read, ordered := make(chan *piece, cap(free)), make(chan *piece, cap(free))
	var running sync.WaitGroup
	for range cores {
		running.Go(func() {
			for p := range read {
				sha256.Sum256(p.data)
				p.hashed <- struct{}{}
			}
		})
	}
	var writeErr error
	running.Go(func() {
		for p := range ordered {
			<-p.hashed
			if _, err := out.Write(p.data); err != nil && writeErr == nil {
				writeErr = err
			}
			free <- p
		}
	})
	var readErr error
	for readErr == nil {
		p := <-free
		var n int
		if n, readErr = io.ReadFull(in, p.memory); n > 0 {
			p.data = p.memory[:n]
			read <- p
			ordered <- p
		}
	}
	close(read)
	close(ordered)
	running.Wait()
	if readErr == io.EOF || readErr == io.ErrUnexpectedEOF {
		readErr = nil
	}
	return errors.Join(readErr, writeErr, out.Sync())
}

// plainTree is the yardstick for adding a tree: it reads and hashes each file, and
// appends it to one new file, which is synced at the end.
func plainTree(root, to string) (err error) {
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		sha256.Sum256(data)
		_, err = out.Write(data)
		return err
	})
	return errors.Join(err, out.Sync())
}

// TestYardsticks: the yardsticks write the bytes that they read.
func TestYardsticks(t *testing.T) {
	dir := t.TempDir()
	s := &stage{TB: t}
	in, out := s.newRandomFile(2<<20+17), filepath.Join(dir, "out")
	s.check(plainLoop(in, out))
	want, err := os.ReadFile(in)
	s.check(err)
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
		t.Errorf("plainLoop: got %d bytes (%v), want the %d of the file", len(got), err, len(want))
	}
	tree := filepath.Join(dir, "tree")
	s.check(os.MkdirAll(filepath.Join(tree, "a"), 0o755))
	s.check(os.WriteFile(filepath.Join(tree, "a", "b"), []byte("first "), 0o644))
	s.check(os.WriteFile(filepath.Join(tree, "c"), []byte("second"), 0o644))
	s.check(plainTree(tree, out))
	if got, err := os.ReadFile(out); err != nil || string(got) != "first second" {
		t.Errorf("plainTree: got %q (%v), want %q", got, err, "first second")
	}
}
