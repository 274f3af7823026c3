package car

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-varint"

	"github.com/cairn-ipfs/cairn/block"
)

// MaxSectionHead is the most bytes that come before the data in a section
// that ParseSection accepts: the length as a varint of four bytes (it is at
// most block.MaxCID + block.MaxSize) and the CID.
const MaxSectionHead = 4 + block.MaxCID

// AppendSection appends the head of the section of a block of size bytes: the
// section's length and the CID. The block's data follow it.
func AppendSection(dst []byte, c cid.Cid, size int) []byte {
	dst = binary.AppendUvarint(dst, uint64(c.ByteLen()+size))
	return append(dst, c.KeyString()...)
}

// ParseSection reads the head of the section at the start of p, which need
// not hold the data: MaxSectionHead bytes are always enough. It returns the
// block's CID, head, the number of bytes before the data, and size, the
// number of bytes of the data.
//
// Errors: io.ErrUnexpectedEOF if p ends before the head does;
// block.ErrMalformed, also for a section of length zero; block.ErrTooLarge if
// the data would be over block.MaxSize; block.ErrHashRefused for the CID.
func ParseSection(p []byte) (c cid.Cid, head, size int, err error) {
	length, n, err := varint.FromUvarint(p[:min(len(p), varint.MaxLenUvarint63)])
	switch {
	case errors.Is(err, varint.ErrUnderflow):
		return cid.Undef, 0, 0, io.ErrUnexpectedEOF
	case err != nil:
		return cid.Undef, 0, 0, fmt.Errorf("car: section's length: %w: %w", block.ErrMalformed, err)
	case length == 0:
		return cid.Undef, 0, 0, fmt.Errorf("car: section of length zero: %w", block.ErrMalformed)
	case length > block.MaxCID+block.MaxSize:
		return cid.Undef, 0, 0, fmt.Errorf("car: section of %d bytes: %w", length, block.ErrTooLarge)
	}
	rest := p[n:]
	whole := len(rest) >= min(int(length), block.MaxCID)
	if uint64(len(rest)) > length {
		rest = rest[:length]
	}
	c, m, err := block.ReadCID(rest)
	if err != nil {
		// A truncated CID looks like a malformed one.
		if !whole && errors.Is(err, block.ErrMalformed) {
			return cid.Undef, 0, 0, io.ErrUnexpectedEOF
		}
		return cid.Undef, 0, 0, fmt.Errorf("car: section: %w", err)
	}
	size = int(length) - m
	if size > block.MaxSize {
		return cid.Undef, 0, 0, fmt.Errorf("car: section of %s: %d bytes: %w (the limit is %d)", c, size, block.ErrTooLarge, block.MaxSize)
	}
	return c, n + m, size, nil
}
