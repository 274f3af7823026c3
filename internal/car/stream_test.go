package car_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/ipfs/go-cid"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/car"
)

func writeV1(t testing.TB, roots []cid.Cid, blocks []block.Block) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := car.NewWriter(&buf, roots)
	if err != nil {
		t.Fatalf("NewWriter: %v", err)
	}
	for _, b := range blocks {
		if err := w.Put(b); err != nil {
			t.Fatalf("Put: %v", err)
		}
	}
	return buf.Bytes()
}

// writeV2 writes a CARv2 to a file and returns its content, after or before Close.
func writeV2(t testing.TB, roots []cid.Cid, blocks []block.Block, closed bool) []byte {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "v2.car"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := car.NewWriterV2(f, roots)
	if err != nil {
		t.Fatalf("NewWriterV2: %v", err)
	}
	for _, b := range blocks {
		if err := w.Put(b); err != nil {
			t.Fatalf("Put: %v", err)
		}
	}
	if closed {
		if err := w.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	p, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wrap makes a CARv2 from CARv1 data, without an index.
func wrap(v1 []byte, padding, size int) []byte {
	h := car.HeaderV2{DataOffset: uint64(car.DataOffset + padding), DataSize: uint64(size)}
	p := h.Append(car.AppendPragma(nil))
	p = append(p, make([]byte, padding)...)
	return append(p, v1...)
}

func readAll(r *car.Reader) ([]block.Block, error) {
	var blocks []block.Block
	for b, err := range r.Blocks() {
		if err != nil {
			return blocks, err
		}
		blocks = append(blocks, b)
	}
	return blocks, nil
}

func TestRoundTrip(t *testing.T) {
	blocks := testBlocks(t)
	v1 := writeV1(t, cids(blocks)[:3], blocks)
	for _, tt := range []struct {
		name    string
		p       []byte
		version int
	}{
		{"v1", v1, 1},
		{"v2", writeV2(t, cids(blocks)[:3], blocks, true), 2},
		{"v2 still open", writeV2(t, cids(blocks)[:3], blocks, false), 2},
		{"v2 without index", wrap(v1, 0, len(v1)), 2},
		{"v2 with padding before the data", wrap(v1, 100_000, len(v1)), 2},
		{"v2 with padding after the data", append(wrap(v1, 7, len(v1)), 0, 0, 0, 0), 2},
	} {
		for name, reader := range map[string]io.Reader{
			"":                     bytes.NewReader(tt.p),
			" byte by byte":        iotest.OneByteReader(bytes.NewReader(tt.p)),
			" with data and error": iotest.DataErrReader(bytes.NewReader(tt.p)),
			" in halves":           iotest.HalfReader(bytes.NewReader(tt.p)),
		} {
			t.Run(tt.name+name, func(t *testing.T) {
				r, err := car.NewReader(reader)
				if err != nil {
					t.Fatalf("NewReader: %v", err)
				}
				if r.Version() != tt.version {
					t.Errorf("Version: got %d, want %d", r.Version(), tt.version)
				}
				if got, want := r.Roots(), cids(blocks)[:3]; !slices.Equal(got, want) {
					t.Errorf("Roots: got %v, want %v", got, want)
				}
				got, err := readAll(r)
				if err != nil {
					t.Fatalf("read: %v", err)
				}
				sameBlocks(t, got, blocks)
				if _, err := r.Next(); err != io.EOF {
					t.Errorf("Next after the end: got %v, want EOF", err)
				}
			})
		}
	}
}

// A stream that ends inside a section is an error, and the blocks before it are still
// read.
func TestTruncated(t *testing.T) {
	blocks := testBlocks(t)[:9]
	whole := writeV1(t, nil, blocks)
	ends := map[int]int{len(car.AppendHeaderV1(nil, nil)): 0} // clean ends, and the blocks before them
	for i, offset := 0, len(car.AppendHeaderV1(nil, nil)); i < len(blocks); i++ {
		offset += len(car.AppendSection(nil, blocks[i].CID(), blocks[i].Size())) + blocks[i].Size()
		ends[offset] = i + 1
	}
	read := 0
	for n := range len(whole) + 1 {
		count, clean := ends[n]
		if clean {
			read = count
		}
		if n > 2000 && n%61 != 0 && !clean {
			continue
		}
		r, err := car.NewReader(bytes.NewReader(whole[:n]))
		if n < len(car.AppendHeaderV1(nil, nil)) {
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("header, %d bytes: got %v, want ErrUnexpectedEOF", n, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		got, err := readAll(r)
		if clean && err != nil || !clean && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes: got %v, clean: %v", n, err, clean)
		}
		if len(got) != read {
			t.Errorf("%d bytes: got %d blocks, want %d", n, len(got), read)
		}
	}
}

func TestReaderRefused(t *testing.T) {
	blocks := testBlocks(t)[:3]
	v1 := writeV1(t, cids(blocks), blocks)
	empty := car.AppendHeaderV1(nil, nil)
	flipped := slices.Clone(v1)
	flipped[len(flipped)-1] ^= 1
	header := func(s string) []byte { return append(uvarint(uint64(len(s))), s...) }
	md5Root := "\xd8\x2a\x56\x00\x01\x55\xd5\x01\x10" + "0123456789abcdef"
	for _, tt := range []struct {
		name string
		p    []byte
		want error
	}{
		{"nothing", nil, io.ErrUnexpectedEOF},
		{"no CAR", []byte("GIF89a, a picture"), io.ErrUnexpectedEOF},
		{"a page of HTML", bytes.Repeat([]byte("<!DOCTYPE html>"), 10), block.ErrMalformed},
		{"header of length zero", []byte{0}, block.ErrMalformed},
		{"header's length not minimal", []byte{0x80, 0}, block.ErrMalformed},
		{"header of 2 MiB", uvarint(2 << 20), block.ErrTooLarge},
		{"header of 1 MiB, missing", uvarint(1 << 20), io.ErrUnexpectedEOF},
		{"header, more after it", header(string(empty[1:]) + "x"), block.ErrMalformed},
		{"no version", header("\xa1\x65roots\x80"), block.ErrMalformed},
		{"no roots", header("\xa1\x67version\x01"), block.ErrMalformed},
		{"version 3", header("\xa2\x65roots\x80\x67version\x03"), block.ErrMalformed},
		{"version twice", header("\xa3\x65roots\x80\x67version\x01\x67version\x01"), block.ErrMalformed},
		{"an unknown key", header("\xa3\x61a\x80\x65roots\x80\x67version\x01"), block.ErrMalformed},
		{"a map of unknown length", header("\xbf\x65roots\x80\x67version\x01\xff"), block.ErrMalformed},
		{"a million roots declared", header("\xa2\x65roots\x9a\x00\x0f\x42\x40"), block.ErrTooLarge},
		{"ten roots declared", header("\xa2\x65roots\x8a"), block.ErrMalformed},
		{"a root of huge length", header("\xa2\x65roots\x81\xd8\x2a\x5b\xff\xff\xff\xff\xff\xff\xff\xff"), block.ErrMalformed},
		{"a root that is text", header("\xa2\x65roots\x81\x61a\x67version\x01"), block.ErrMalformed},
		{"a root of another tag", header("\xa2\x65roots\x81\xd8\x2b\x45\x00\x01\x55\x00\x00\x67version\x01"), block.ErrMalformed},
		{"a root without prefix", header("\xa2\x65roots\x81\xd8\x2a\x44\x01\x55\x00\x00\x67version\x01"), block.ErrMalformed},
		{"a root with a byte too many", header("\xa2\x65roots\x81\xd8\x2a\x46\x00\x01\x55\x00\x00x\x67version\x01"), block.ErrMalformed},
		{"a root of md5", header("\xa2\x65roots\x81" + md5Root + "\x67version\x01"), block.ErrHashRefused},
		{"zero-length section", append(slices.Clone(v1), 0), block.ErrMalformed},
		{"a bit flipped", flipped, block.ErrHashMismatch},
		{"section of 1 GiB", append(slices.Clone(v1), uvarint(1<<30)...), block.ErrTooLarge},
		{"v2, roots in the pragma", header("\xa2\x65roots\x80\x67version\x02"), block.ErrMalformed},
		{"v2, pragma alone", car.AppendPragma(nil), io.ErrUnexpectedEOF},
		{"v2, pragma of another length", append(header("\xa1\x67version\x18\x02"), wrap(v1, 0, len(v1))[11:]...), block.ErrMalformed},
		{"v2, header without data", wrap(nil, 0, 100), io.ErrUnexpectedEOF},
		{"v2, padding missing", wrap(nil, 100, 100)[:100], io.ErrUnexpectedEOF},
		{"v2, size zero", wrap(v1, 0, 0), block.ErrMalformed},
		{"v2, a v2 inside", wrap(wrap(v1, 0, len(v1)), 0, len(v1)+51), block.ErrMalformed},
		{"v2, a v2's pragma inside", wrap(car.AppendPragma(nil), 0, car.PragmaSize), block.ErrMalformed},
		{"v2, data end in the header", wrap(v1, 0, 10), block.ErrMalformed},
		{"v2, data end in a section", wrap(v1, 0, len(v1)-1), block.ErrMalformed},
		{"v2, data end in a section's head", wrap(v1, 0, len(v1)-100), io.ErrUnexpectedEOF},
		{"v2, data missing", wrap(v1, 0, len(v1)+1), io.ErrUnexpectedEOF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := car.NewReader(bytes.NewReader(tt.p))
			if err == nil {
				_, err = readAll(r)
				if _, again := r.Next(); again != err {
					t.Errorf("Next again: got %v, want %v", again, err)
				}
			}
			if !errors.Is(err, tt.want) || errors.Is(err, io.EOF) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestReaderUnderlyingError(t *testing.T) {
	blocks := testBlocks(t)
	p := writeV1(t, nil, blocks)
	broken := errors.New("connection reset")
	for _, n := range []int{0, 5, 100, len(p) - block.MaxSize, len(p) - 1, len(p)} {
		r, err := car.NewReader(io.MultiReader(bytes.NewReader(p[:n]), iotest.ErrReader(broken)))
		if err == nil {
			_, err = readAll(r)
		}
		if !errors.Is(err, broken) {
			t.Errorf("broken after %d bytes: got %v, want %v", n, err, broken)
		}
	}
}

func TestZeroIsEnd(t *testing.T) {
	blocks := testBlocks(t)[:3]
	v1 := append(writeV1(t, nil, blocks), make([]byte, 1000)...)
	for name, p := range map[string][]byte{"v1": v1, "v2": wrap(v1, 0, len(v1)), "open v2": wrap(v1, 0, car.OpenDataSize)} {
		r, err := car.NewReader(bytes.NewReader(p))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r.ZeroIsEnd = true
		got, err := readAll(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		sameBlocks(t, got, blocks)
	}
}

// Keys in the order of old writers, and integers that aren't minimal.
func TestHeaderVariants(t *testing.T) {
	for name, s := range map[string]string{
		"version first": "\xa2\x67version\x01\x65roots\x81\xd8\x2a\x45\x00\x01\x55\x00\x00",
		"long integers": "\xb9\x00\x02\x78\x05roots\x98\x01\xd9\x00\x2a\x59\x00\x05\x00\x01\x55\x00\x00\x67version\x18\x01",
	} {
		r, err := car.NewReader(bytes.NewReader(append(uvarint(uint64(len(s))), s...)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := r.Roots(); len(got) != 1 || got[0].String() != "bafkqaaa" {
			t.Errorf("%s: got roots %v, want bafkqaaa", name, got)
		}
	}
}

func TestManyRoots(t *testing.T) {
	root := testBlocks(t)[1].CID()
	roots := slices.Repeat([]cid.Cid{root}, car.MaxRoots)
	p := writeV1(t, roots, nil)
	r, err := car.NewReader(bytes.NewReader(p))
	if err != nil || !slices.Equal(r.Roots(), roots) {
		t.Errorf("%d roots: got %v, want all", len(roots), err)
	}
	if _, err := car.NewWriter(io.Discard, append(roots, root)); !errors.Is(err, block.ErrTooLarge) {
		t.Errorf("%d roots: got %v, want ErrTooLarge", len(roots)+1, err)
	}
	long := append(uvarint(uint64(len(p)-3)), p[3:]...)
	binary.BigEndian.PutUint16(long[3+8:], car.MaxRoots+1)
	if _, err := car.NewReader(bytes.NewReader(long)); !errors.Is(err, block.ErrTooLarge) {
		t.Errorf("read %d roots: got %v, want ErrTooLarge", len(roots)+1, err)
	}
}

// A writer fails for good: after a failed write nothing more is written.
func TestWriterError(t *testing.T) {
	blocks := testBlocks(t)
	full := &limitedWriter{left: 60}
	w, err := car.NewWriter(full, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Put(blocks[4]); !errors.Is(err, errFull) {
		t.Errorf("Put over the limit: got %v, want errFull", err)
	}
	full.left = 1 << 20
	if err := w.Put(blocks[0]); !errors.Is(err, errFull) {
		t.Errorf("Put after an error: got %v, want errFull", err)
	}
	if _, err := car.NewWriter(&limitedWriter{}, nil); !errors.Is(err, errFull) {
		t.Errorf("NewWriter: got %v, want errFull", err)
	}
}

var errFull = errors.New("disk full")

type limitedWriter struct{ left int }

func (w *limitedWriter) Write(p []byte) (int, error) {
	if len(p) > w.left {
		n := w.left
		w.left = 0
		return n, errFull
	}
	w.left -= len(p)
	return len(p), nil
}

func FuzzReader(f *testing.F) {
	blocks := slices.DeleteFunc(testBlocks(f), func(b block.Block) bool { return b.Size() > 100 })
	v1 := writeV1(f, cids(blocks)[:2], blocks)
	f.Add(v1)
	f.Add(wrap(v1, 10, len(v1)))
	f.Add(writeV2(f, nil, blocks, true))
	f.Add(append(slices.Clone(v1), 0, 0, 0))
	f.Fuzz(func(t *testing.T, p []byte) {
		r, err := car.NewReader(bytes.NewReader(p))
		if err != nil {
			return
		}
		blocks, err := readAll(r)
		if err != nil {
			return
		}
		// A CAR that was read without error can be written and read again.
		again, err := car.NewReader(bytes.NewReader(writeV1(t, r.Roots(), blocks)))
		if err != nil {
			t.Fatalf("written again: %v", err)
		}
		if !slices.Equal(again.Roots(), r.Roots()) {
			t.Errorf("roots: got %v, want %v", again.Roots(), r.Roots())
		}
		got, err := readAll(again)
		if err != nil {
			t.Fatalf("written again: %v", err)
		}
		sameBlocks(t, got, blocks)
	})
}
