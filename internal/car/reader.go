package car

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-varint"

	"github.com/cairn-ipfs/cairn/block"
)

// A Reader reads the blocks of a CARv1 or CARv2 from a stream, one after the
// other, and verifies each. The index of a CARv2 is left unread.
type Reader struct {
	// ZeroIsEnd treats a section of length zero as the end of the CAR, as in
	// files that were padded with zeros to a fixed size. Otherwise such a
	// section is an error. Set it before the first Next.
	ZeroIsEnd bool

	r       *bufio.Reader
	version int
	roots   []cid.Cid
	offset  uint64 // of the next section, from the start of the CARv1 data
	size    uint64 // of the CARv1 data; OpenDataSize if they end where r does
	err     error  // that ended the stream
}

// readBuffer is the size of the Reader's buffer. Heads of sections and small
// blocks pass through it; larger blocks are read without it.
const readBuffer = 32 << 10

// NewReader reads the header of a CAR, of either version. Errors:
// block.ErrMalformed (also for a version that is neither 1 nor 2);
// block.ErrTooLarge for a header over MaxHeaderV1 or more than MaxRoots roots;
// block.ErrHashRefused for a root; io.ErrUnexpectedEOF; and as r does.
func NewReader(r io.Reader) (*Reader, error) {
	br := &Reader{r: bufio.NewReaderSize(r, readBuffer), size: OpenDataSize}
	if err := br.readHeaders(); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("car: read header: %w", err)
	}
	return br, nil
}

func (r *Reader) readHeaders() error {
	version, roots, err := r.readHeaderV1()
	if err != nil {
		return err
	}
	r.version, r.roots = int(version), roots
	if version == 1 {
		return nil
	}
	// The header was a CARv2's pragma if it was as long as one.
	if r.offset != PragmaSize {
		return fmt.Errorf("%w: CARv2 with a pragma of %d bytes", block.ErrMalformed, r.offset)
	}
	var p [HeaderV2Size]byte
	if _, err := io.ReadFull(r.r, p[:]); err != nil {
		return err
	}
	h, err := ParseHeaderV2(p[:])
	if err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, r.r, int64(h.DataOffset-DataOffset)); err != nil {
		return err
	}
	r.offset, r.size = 0, h.DataSize
	version, roots, err = r.readHeaderV1()
	if err != nil {
		return err
	}
	if version != 1 {
		return fmt.Errorf("%w: a CARv%d inside a CARv2", block.ErrMalformed, version)
	}
	r.roots = roots
	return nil
}

// readHeaderV1 reads a CARv1 header and sets offset behind it.
func (r *Reader) readHeaderV1() (version uint64, roots []cid.Cid, err error) {
	length, err := varint.ReadUvarint(r.r)
	switch {
	case errors.Is(err, varint.ErrOverflow) || errors.Is(err, varint.ErrNotMinimal):
		return 0, nil, fmt.Errorf("%w: length: %w", block.ErrMalformed, err)
	case err != nil:
		return 0, nil, err
	case length == 0:
		return 0, nil, fmt.Errorf("%w: a header of length zero", block.ErrMalformed)
	case length > MaxHeaderV1:
		return 0, nil, fmt.Errorf("%d bytes: %w (the limit is %d)", length, block.ErrTooLarge, MaxHeaderV1)
	case uint64(varint.UvarintSize(length))+length > r.size:
		return 0, nil, fmt.Errorf("%w: %d bytes, more than the CARv1 data", block.ErrMalformed, length)
	}
	p := make([]byte, length)
	if _, err := io.ReadFull(r.r, p); err != nil {
		return 0, nil, err
	}
	r.offset = uint64(varint.UvarintSize(length)) + length
	return parseHeaderV1(p)
}

// Version is the CAR's version, 1 or 2.
func (r *Reader) Version() int { return r.version }

// Roots returns the roots in the CAR's header. There may be none, and their blocks
// need not be in the CAR.
func (r *Reader) Roots() []cid.Cid { return slices.Clone(r.roots) }

// Next returns the next block, verified. At the end, which is always between two
// sections, it returns io.EOF. All other errors name the section's offset and are
// final, too: block.ErrHashMismatch; those of ParseSection; io.ErrUnexpectedEOF if
// the stream ends inside a section, or before the size that a CARv2 declares; and
// those of the underlying reader.
func (r *Reader) Next() (block.Block, error) {
	if r.err != nil {
		return block.Block{}, r.err
	}
	b, err := r.next()
	if err != nil && err != io.EOF {
		err = fmt.Errorf("car: section at %d: %w", r.offset, err)
	}
	r.err = err
	return b, err
}

func (r *Reader) next() (block.Block, error) {
	left := r.size - r.offset
	if left == 0 {
		return block.Block{}, io.EOF
	}
	p, err := r.r.Peek(int(min(MaxSectionHead, left)))
	if err != nil && err != io.EOF {
		return block.Block{}, err
	}
	if len(p) == 0 {
		if r.size == OpenDataSize {
			return block.Block{}, io.EOF
		}
		return block.Block{}, fmt.Errorf("%d bytes missing: %w", left, io.ErrUnexpectedEOF)
	}
	if p[0] == 0 && r.ZeroIsEnd {
		return block.Block{}, io.EOF
	}
	c, head, size, err := ParseSection(p)
	if err != nil {
		return block.Block{}, err
	}
	if uint64(head+size) > left {
		return block.Block{}, fmt.Errorf("%w: %d bytes, but the data end after %d", block.ErrMalformed, head+size, left)
	}
	if _, err := r.r.Discard(head); err != nil {
		return block.Block{}, err
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(r.r, data); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return block.Block{}, err
	}
	b, err := block.Verify(c, data)
	if err != nil {
		return block.Block{}, err
	}
	r.offset += uint64(head + size)
	return b, nil
}

// Blocks yields what Next returns, up to the end. An error is yielded last.
func (r *Reader) Blocks() iter.Seq2[block.Block, error] {
	return func(yield func(block.Block, error) bool) {
		for {
			b, err := r.Next()
			if err == io.EOF {
				return
			}
			if !yield(b, err) || err != nil {
				return
			}
		}
	}
}
