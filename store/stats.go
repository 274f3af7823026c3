package store

import (
	"context"
	"fmt"
)

// Stats is what a store holds.
type Stats struct {
	LiveBlocks   int64 // kept alive by an alias or a pin
	LiveBytes    int64 // what they take in packs
	CachedBlocks int64 // garbage, kept while there is space
	CachedBytes  int64
	DeadBytes    int64 // of packs: blocks that are gone
	Packs        int
	PackBytes    int64  // what the packs take on disk
	IndexBytes   int64  // what the index takes on disk
	FreeBytes    uint64 // left on the disk; 0 where that can't be told
	EvictionHeld bool   // see ErrEvictionHeld
	LossEpoch    uint64 // starts at 1; raised when a live block was lost, or links of one were learned
}

// Stats counts what the store holds. It costs no walk.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	if err := s.begin(ctx); err != nil {
		return Stats{}, fmt.Errorf("store: stats: %w", err)
	}
	defer s.end()
	var st Stats
	err := s.do(&op{frees: true, apply: func(c *committer) error {
		u := c.usage()
		st = Stats{
			LiveBlocks: u.liveBlocks, LiveBytes: u.liveBytes,
			CachedBlocks: u.cacheBlocks, CachedBytes: u.cacheBytes,
			DeadBytes: u.deadBytes, Packs: u.packs, PackBytes: u.disk,
			EvictionHeld: c.meta.held, LossEpoch: c.meta.epoch,
		}
		return nil
	}})
	if err != nil {
		return Stats{}, fmt.Errorf("store: stats: %w", err)
	}
	st.IndexBytes = int64(s.index.db.Metrics().DiskSpaceUsage())
	if du, err := s.fs.GetDiskUsage(s.dir); err == nil {
		st.FreeBytes = du.AvailBytes
	}
	return st, nil
}
