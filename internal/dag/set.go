package dag

import (
	"hash/maphash"

	"github.com/ipfs/go-cid"
)

// minSlots is how many slots a Set begins with.
const minSlots = 1 << 10

// A Set remembers CIDs in sixteen bytes each or a little more: by a hash of
// eight bytes under a seed of its own. That two of n CIDs share one has a chance
// of n²/2^65, which nobody outside can raise. CIDs that are the same to block.Equal
// are one.
type Set struct {
	// Grow, if set, is asked whether the set may take so many bytes more.
	Grow func(bytes int) bool

	seed  maphash.Seed
	slots []uint64 // of a power of two; 0 is free
	count int
}

// NewSet returns an empty set.
func NewSet() *Set { return &Set{seed: maphash.MakeSeed(), slots: make([]uint64, minSlots)} }

// Add adds a CID, and tells whether it is new. If there is no room for it, it
// isn't added. In a set that can't grow, sparing leaves three eighths of the
// room to those who don't.
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

// Has tells whether a CID was added.
func (s *Set) Has(c cid.Cid) bool {
	_, found := s.find(s.hash(c))
	return found
}

// Len is how many CIDs were added.
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

// find returns where a hash lies, or would.
func (s *Set) find(h uint64) (slot uint64, found bool) {
	mask := uint64(len(s.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		if s.slots[i] == h || s.slots[i] == 0 {
			return i, s.slots[i] == h
		}
	}
}
