package car

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/multiformats/go-multicodec"
	"github.com/multiformats/go-multihash"
	"github.com/multiformats/go-varint"

	"github.com/cairn-ipfs/cairn/block"
)

// IndexCodec is the multicodec of the index format written and read here,
// MultihashIndexSorted.
const IndexCodec = uint64(multicodec.CarMultihashIndexSorted)

// An IndexEntry says where the section of a block begins.
type IndexEntry struct {
	Hash   multihash.Multihash
	Offset uint64 // in bytes from the start of the CARv1 data
}

// A record is an entry as it stands in the index: under the hash function's code
// and the digest's length.
type record struct {
	code   uint64
	digest []byte
	offset uint64
}

func compareRecords(a, b record) int {
	return cmp.Or(
		cmp.Compare(a.code, b.code),
		cmp.Compare(len(a.digest), len(b.digest)),
		bytes.Compare(a.digest, b.digest),
		cmp.Compare(a.offset, b.offset))
}

// offsetSize is the size in bytes of a record's offset.
const offsetSize = 8

// WriteIndex writes an index of the entries, in MultihashIndexSorted with its
// leading codec (spec: carv2, "Format 0x0401"), and returns the number of
// bytes written. The entries may come in any order, and a multihash more than
// once; they aren't changed. It fails with block.ErrMalformed for a malformed
// multihash, and as w does.
//
// The index is a list by hash function, in the order of their codes, of lists
// by length of the digest, ascending, of records in the order of the digests.
// Integers are little-endian.
func WriteIndex(w io.Writer, entries []IndexEntry) (int64, error) {
	records := make([]record, len(entries))
	for i, e := range entries {
		code, n, err := varint.FromUvarint(e.Hash)
		if err != nil {
			return 0, fmt.Errorf("car: index: multihash %x: %w: %w", []byte(e.Hash), block.ErrMalformed, err)
		}
		length, m, err := varint.FromUvarint(e.Hash[n:])
		if err != nil || length != uint64(len(e.Hash)-n-m) {
			return 0, fmt.Errorf("car: index: multihash %x: %w", []byte(e.Hash), block.ErrMalformed)
		}
		records[i] = record{code, e.Hash[n+m:], e.Offset}
	}
	slices.SortFunc(records, compareRecords)

	var written int64
	buf := bufio.NewWriterSize(w, 64<<10)
	var scratch []byte
	flush := func() error {
		n, err := buf.Write(scratch)
		written += int64(n)
		scratch = scratch[:0]
		return err
	}
	sameCode := func(a, b record) bool { return a.code == b.code }
	sameLength := func(a, b record) bool { return len(a.digest) == len(b.digest) }

	scratch = binary.AppendUvarint(scratch, IndexCodec)
	scratch = binary.LittleEndian.AppendUint32(scratch, countRuns(records, sameCode))
	for codes := records; len(codes) > 0; {
		lengths := codes[:run(codes, sameCode)]
		codes = codes[len(lengths):]
		scratch = binary.LittleEndian.AppendUint64(scratch, lengths[0].code)
		scratch = binary.LittleEndian.AppendUint32(scratch, countRuns(lengths, sameLength))
		for len(lengths) > 0 {
			bucket := lengths[:run(lengths, sameLength)]
			lengths = lengths[len(bucket):]
			width := len(bucket[0].digest) + offsetSize
			scratch = binary.LittleEndian.AppendUint32(scratch, uint32(width))
			scratch = binary.LittleEndian.AppendUint64(scratch, uint64(width)*uint64(len(bucket)))
			for _, r := range bucket {
				scratch = append(scratch, r.digest...)
				scratch = binary.LittleEndian.AppendUint64(scratch, r.offset)
				if err := flush(); err != nil {
					return written, fmt.Errorf("car: write index: %w", err)
				}
			}
		}
	}
	if err := flush(); err != nil {
		return written, fmt.Errorf("car: write index: %w", err)
	}
	if err := buf.Flush(); err != nil {
		return written - int64(buf.Buffered()), fmt.Errorf("car: write index: %w", err)
	}
	return written, nil
}

// run returns the number of records at the start of r, which isn't empty, that
// are the same as the first.
func run(r []record, same func(a, b record) bool) int {
	n := 1
	for n < len(r) && same(r[0], r[n]) {
		n++
	}
	return n
}

func countRuns(r []record, same func(a, b record) bool) uint32 {
	var n uint32
	for len(r) > 0 {
		n++
		r = r[run(r, same):]
	}
	return n
}

