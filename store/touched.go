package store

import (
	"sync"

	"github.com/cairn-ipfs/cairn/internal/pack"
)

// lastRead tells when, on the store's clock, a block of the pack was last read.
func (s *Store) lastRead(p packInfo) int64 {
	return max(p.read, s.touched.packRead(p.id))
}

// touch notes that a block was read. It costs no write.
func (s *Store) touch(mh string, l loc) {
	if l.kind == locPack {
		s.touched.touch(mh, l.pack, s.clock.Add(1))
	}
}

// A touchedSet remembers what was read lately, in memory and bounded: two
// generations of which the older is dropped when the younger is full.
type touchedSet struct {
	mu    sync.Mutex
	young map[uint64]struct{}
	old   map[uint64]struct{}
	packs map[pack.ID]int64
}

// maxTouched bounds one generation.
const maxTouched = 32 << 10

func (t *touchedSet) touch(mh string, id pack.ID, now int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.young == nil || len(t.young) >= maxTouched {
		t.old, t.young = t.young, make(map[uint64]struct{})
	}
	t.young[hashOf(mh)] = struct{}{}
	if t.packs == nil {
		t.packs = map[pack.ID]int64{}
	}
	t.packs[id] = now
}

func (t *touchedSet) has(mh string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := hashOf(mh)
	_, young := t.young[h]
	_, old := t.old[h]
	return young || old
}

func (t *touchedSet) packRead(id pack.ID) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.packs[id]
}
