package store

import (
	"sync"

	"github.com/cairn-ipfs/cairn/internal/pack"
)

// lastRead returns when, on the store's clock, a block of the pack was last read.
func (s *Store) lastRead(p packInfo) int64 {
	return max(p.read, s.recency.lastRead(p.id))
}

// touch records, in memory only, that a block was read.
func (s *Store) touch(mh string, l loc) {
	if l.kind == locPack {
		s.recency.touch(mh, l.pack, s.clock.Add(1))
	}
}

// A recencySet records which blocks were read recently, in memory. It is bounded:
// when the young generation is full, it becomes the old one, which is dropped.
// (An LRU would order blocks, which no caller needs, at several times the memory.)
type recencySet struct {
	mu    sync.Mutex
	young map[uint64]struct{}
	old   map[uint64]struct{}
	packs map[pack.ID]int64
}

// maxRecent bounds one generation.
const maxRecent = 32 << 10

func (t *recencySet) touch(mh string, id pack.ID, now int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.young == nil || len(t.young) >= maxRecent {
		t.old, t.young = t.young, make(map[uint64]struct{})
	}
	t.young[hashOf(mh)] = struct{}{}
	if t.packs == nil {
		t.packs = map[pack.ID]int64{}
	}
	t.packs[id] = now
}

func (t *recencySet) has(mh string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := hashOf(mh)
	_, young := t.young[h]
	_, old := t.old[h]
	return young || old
}

func (t *recencySet) lastRead(id pack.ID) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.packs[id]
}
