package dag

import (
	"hash/maphash"

	"github.com/ipfs/go-cid"
)

// minSlots is the number of slots of a new Set.
const minSlots = 1 << 10

// A Set of CIDs takes about sixteen bytes for each: it keeps a hash of eight bytes
// under a seed of its own. Two of n CIDs share a hash with a probability of n²/2^65,
// which input can't raise. CIDs that block.Equal finds equal are one.
type Set struct {
	// Grow, if set, reports whether the set may take that many bytes more.
	Grow func(bytes int) bool

	seed  maphash.Seed
	slots []uint64 // of a power of two; 0 is free
	count int
}

// NewSet returns an empty set.
func NewSet() *Set { return &Set{seed: maphash.MakeSeed(), slots: make([]uint64, minSlots)} }

// Add adds a CID, and reports whether it is new. If there is no room, it isn't
// added. In a set that can't grow, a sparing Add leaves three eighths of the room
// to others.
func (s *Set) Add(c cid.Cid, sparing bool) (isNew, added bool) {
	h := s.hash(c)
	i, found := s.find(h)
	if found {
		return false, true
	}
	if s.count >= len(s.slots)/2 && s.grow() {
		i, _ = s.find(h)
	}
	if s.count >= len(s.slots)/8*7 || sparing && s.count >= len(s.slots)/2 {
		return true, false
	}
	s.slots[i] = h
	s.count++
	return true, true
}

// Has reports whether a CID was added.
func (s *Set) Has(c cid.Cid) bool {
	_, found := s.find(s.hash(c))
	return found
}

// Len is the number of CIDs in the set.
func (s *Set) Len() int { return s.count }

func (s *Set) grow() bool {
	old := s.slots
	if s.Grow != nil && !s.Grow(8*len(old)) {
		return false
	}
	s.slots = make([]uint64, 2*len(old))
	for _, h := range old {
		if h != 0 {
			i, _ := s.find(h)
			s.slots[i] = h
		}
	}
	return true
}

// hash is never 0.
func (s *Set) hash(c cid.Cid) uint64 { return max(1, maphash.String(s.seed, key(c.KeyString()))) }

// find returns the slot of a hash, or the free slot for it.
func (s *Set) find(h uint64) (slot uint64, found bool) {
	mask := uint64(len(s.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		if s.slots[i] == h || s.slots[i] == 0 {
			return i, s.slots[i] == h
		}
	}
}
