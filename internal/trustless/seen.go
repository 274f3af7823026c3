package trustless

import (
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/ipfs/go-cid"
)

const (
	// maxSeen is the most slots of a seenSet: 2 MiB. Half of them filled is a DAG
	// of 128 GiB in blocks of 1 MiB.
	maxSeen = 1 << 18
	// freeSeen is the most that any request may have: 32 KiB.
	freeSeen = 1 << 12
)

// A seenSet remembers which blocks were sent. It may take a block for another one,
// with a chance of one in a billion at worst; the client misses that block, and
// asks for it.
type seenSet struct{ *dag.Set }

func newSeenSet(state *share) *seenSet {
	s := dag.NewSet()
	s.Grow = func(n int) bool {
		slots := n / 4 // 8 bytes each, and as many more as there were
		return slots <= freeSeen || slots <= maxSeen && state.more(n)
	}
	return &seenSet{s}
}

// add adds a CID, and reports whether it is new. Without room, a leaf isn't
// remembered, and may be sent twice. For a block with links, full is true then:
// walks may take forever if it isn't remembered.
func (s *seenSet) add(c cid.Cid) (isNew, full bool) {
	leaf := dag.Leaf(c.Type())
	isNew, added := s.Add(c, leaf)
	return isNew, !added && !leaf
}

// canonical returns the same key for all CIDs of a block.
func canonical(c cid.Cid) string {
	k := c.KeyString()
	if len(k) == 36 && k[0] == 1 && k[1] == byte(block.DagPB) && k[2] == byte(block.SHA2_256) && k[3] == 32 {
		return k[2:]
	}
	return k
}