// indexChunk is the bytes of records that ReadIndex reads at a time, so that a
// declared length alone allocates no more.
const indexChunk = 64 << 10

// ReadIndex reads an index in MultihashIndexSorted with its leading codec, up to
// its end and not beyond. Memory is bounded by the bytes read, not by what the
// index declares. The entries come in the index's order. Neither the order nor the
// offsets are checked.
//
// Errors: block.ErrUnknownCodec for another index format; block.ErrMalformed;
// block.ErrTooLarge for more than maxEntries entries or a digest over
// block.MaxDigest; io.ErrUnexpectedEOF if r ends early; and as r does.
func ReadIndex(r io.Reader, maxEntries int) ([]IndexEntry, error) {
	d := indexReader{r: r, left: maxEntries}
	if err := d.index(); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("car: read index: %w", err)
	}
	return d.entries, nil
}

type indexReader struct {
	r       io.Reader
	left    int // entries still allowed
	entries []IndexEntry
	buf     [indexChunk]byte
}

func (d *indexReader) take(n int) ([]byte, error) {
	_, err := io.ReadFull(d.r, d.buf[:n])
	return d.buf[:n], err
}

// count reads the number of items of a list: an int32 that isn't negative.
func (d *indexReader) count() (int, error) {
	p, err := d.take(4)
	if err != nil {
		return 0, err
	}
	n := int32(binary.LittleEndian.Uint32(p))
	if n < 0 {
		return 0, fmt.Errorf("%w: a list of %d items", block.ErrMalformed, n)
	}
	return int(n), nil
}

func (d *indexReader) index() error {
	p, err := d.take(2)
	if err != nil {
		return err
	}
	if codec, n := binary.Uvarint(p); codec != IndexCodec || n != 2 {
		return fmt.Errorf("%w: index begins with 0x%x, not with 0x%x", block.ErrUnknownCodec, p, IndexCodec)
	}
	codes, err := d.count()
	if err != nil {
		return err
	}
	for range codes {
		p, err := d.take(8)
		if err != nil {
			return err
		}
		code := binary.LittleEndian.Uint64(p)
		if code > varint.MaxValueUvarint63 {
			return fmt.Errorf("%w: hash function 0x%x", block.ErrMalformed, code)
		}
		lengths, err := d.count()
		if err != nil {
			return err
		}
		for range lengths {
			if err := d.bucket(code); err != nil {
				return err
			}
		}
	}
	return nil
}

// bucket reads the records of one hash function and digest length.
func (d *indexReader) bucket(code uint64) error {
	p, err := d.take(12)
	if err != nil {
		return err
	}
	width := int64(binary.LittleEndian.Uint32(p))
	size := binary.LittleEndian.Uint64(p[4:])
	switch {
	case width < offsetSize:
		return fmt.Errorf("%w: records of %d bytes", block.ErrMalformed, width)
	case width > offsetSize+block.MaxDigest:
		return fmt.Errorf("digest of %d bytes: %w (the limit is %d)", width-offsetSize, block.ErrTooLarge, block.MaxDigest)
	case size%uint64(width) != 0:
		return fmt.Errorf("%w: %d bytes of records of %d bytes each", block.ErrMalformed, size, width)
	case size/uint64(width) > uint64(d.left):
		return fmt.Errorf("%d index entries: %w", size/uint64(width), block.ErrTooLarge)
	}
	left := int(size / uint64(width))
	d.left -= left

	digestSize := int(width) - offsetSize
	prefix := binary.AppendUvarint(nil, code)
	prefix = binary.AppendUvarint(prefix, uint64(digestSize))
	perChunk := indexChunk / int(width)
	for left > 0 {
		n := min(left, perChunk)
		left -= n
		p, err := d.take(n * int(width))
		if err != nil {
			return err
		}
		// One allocation holds all hashes of the chunk.
		hashes := make([]byte, 0, n*(len(prefix)+digestSize))
		d.entries = slices.Grow(d.entries, n)
		for ; len(p) > 0; p = p[width:] {
			start := len(hashes)
			hashes = append(append(hashes, prefix...), p[:digestSize]...)
			d.entries = append(d.entries, IndexEntry{
				Hash:   hashes[start:len(hashes):len(hashes)],
				Offset: binary.LittleEndian.Uint64(p[digestSize:]),
			})
		}
	}
	return nil
}
