package unixfs

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/cairn-ipfs/cairn/block"
)

// Protobuf wire types that occur (encoding.proto: varint, i64, len, i32).
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

// tag returns the byte that starts a field with a number below 16.
func tag(field, wire int) byte { return byte(field<<3 | wire) }

// varintLen returns the number of bytes of v as a varint.
func varintLen(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

// fieldLen returns the number of bytes of a field of n bytes with its tag.
func fieldLen(n int) int { return 1 + varintLen(uint64(n)) + n }

func appendField(dst []byte, field int, p []byte) []byte {
	dst = append(dst, tag(field, wireBytes))
	dst = binary.AppendUvarint(dst, uint64(len(p)))
	return append(dst, p...)
}

func appendVarintField(dst []byte, field int, v uint64) []byte {
	return binary.AppendUvarint(append(dst, tag(field, wireVarint)), v)
}

// A wireReader parses a protobuf message, without copying. After a failure it
// stays failed, so that callers may check once, at the end.
type wireReader struct {
	p   []byte
	bad string // the first failure
}

func (r *wireReader) fail(what string) {
	if r.bad == "" {
		r.bad = what
	}
	r.p = nil
}

func (r *wireReader) err() error {
	if r.bad == "" {
		return nil
	}
	return fmt.Errorf("%w: protobuf: %s", block.ErrMalformed, r.bad)
}

// more reports whether a field follows.
func (r *wireReader) more() bool { return len(r.p) > 0 }

func (r *wireReader) varint() uint64 {
	if len(r.p) > 0 && r.p[0] < 0x80 {
		v := uint64(r.p[0])
		r.p = r.p[1:]
		return v
	}
	v, n := binary.Uvarint(r.p)
	if n <= 0 {
		r.fail("bad varint")
		return 0
	}
	r.p = r.p[n:]
	return v
}

// field reads a field's number and wire type.
func (r *wireReader) field() (number uint64, wire int) {
	v := r.varint()
	if v>>3 == 0 {
		r.fail("field number 0")
	}
	return v >> 3, int(v & 7)
}

func (r *wireReader) take(n uint64) []byte {
	if n > uint64(len(r.p)) {
		r.fail("truncated")
		return nil
	}
	p := r.p[:n:n]
	r.p = r.p[n:]
	return p
}

// bytes reads a field of bytes, whose memory it shares.
func (r *wireReader) bytes(wire int) []byte {
	if wire != wireBytes {
		r.fail("unexpected field type, want bytes")
		return nil
	}
	return r.take(r.varint())
}

// number reads a varint field.
func (r *wireReader) number(wire int) uint64 {
	if wire != wireVarint {
		r.fail("unexpected field type, want a varint")
		return 0
	}
	return r.varint()
}

// fixed32 reads a field of four bytes.
func (r *wireReader) fixed32(wire int) uint32 {
	if wire != wireFixed32 {
		r.fail("unexpected field type, want a fixed32")
		return 0
	}
	if p := r.take(4); p != nil {
		return binary.LittleEndian.Uint32(p)
	}
	return 0
}

// skip skips an unknown field.
func (r *wireReader) skip(wire int) {
	switch wire {
	case wireVarint:
		r.varint()
	case wireFixed64:
		r.take(8)
	case wireBytes:
		r.take(r.varint())
	case wireFixed32:
		r.take(4)
	default:
		r.fail("unknown wire type")
	}
}
