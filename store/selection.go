package store

import (
	"encoding/binary"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// A Selection says which blocks below an alias's root are wanted. Others are
// neither wanted nor missing, though those that are here are kept. The zero
// Selection is everything.
type Selection struct {
	// Skip lists blocks that are not wanted. Blocks that are reached only through
	// them are not wanted either.
	Skip []cid.Cid `json:"skip,omitempty"`
	// Share and Of select a part of the raw leaves: those for which the first
	// eight bytes of the digest, a big-endian number, modulo Of are Share-1. If
	// Of is 0, all leaves are selected.
	Share uint32 `json:"share,omitempty"`
	Of    uint32 `json:"of,omitempty"`
}

// IsAll reports whether the selection is everything.
func (s Selection) IsAll() bool { return len(s.Skip) == 0 && s.Of == 0 }

// A selector is a Selection prepared for lookups. A nil selector selects all.
type selector struct {
	skip      map[node]bool
	share, of uint64
}

func newSelector(sel Selection) *selector {
	if sel.IsAll() {
		return nil
	}
	x := &selector{skip: make(map[node]bool, len(sel.Skip)), share: uint64(sel.Share), of: uint64(sel.Of)}
	for _, c := range sel.Skip {
		x.skip[nodeOf(c)] = true
	}
	return x
}

func (x *selector) selects(n node) bool {
	if x == nil {
		return true
	}
	if x.skip[n] {
		return false
	}
	if x.of > 0 && n.codec == block.Raw {
		digest, err := block.Digest([]byte(n.mh))
		if err == nil && len(digest) >= 8 {
			return binary.BigEndian.Uint64(digest)%x.of == x.share-1
		}
	}
	return true
}
