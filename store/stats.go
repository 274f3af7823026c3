package store

import (
	"context"
	"fmt"

	"github.com/cairn-ipfs/cairn/internal/pack"
)

// Stats is what a store holds.
type Stats struct {
	LiveBlocks   int64  `json:"liveBlocks"`   // kept alive by an alias or a pin
	LiveBytes    int64  `json:"liveBytes"`    // their bytes in packs
	CachedBlocks int64  `json:"cachedBlocks"` // garbage, kept while there is space
	CachedBytes  int64  `json:"cachedBytes"`
	DeadBytes    int64  `json:"deadBytes"` // in packs, of removed blocks
	Packs        int    `json:"packs"`
	PackBytes    int64  `json:"packBytes"`    // of the packs on disk
	IndexBytes   int64  `json:"indexBytes"`   // of the index on disk
	FreeBytes    uint64 `json:"freeBytes"`    // left on the disk; 0 if unknown
	EvictionHeld bool   `json:"evictionHeld"` // see ErrEvictionHeld
	LossEpoch    uint64 `json:"lossEpoch"`    // starts at 1; raised when a live block was lost, or links of one were learned
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

// usage sums the packs up.
func (c *committer) usage() usage {
	var u usage
	for _, info := range c.infos {
		if c.gone[info.id] {
			continue
		}
		u.packs++
		u.disk += info.size
		u.liveBlocks += info.liveBlocks
		u.liveBytes += info.liveBytes
		u.cacheBlocks += info.cacheBlocks
		u.cacheBytes += info.cacheBytes
		u.deadBytes += info.end - pack.Start - info.liveBytes - info.cacheBytes
		if info.state == packTorn && !c.isSealing(info.id) {
			u.torn++
		}
	}
	return u
}

// usage is the space that packs take, by use.
type usage struct {
	packs                   int
	disk                    int64
	liveBlocks, liveBytes   int64
	cacheBlocks, cacheBytes int64
	deadBytes               int64
	torn                    int // packs that wait to be sealed
}
