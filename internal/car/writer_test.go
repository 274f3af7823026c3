package car_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/car"
)

// A CARv2 may begin anywhere in a file; its offsets count from its own start.
func TestWriterV2InFile(t *testing.T) {
	blocks := testBlocks(t)
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("before"); err != nil {
		t.Fatal(err)
	}
	w, err := car.NewWriterV2(f, cids(blocks)[:1])
	if err != nil {
		t.Fatalf("NewWriterV2: %v", err)
	}
	for _, b := range blocks {
		if err := w.Put(b); err != nil {
			t.Fatalf("Put: %v", err)
		}
	}
	for range 2 { // closing it twice is no error
		if err := w.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	if err := w.Put(blocks[0]); err == nil {
		t.Error("Put after Close: got no error")
	}
	if _, err := f.WriteString("after"); err != nil {
		t.Fatal(err)
	}
	p, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	p, okBefore := bytes.CutPrefix(p, []byte("before"))
	p, okAfter := bytes.CutSuffix(p, []byte("after"))
	if !okBefore || !okAfter {
		t.Error("what is around the CAR was overwritten, or not put behind it")
	}
	// The index has all but the identity CIDs.
	indexed := slices.DeleteFunc(slices.Clone(blocks), func(b block.Block) bool { return block.IsIdentity(b.CID()) })
	checkIndex(t, p, indexed)
	if whole := writeV2(t, cids(blocks)[:1], blocks, true); !bytes.Equal(p, whole) {
		t.Errorf("got a CAR of %d bytes, want the same as at the start of a file, %d bytes", len(p), len(whole))
	}
}

// A CARv2 whose writing failed stays open, so that its whole sections can be read.
func TestWriterV2Error(t *testing.T) {
	blocks := testBlocks(t)
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	full := &fullFile{File: f, limitedWriter: limitedWriter{left: 3000}}
	w, err := car.NewWriterV2(full, nil)
	if err != nil {
		t.Fatalf("NewWriterV2: %v", err)
	}
	var put int
	for _, b := range blocks {
		if err = w.Put(b); err != nil {
			break
		}
		put++
	}
	if !errors.Is(err, errFull) {
		t.Fatalf("Put: got %v, want errFull", err)
	}
	full.left = 1 << 20
	if err := w.Close(); !errors.Is(err, errFull) {
		t.Errorf("Close: got %v, want errFull", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	r, err := car.NewReader(f)
	if err != nil {
		t.Fatalf("NewReader: %v", err)
	}
	got, err := readAll(r)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read: got %v, want ErrUnexpectedEOF", err)
	}
	sameBlocks(t, got, blocks[:put])
	if put < 3 {
		t.Errorf("%d blocks were put before the disk was full, want a few", put)
	}
	for _, left := range []int{0, 60} {
		if _, err := car.NewWriterV2(&fullFile{File: f, limitedWriter: limitedWriter{left: left}}, nil); !errors.Is(err, errFull) {
			t.Errorf("NewWriterV2 on a disk of %d bytes: got %v, want errFull", left, err)
		}
	}
}

// A fullFile is a file on a disk that is full after a number of bytes.
type fullFile struct {
	*os.File
	limitedWriter
}

func (f *fullFile) Write(p []byte) (int, error) {
	n, errFull := f.limitedWriter.Write(p)
	n, err := f.File.Write(p[:n])
	return n, errors.Join(err, errFull)
}
