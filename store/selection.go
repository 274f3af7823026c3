package store

import (
	"encoding/binary"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// A Selection says which links below an alias's root are wanted. Links outside
// of it are neither wanted nor missing, though what lies here of them is kept.
// The zero Selection is everything.
type Selection struct {
	// Skip lists blocks that are not wanted, nor what can be reached through
	// them alone.
	Skip []cid.Cid `json:"skip,omitempty"`
	// Share and Of keep a part of the raw leaves: those whose digest, its
	// first eight bytes taken as a big-endian number, leaves Share-1 when
	// divided by Of. Of 0 means all leaves.
	Share uint32 `json:"share,omitempty"`
	Of    uint32 `json:"of,omitempty"`
}

// IsAll tells whether the selection leaves nothing out.
func (s Selection) IsAll() bool { return len(s.Skip) == 0 && s.Of == 0 }

// A selector is a Selection ready to be asked.
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
