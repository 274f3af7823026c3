// Package car reads and writes CARs, the format in which blocks travel and in
// which Cairn's packs lie on disk: CARv1 and CARv2 with a multihash index
// (specs: ipld.io/specs/transport/car/carv1 and …/carv2).
//
// It has two layers. The functions (AppendPragma, AppendHeaderV1,
// AppendSection, ParseSection, WriteIndex, ReadIndex, …) encode and decode the
// parts, for CARs kept as random-access files. [Reader], [Writer] and [WriterV2]
// are streams of verified blocks, for imports, exports and transfers.
//
// All input is taken to be hostile: headers, sections and indexes are bounded in
// length and in number, and no allocation trusts a declared length beyond the
// limits of package block.
//
// The functions are safe for concurrent use. A Reader, Writer or WriterV2
// belongs to one goroutine at a time.
//
// The package doesn't decide which blocks belong in a CAR or in what order
// (package internal/dag walks), and it keeps no files open.
package car

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/cairn-ipfs/cairn/block"
)

const (
	// PragmaSize is the size of the CARv2 pragma, in bytes.
	PragmaSize = 11
	// HeaderV2Size is the size of the CARv2 header after the pragma, in bytes.
	HeaderV2Size = 40
	// DataOffset is where the CARv1 data of a CARv2 without padding begin, in
	// bytes from the start of the file.
	DataOffset = PragmaSize + HeaderV2Size

	// OpenDataSize is the data size that a CARv2 declares while it is being
	// appended to: the data then end where the file does. It is larger than any
	// file, and readers (go-car's too) take it as a limit.
	OpenDataSize = 1 << 48
)

// pragma is a CARv1 header {version: 2}: length 10, map of one, "version", 2.
const pragma = "\x0a\xa1\x67version\x02"

// AppendPragma appends the eleven bytes with which every CARv2 begins.
func AppendPragma(dst []byte) []byte { return append(dst, pragma...) }

// FullyIndexed is the bit of HeaderV2.Characteristics[0] for an index that also
// has the sections of identity CIDs (spec: "Characteristics").
const FullyIndexed = 0x80

// A HeaderV2 is the header of a CARv2, which follows the pragma. Offsets are
// in bytes from the start of the file.
type HeaderV2 struct {
	Characteristics [16]byte
	DataOffset      uint64 // of the CARv1 data
	DataSize        uint64 // in bytes; OpenDataSize while the file grows
	IndexOffset     uint64 // 0 if there is no index
}

// Append appends the header's forty bytes.
func (h HeaderV2) Append(dst []byte) []byte {
	dst = append(dst, h.Characteristics[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, h.DataOffset)
	dst = binary.LittleEndian.AppendUint64(dst, h.DataSize)
	return binary.LittleEndian.AppendUint64(dst, h.IndexOffset)
}

// ParseHeaderV2 reads the forty bytes after the pragma. The data must lie
// behind the header, be of more than zero bytes, and end before the index. It
// fails with block.ErrMalformed.
func ParseHeaderV2(p []byte) (HeaderV2, error) {
	if len(p) < HeaderV2Size {
		return HeaderV2{}, fmt.Errorf("car: header of %d bytes: %w (CARv2 has %d)", len(p), block.ErrMalformed, HeaderV2Size)
	}
	var h HeaderV2
	copy(h.Characteristics[:], p)
	h.DataOffset = binary.LittleEndian.Uint64(p[16:])
	h.DataSize = binary.LittleEndian.Uint64(p[24:])
	h.IndexOffset = binary.LittleEndian.Uint64(p[32:])
	switch {
	case h.DataOffset < DataOffset || h.DataOffset > math.MaxInt64:
		return HeaderV2{}, fmt.Errorf("car: data offset %d: %w", h.DataOffset, block.ErrMalformed)
	case h.DataSize == 0 || h.DataSize > math.MaxInt64-h.DataOffset:
		return HeaderV2{}, fmt.Errorf("car: data size %d: %w", h.DataSize, block.ErrMalformed)
	case h.IndexOffset != 0 && (h.IndexOffset < h.DataOffset+h.DataSize || h.IndexOffset > math.MaxInt64):
		return HeaderV2{}, fmt.Errorf("car: index offset %d: %w (the data end at %d)", h.IndexOffset, block.ErrMalformed, h.DataOffset+h.DataSize)
	}
	return h, nil
}
