package cairn

import (
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/ipld"
)

// Encode encodes a Go value as a block of canonical dag-cbor (IPLD specification,
// "DAG-CBOR"): equal values have equal CIDs.
//
// Structs and maps with string keys become maps. The tag `ipld:"name"` names a
// field of a struct, which otherwise has its name in Go; `ipld:"-"` leaves it
// out, `ipld:"name,omitempty"` leaves it out if it is empty. Unexported fields
// are left out. Slices and arrays become lists, []byte and [n]byte bytes, a
// cid.Cid a link, and a nil pointer, slice, map or interface null.
//
// Floats must be finite, strings valid UTF-8 (Decode takes others, too), and CIDs
// defined. Errors: those, and block.ErrTooLarge.
func Encode(v any) (block.Block, error) { return ipld.Encode(v) }

// Decode is the reverse of Encode. It skips keys of a map for which a struct has
// no field; a field without a key stays zero. An interface gets map[string]any,
// []any, int64, uint64 (above the range of int64), float64, string, []byte, bool,
// cid.Cid or nil. Errors: block.ErrMalformed if the block is not dag-cbor; else
// an error that says which value does not fit.
func Decode[T any](b block.Block) (T, error) { return ipld.Decode[T](b) }
