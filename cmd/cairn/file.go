package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/cairn-ipfs/cairn/internal/atomicfile"
)

// writeFile writes a file whole or not at all. Unless overwrite is set, an
// existing file stays, and the error wraps fs.ErrExist.
func writeFile(path string, overwrite bool, mode fs.FileMode, write func(*os.File) error) error {
	if !overwrite {
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("write %s: %w", path, fs.ErrExist)
		}
	}
	return atomicfile.Write(path, ".cairn-*", mode, write)
}

// open opens a file for reading; "-" is stdin.
func (a *app) open(ctx context.Context, name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(a.stdin(ctx)), nil
	}
	return os.Open(name)
}

// readFile reads a file, or its first most+1 bytes: a caller that gets more than
// most refuses it.
func (a *app) readFile(ctx context.Context, name string, most int) ([]byte, error) {
	f, err := a.open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, int64(most)+1))
}

// stdin returns the program's input. A read that waits ends with ctx, unless
// the input is a file on disk: its reads don't wait.
func (a *app) stdin(ctx context.Context) io.Reader {
	if f, ok := a.in.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			return f
		}
	}
	var buffer, waiting []byte // waiting has been read, but not returned yet
	return readerFunc(func(dst []byte) (int, error) {
		if len(waiting) == 0 {
			if buffer == nil {
				buffer = make([]byte, stdinBuffer)
			}
			n, err := readUntil(ctx, a.in, buffer)
			if n == 0 && err != nil {
				return 0, err
			}
			waiting = buffer[:n]
		}
		n := copy(dst, waiting)
		waiting = waiting[n:]
		return n, nil
	})
}

// stdinBuffer is how much of stdin is read at once, in bytes: more than a pipe
// holds.
const stdinBuffer = 256 << 10

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// readUntil reads from r until ctx ends. Then it abandons the goroutine that
// reads into p: the program is about to end.
func readUntil(ctx context.Context, r io.Reader, p []byte) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	go func() {
		n, err := r.Read(p)
		done <- result{n, err}
	}()
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case got := <-done:
		return got.n, got.err
	}
}
