package pack

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/car"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// FuzzScan reads arbitrary bytes as a pack. Sections lie within its bounds and match
// the bytes; everything else is an error.
func FuzzScan(f *testing.F) {
	seed := newFixture(f, vfs.NewMem())
	w, err := seed.Create(1)
	seed.ok(err)
	places := seed.append(w, seed.blocksOf(0, 5, 30)...)
	add := func(id ID) {
		size, err := seed.Size(id)
		seed.ok(err)
		p := make([]byte, size)
		seed.ok(seed.ReadAt(id, p, 0))
		f.Add(p)
		f.Add(p[:len(p)/2])
	}
	add(1)
	end := w.End()
	seed.ok(w.Close())
	seed.ok(seed.Cut(1, places[1].end()))
	add(1)
	_, err = seed.SealAt(1, end)
	seed.ok(err)
	add(1)
	f.Add([]byte{})
	f.Add(car.AppendPragma(nil))

	f.Fuzz(func(t *testing.T, data []byte) {
		d := newFixture(t, vfs.NewMem())
		file, err := d.fs.Create(d.Path(1), category)
		d.ok(err)
		_, err = file.Write(bytes.Clone(data)) // which Write may change
		d.ok(err)
		d.ok(file.Close())
		size := int64(len(data))
		end, index, sealed, err := d.Sealed(1)
		if err == nil && sealed && (end < Start || index != 0 && index < end) {
			t.Fatalf("sealed with end %d and index %d", end, index)
		}
		if err != nil || !sealed || end > size {
			end = size
		}
		d.walk(data, Start, end)
		d.walk(data, Start, size+1<<40)
		entries, err := d.Entries(1)
		if err == nil && int64(len(entries)) > size/8 {
			t.Fatalf("%d entries in a file of %d bytes", len(entries), size)
		}
		for _, e := range entries {
			if at := int64(e.Offset); at >= 0 {
				d.walk(data, at, end)
			}
		}
		if mark := min(max(Start, size/2), size); mark >= Start {
			sealedSize, err := d.SealAt(1, mark)
			if err != nil {
				return
			}
			n := d.walk(nil, Start, mark)
			entries, err := d.Entries(1)
			if err != nil || len(entries) != n {
				t.Fatalf("sealed at %d with %d sections: the index has %d, %v", mark, n, len(entries), err)
			}
			if got, err := d.Size(1); err != nil || got != sealedSize {
				t.Fatalf("sealed to %d bytes, and the file has %d, %v", sealedSize, got, err)
			}
		}
	})
}

// walk walks sections, twice, and checks them against the file's bytes. It returns
// their number.
func (f fixture) walk(data []byte, from, to int64) int {
	f.Helper()
	known := func(err error) {
		f.Helper()
		if !errors.Is(err, block.ErrMalformed) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, block.ErrTooLarge) && !errors.Is(err, block.ErrHashRefused) {
			f.Fatalf("got error %v, want one that says what is wrong with the bytes", err)
		}
	}
	n, at := 0, from
	for sec, err := range f.Sections(1, from, to) {
		if err != nil {
			known(err)
			continue
		}
		if sec.Offset != at || sec.Head <= 0 || sec.Size < 0 || sec.Size > block.MaxSize || sec.End() > to {
			f.Fatalf("got section %+v at %d", sec, at)
		}
		at = sec.End()
		n++
	}
	scanned := 0
	for sec, err := range f.Scan(1, from, to) {
		if err != nil {
			if !errors.Is(err, block.ErrHashMismatch) {
				known(err)
			}
			if sec.Offset == 0 {
				continue
			}
		}
		scanned++
		if err != nil {
			continue
		}
		if data != nil && !bytes.Equal(sec.Block.Data(), data[sec.Offset+int64(sec.Head):sec.End()]) {
			f.Fatalf("the block at %d has other bytes than the file", sec.Offset)
		}
		if _, err := block.Verify(sec.CID, sec.Block.Data()); err != nil {
			f.Fatalf("the block at %d: %v", sec.Offset, err)
		}
	}
	if scanned > n {
		f.Fatalf("%d sections were scanned of %d", scanned, n)
	}
	return n
}
