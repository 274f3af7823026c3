package trustless

import (
	"hash/maphash"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/ipfs/go-cid"
)

const (
	// minSeen is the number of slots to begin with.
	minSeen = 1 << 10
	// maxSeen is the most slots: 2 MiB. Half of them filled is a DAG of 128 GiB
	// in blocks of 1 MiB.
	maxSeen = 1 << 18
)

// A seenSet remembers which blocks were sent, eight bytes for each: a hash of
// the CID under a seed of its own. That two of n blocks share one has a chance
// of n²/2^65, at worst one in a billion; then a block is left out, which the
// client notices and asks for.
type seenSet struct {
	seed  maphash.Seed
	slots []uint64 // of a power of two; 0 is free
	count int
}

func newSeenSet() *seenSet {
	return &seenSet{seed: maphash.MakeSeed(), slots: make([]uint64, minSeen)}
}

// add adds a CID, and tells whether it is new. Leaves beyond half of the
// largest set aren't remembered, and may be sent twice. What has links must
// be, or a DAG could be walked for ever; where there is no room left, full is
// true.
func (s *seenSet) add(c cid.Cid) (isNew, full bool) {
	h := s.hash(c)
	i, found := s.find(h)
	if found {
		return false, false
	}
	if len(s.slots) == maxSeen {
		if dag.Leaf(c.Type()) && s.count >= maxSeen/2 {
			return true, false
		}
		if s.count >= maxSeen/8*7 {
			return true, true
		}
	}
	s.slots[i] = h
	s.count++
	if s.count > len(s.slots)/2 && len(s.slots) < maxSeen {
		s.grow()
	}
	return true, false
}

// has tells whether a CID was added.
func (s *seenSet) has(c cid.Cid) bool {
	_, found := s.find(s.hash(c))
	return found
}

func (s *seenSet) grow() {
	old := s.slots
	s.slots = make([]uint64, 2*len(old))
	for _, h := range old {
		if h != 0 {
			i, _ := s.find(h)
			s.slots[i] = h
		}
	}
}

// hash is never 0.
func (s *seenSet) hash(c cid.Cid) uint64 { return max(1, maphash.String(s.seed, canonical(c))) }

// find returns where a hash lies, or would.
func (s *seenSet) find(h uint64) (slot uint64, found bool) {
	mask := uint64(len(s.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		if s.slots[i] == h || s.slots[i] == 0 {
			return i, s.slots[i] == h
		}
	}
}

// canonical is what CIDs that name the same block have in common.
func canonical(c cid.Cid) string {
	k := c.KeyString()
	if len(k) == 36 && k[0] == 1 && k[1] == byte(block.DagPB) && k[2] == byte(block.SHA2_256) && k[3] == 32 {
		return k[2:]
	}
	return k
}
