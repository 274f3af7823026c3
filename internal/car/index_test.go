package car_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/multiformats/go-multihash"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/car"
)

// randomEntries makes entries of several hash functions and lengths. Each tenth has the
// same multihash as the one before.
func randomEntries(n int) []car.IndexEntry {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	kinds := []struct {
		code uint64
		size int
	}{{0x12, 32}, {0x12, 20}, {0x13, 64}, {0xb220, 32}, {0x1e, 32}, {0x11, 20}}
	var entries []car.IndexEntry
	for i := range n {
		e := car.IndexEntry{Offset: r.Uint64()}
		if i > 0 && i%10 == 0 {
			e.Hash = entries[i-1].Hash
		} else {
			k := kinds[r.IntN(len(kinds))]
			digest := make([]byte, k.size)
			for j := range digest {
				digest[j] = byte(r.Uint32())
			}
			e.Hash, _ = multihash.Encode(digest, k.code)
		}
		entries = append(entries, e)
	}
	return entries
}

func sortEntries(e []car.IndexEntry) []car.IndexEntry {
	e = slices.Clone(e)
	slices.SortFunc(e, func(a, b car.IndexEntry) int {
		return cmp.Or(bytes.Compare(a.Hash, b.Hash), cmp.Compare(a.Offset, b.Offset))
	})
	return e
}

func sameEntries(t *testing.T, got, want []car.IndexEntry) {
	t.Helper()
	same := func(a, b car.IndexEntry) bool { return bytes.Equal(a.Hash, b.Hash) && a.Offset == b.Offset }
	if !slices.EqualFunc(sortEntries(got), sortEntries(want), same) {
		t.Errorf("got %d entries, want %d; or they differ", len(got), len(want))
	}
}

func TestIndexRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 2, 100, 20_000} {
		entries := randomEntries(n)
		before := slices.Clone(entries)
		var buf bytes.Buffer
		written, err := car.WriteIndex(&buf, entries)
		if err != nil || written != int64(buf.Len()) {
			t.Fatalf("%d entries: WriteIndex: got %d, %v, want %d", n, written, err, buf.Len())
		}
		sameEntries(t, entries, before)
		buf.WriteString("what follows")
		for _, r := range []io.Reader{bytes.NewReader(buf.Bytes()), iotest.HalfReader(bytes.NewReader(buf.Bytes()))} {
			got, err := car.ReadIndex(r, n)
			if err != nil {
				t.Fatalf("%d entries: ReadIndex: %v", n, err)
			}
			sameEntries(t, got, entries)
			rest, err := io.ReadAll(r)
			if err != nil || string(rest) != "what follows" {
				t.Errorf("%d entries: ReadIndex left %q, %v", n, rest, err)
			}
		}
		if n > 0 {
			if _, err := car.ReadIndex(&buf, n-1); !errors.Is(err, block.ErrTooLarge) {
				t.Errorf("%d entries where %d may be: got %v, want ErrTooLarge", n, n-1, err)
			}
		}
	}
}

func TestWriteIndexErrors(t *testing.T) {
	for _, hash := range []string{"", "\x12", "\x12\x20short", "\x12\x02abc", "\x92\x00\x00"} {
		entries := []car.IndexEntry{{Hash: multihash.Multihash(hash)}}
		if n, err := car.WriteIndex(io.Discard, entries); n != 0 || !errors.Is(err, block.ErrMalformed) {
			t.Errorf("multihash %x: got %d, %v, want ErrMalformed", hash, n, err)
		}
	}
	for _, left := range []int{0, 10, 100_000} {
		n, err := car.WriteIndex(&limitedWriter{left: left}, randomEntries(5000))
		if !errors.Is(err, errFull) {
			t.Errorf("disk of %d bytes: got %d, %v, want errFull", left, n, err)
		}
	}
}

func TestReadIndexRefused(t *testing.T) {
	le := binary.LittleEndian
	index := func(width uint32, size uint64) []byte {
		p := le.AppendUint32([]byte{0x81, 0x08}, 1) // one hash function
		p = le.AppendUint64(p, 0x12)
		p = le.AppendUint32(p, 1) // one length
		return le.AppendUint64(le.AppendUint32(p, width), size)
	}
	var good bytes.Buffer
	if _, err := car.WriteIndex(&good, randomEntries(3)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		p    []byte
		want error
	}{
		{"nothing", nil, io.ErrUnexpectedEOF},
		{"IndexSorted", []byte{0x80, 0x08, 0, 0, 0, 0}, block.ErrUnknownCodec},
		{"no index", []byte("something else"), block.ErrUnknownCodec},
		{"records of 7 bytes", index(7, 70), block.ErrMalformed},
		{"no whole records", index(40, 41), block.ErrMalformed},
		{"a digest over the limit", index(8+block.MaxDigest+1, 8+block.MaxDigest+1), block.ErrTooLarge},
		{"a width of 4 GiB", index(1<<32-1, 1<<32-1), block.ErrTooLarge},
		{"2^58 records declared", index(32, 1<<63), block.ErrTooLarge},
		{"900 records declared, none there", index(40, 900*40), io.ErrUnexpectedEOF},
		{"hash functions below zero", []byte{0x81, 0x08, 0, 0, 0, 0x80}, block.ErrMalformed},
		{"2^31-1 hash functions declared", []byte{0x81, 0x08, 0xff, 0xff, 0xff, 0x7f}, io.ErrUnexpectedEOF},
		{"lengths below zero", append(le.AppendUint64([]byte{0x81, 0x08, 1, 0, 0, 0}, 0x12), 0, 0, 0, 0x80), block.ErrMalformed},
		{"a hash function over 63 bits", append(le.AppendUint64([]byte{0x81, 0x08, 1, 0, 0, 0}, 1<<63), 0, 0, 0, 0), block.ErrMalformed},
		{"cut in the last record", good.Bytes()[:good.Len()-1], io.ErrUnexpectedEOF},
		{"cut in the first list", good.Bytes()[:20], io.ErrUnexpectedEOF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := car.ReadIndex(bytes.NewReader(tt.p), 1000); !errors.Is(err, tt.want) || errors.Is(err, io.EOF) {
				t.Errorf("got %d entries, %v, want %v", len(got), err, tt.want)
			}
		})
	}
}

func FuzzReadIndex(f *testing.F) {
	for _, n := range []int{0, 1, 5} {
		var buf bytes.Buffer
		if _, err := car.WriteIndex(&buf, randomEntries(n)); err != nil {
			f.Fatal(err)
		}
		f.Add(buf.Bytes())
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		const most = 1000
		entries, err := car.ReadIndex(bytes.NewReader(p), most)
		if err != nil {
			return
		}
		if len(entries) > most || len(entries)*8 > len(p) {
			t.Fatalf("%d entries of %d bytes", len(entries), len(p))
		}
		var buf bytes.Buffer
		if _, err := car.WriteIndex(&buf, entries); err != nil {
			t.Fatalf("write again: %v", err)
		}
		got, err := car.ReadIndex(&buf, most)
		if err != nil {
			t.Fatalf("read again: %v", err)
		}
		sameEntries(t, got, entries)
	})
}
