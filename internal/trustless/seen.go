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

// A seenSet remembers which blocks were sent. What it takes for another, with a
// chance of one in a billion at worst, is left out, which the client notices and
// asks for.
type seenSet struct{ *dag.Set }

func newSeenSet(state *share) *seenSet {
	s := dag.NewSet()
	s.Grow = func(n int) bool {
		slots := n / 4 // 8 bytes each, and as many more as there were
		return slots <= freeSeen || slots <= maxSeen && state.more(n)
	}
	return &seenSet{s}
}

// add adds a CID, and tells whether it is new. Leaves that there is no room for
// aren't remembered, and may be sent twice. What has links must be, or a DAG
// could be walked for ever; where there is no room left, full is true.
func (s *seenSet) add(c cid.Cid) (isNew, full bool) {
	leaf := dag.Leaf(c.Type())
	isNew, added := s.Add(c, leaf)
	return isNew, !added && !leaf
}

// canonical is what CIDs that name the same block have in common.
func canonical(c cid.Cid) string {
	k := c.KeyString()
	if len(k) == 36 && k[0] == 1 && k[1] == byte(block.DagPB) && k[2] == byte(block.SHA2_256) && k[3] == 32 {
		return k[2:]
	}
	return k
}
