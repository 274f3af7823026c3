package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cairn-ipfs/cairn/internal/car"
	"github.com/cairn-ipfs/cairn/internal/pack"
)

// EvictOptions configure an eviction. The zero value evicts all garbage.
type EvictOptions struct {
	// Target is the size in bytes that packs may take on disk afterwards. The
	// coldest garbage goes first. Zero: all garbage goes.
	Target int64 `json:"target,omitempty"`
	// DryRun changes nothing and returns what evicting all garbage would free.
	DryRun bool `json:"dryRun,omitempty"`
	// Confirm ends the state in which eviction is held: see ErrEvictionHeld.
	Confirm bool `json:"confirm,omitempty"`
}

// EvictResult is what an eviction did.
type EvictResult struct {
	Blocks int64 `json:"blocks"` // blocks evicted
	Bytes  int64 `json:"bytes"`  // bytes that the packs take less on disk
	Packs  int   `json:"packs"`  // packs removed
}

const (
	// evictChunk bounds the sections, and evictBytes the bytes, that one step
	// of an eviction moves.
	evictChunk = 256
	evictBytes = 256 << 10
	// evictTurn is the time after which a step lets other ops go first, so that
	// a concurrent Put hardly waits.
	evictTurn = 75 * time.Microsecond
	// maxEvictPause bounds how long an eviction rests after a step while blocks
	// are put.
	maxEvictPause = 100 * time.Millisecond
	// worthRewriting: a pack is rewritten if at least one part in so many of it
	// can be reclaimed. Rewriting copies its live blocks elsewhere.
	worthRewriting = 5
)

// Evict removes garbage and gives its space back to the disk. Blocks that are
// live, or protected by a Batch, stay. It works in small steps beside readers and
// writers. Errors: ErrEvictionHeld.
func (s *Store) Evict(ctx context.Context, o EvictOptions) (EvictResult, error) {
	s.evicting.Lock()
	defer s.evicting.Unlock()
	if o.DryRun {
		u, err := s.measure(ctx)
		if err != nil {
			return EvictResult{}, fmt.Errorf("store: evict: %w", err)
		}
		return EvictResult{Blocks: u.cacheBlocks, Bytes: u.cacheBytes}, nil
	}
	e := &eviction{s: s, ctx: ctx, target: o.Target, all: o.Target == 0}
	err := e.begin(o.Confirm)
	if err == nil {
		err = e.run(o.Target > 0)
	}
	if err == nil && o.Target > 0 && e.over() {
		err = e.run(false)
	}
	e.emit()
	if err != nil {
		return e.done, fmt.Errorf("store: evict: %w", err)
	}
	return e.done, nil
}

// evictLoop evicts when the packs take more space than Options allow.
func (s *Store) evictLoop() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.evictWake:
		}
		s.evicting.Lock()
		e := &eviction{s: s, ctx: s.ctx, target: s.o.Target, maxCached: s.o.MaxCached}
		err := s.sealTorn()
		if err == nil {
			err = e.begin(false)
		}
		if err == nil && e.over() {
			err = e.run(true)
		}
		if err == nil && e.over() {
			err = e.run(false)
		}
		e.emit()
		s.evicting.Unlock()
		if err != nil && s.ctx.Err() == nil && !errors.Is(err, ErrEvictionHeld) && !errors.Is(err, ErrClosed) {
			s.log.Warn("store: evicting", "error", err)
		}
	}
}

// updateUsage stores how the space is used, and wakes evictLoop if it has work.
func (s *Store) updateUsage(u usage) {
	s.usageNow.Store(&u)
	if u.torn > 0 || s.o.Target > 0 && u.disk > s.o.Target && u.cacheBytes+u.deadBytes > 0 || s.o.MaxCached > 0 && u.cacheBlocks > s.o.MaxCached {
		signal(s.evictWake)
	}
}

// measure returns how the space is used now.
func (s *Store) measure(ctx context.Context) (u usage, err error) {
	if err := ctx.Err(); err != nil {
		return u, err
	}
	err = s.do(&op{frees: true, apply: func(c *committer) error { u = c.usage(); return nil }})
	return u, err
}

// sealTorn seals the packs that a crash left behind, at their marks.
func (s *Store) sealTorn() error {
	var torn []packInfo
	err := s.do(&op{frees: true, apply: func(c *committer) error {
		for _, info := range c.infos {
			if info.state == packTorn && !c.isSealing(info.id) {
				torn = append(torn, *info)
			}
		}
		return nil
	}})
	if err != nil {
		return err
	}
	for _, info := range torn {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		if info.end == pack.Start {
			// It holds no data, and may not exist on disk.
			err := s.do(&op{durable: true, frees: true, apply: func(c *committer) error {
				delete(c.infos, info.id)
				c.gone[info.id] = true
				return nil
			}})
			if err != nil {
				return err
			}
			s.packs.Remove(info.id)
			continue
		}
		size, err := s.packs.SealAt(info.id, info.end)
		if err != nil {
			s.log.Warn("store: seal a pack", "pack", info.id.Name(), "error", err)
		}
		err = s.do(&op{frees: true, apply: func(c *committer) error {
			if now := c.infos[info.id]; now != nil && now.state == packTorn {
				now.state = packSealed
				now.size = max(now.size, size)
				c.dirty[info.id] = true
			}
			return nil
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

// An eviction removes garbage until the packs are below their bounds.
type eviction struct {
	s         *Store
	ctx       context.Context
	target    int64 // bytes on disk; 0: no bound
	maxCached int64 // blocks; 0: no bound
	all       bool  // evict all garbage
	now       usage
	moved     int64 // bytes copied out of the current pack
	done      EvictResult
}

func (e *eviction) begin(confirm bool) error {
	held := false
	err := e.s.do(&op{durable: confirm, frees: true, apply: func(c *committer) error {
		if confirm {
			c.meta.held = false
		}
		held = c.meta.held
		e.now = c.usage()
		return nil
	}})
	if err == nil && held {
		err = fmt.Errorf("%w: the index was rebuilt from packs without an alias table; confirm that no alias is missing", ErrEvictionHeld)
	}
	return err
}

func (e *eviction) over() bool {
	return e.target > 0 && e.now.disk > e.target || e.maxCached > 0 && e.now.cacheBlocks > e.maxCached
}

func (e *eviction) emit() {
	if e.done.Blocks > 0 || e.done.Packs > 0 {
		e.s.events.Send(Event{Kind: EventEvicted, Blocks: e.done.Blocks, Bytes: e.done.Bytes})
	}
}

// run evicts pack by pack, the one with the most and coldest garbage first. With
// sparing, cached blocks that were read recently are copied on.
func (e *eviction) run(sparing bool) error {
	if err := e.settle(); err != nil {
		return err
	}
	var victims []packInfo
	var sealing []*sealing
	err := e.s.do(&op{frees: true, apply: func(c *committer) error {
		// Open packs that hold garbage must be sealed before it can be evicted.
		for kind, w := range c.writers {
			if w != nil && c.infos[w.ID()].cacheBlocks > 0 && (e.all || kind == kindCache) {
				if err := c.seal(kind); err != nil {
					return err
				}
			}
		}
		for _, info := range c.infos {
			if info.state == packOpen && c.writers[info.kind] == nil && info.cacheBlocks > 0 {
				info.state = packTorn // sealed below
				c.dirty[info.id] = true
			}
		}
		sealing = slices.Clone(c.sealing)
		return nil
	}})
	if err != nil {
		return err
	}
	for _, sl := range sealing {
		<-sl.done
	}
	if err := e.s.sealTorn(); err != nil {
		return err
	}
	err = e.s.do(&op{frees: true, apply: func(c *committer) error {
		for _, info := range c.infos {
			if info.state != packOpen && !c.isSealing(info.id) {
				victims = append(victims, *info)
			}
		}
		return nil
	}})
	if err != nil {
		return err
	}
	now := e.s.clock.Load()
	score := func(p packInfo) float64 {
		return float64(p.reclaimable()) * float64(now-e.s.lastRead(p)+1)
	}
	slices.SortFunc(victims, func(a, b packInfo) int { return cmp.Compare(score(b), score(a)) })
	for _, v := range victims {
		if !e.all && !e.over() {
			return nil
		}
		rewrite := v.reclaimable()*worthRewriting >= v.size && (e.all || e.target > 0 && e.now.disk > e.target)
		if !rewrite && v.cacheBlocks == 0 {
			continue
		}
		if err := e.pack(v, rewrite, sparing); err != nil {
			return err
		}
	}
	return nil
}

// settle waits until nothing is to be expanded or collapsed.
func (e *eviction) settle() error { return e.s.settle(e.ctx, workExpand, workCollapse) }

// pack evicts the garbage of one pack. With rewrite it also moves all other
// blocks elsewhere and removes the pack.
func (e *eviction) pack(v packInfo, rewrite, sparing bool) error {
	e.moved = 0
	entries, err := e.s.sections(e.ctx, v)
	if err != nil {
		return err
	}
	if err := e.sections(v.id, entries, rewrite, sparing); err != nil {
		return err
	}
	if !rewrite {
		return nil
	}
	// The index of a pack has no checksum. If the counts say that blocks are
	// left, they were not in it, and the store's index has them.
	left := false
	check := func(c *committer) error {
		info := c.infos[v.id]
		left = info != nil && info.liveBlocks+info.cacheBlocks > 0
		return nil
	}
	if err := e.s.do(&op{frees: true, apply: check}); err != nil {
		return err
	}
	if left {
		if entries, err = e.s.rowsOf(e.ctx, v.id); err != nil {
			return err
		}
		if err := e.sections(v.id, entries, true, sparing); err != nil {
			return err
		}
	}
	references, err := e.s.referencesOf(e.ctx, v)
	if err != nil {
		return err
	}
	removed := false
	err = e.s.do(&op{durable: true, frees: true, apply: func(c *committer) error {
		if check(c); left || c.infos[v.id] == nil {
			return nil // in use again; left to the next eviction
		}
		if v.records {
			// Its records are void once a younger pack begins with a table.
			w, err := c.writer(kindLinks)
			if err != nil {
				return err
			}
			if w.ID() <= v.id {
				return nil
			}
			for _, ch := range references {
				if err := c.rerecord(ch); err != nil {
					return err
				}
			}
		}
		e.done.Packs++
		e.done.Bytes += c.infos[v.id].size - e.moved
		delete(c.infos, v.id)
		c.gone[v.id] = true
		e.now = c.usage()
		removed = true
		return nil
	}})
	if err == nil && removed {
		// Outside of the committer, for unlinking takes long.
		e.s.packs.Remove(v.id)
	}
	return err
}

// sections evicts or moves some sections of a pack, in small steps.
func (e *eviction) sections(id pack.ID, entries []car.IndexEntry, rewrite, sparing bool) error {
	slices.SortFunc(entries, func(a, b car.IndexEntry) int { return cmp.Compare(a.Offset, b.Offset) })
	for len(entries) > 0 {
		if err := e.ctx.Err(); err != nil {
			return err
		}
		ch := evictionStep{e: e, id: id, rewrite: rewrite, sparing: sparing}
		began, puts := time.Now(), e.s.puts.Load()
		n, err := ch.read(entries)
		if err != nil {
			return err
		}
		for !ch.busy && ch.next < len(ch.entries) {
			if err := e.s.do(&op{frees: true, apply: ch.apply}); err != nil {
				return err
			}
		}
		if err := ch.sync(); err != nil {
			return err
		}
		if ch.busy {
			if err := e.settle(); err != nil {
				return err
			}
			continue
		}
		entries = entries[n:]
		if e.s.puts.Load() != puts {
			// Blocks are put: leave half of the time to that.
			if e.s.wait(min(time.Since(began), maxEvictPause)) != nil {
				return ErrClosed
			}
		}
		if !rewrite && !e.all && !e.over() {
			return nil
		}
	}
	return nil
}

// sections lists what a pack holds, by its own index or, if that can't be read,
// by the store's.
func (s *Store) sections(ctx context.Context, v packInfo) ([]car.IndexEntry, error) {
	entries, err := s.entries(ctx, v.id)
	if err == nil || errors.Is(err, ErrClosed) || ctx.Err() != nil {
		return entries, err
	}
	s.log.Warn("store: read the index of a pack; reading all rows instead", "pack", v.id.Name(), "error", err)
	return s.rowsOf(ctx, v.id)
}

// entries reads the index that a sealed pack carries.
func (s *Store) entries(ctx context.Context, id pack.ID) ([]car.IndexEntry, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.end()
	return s.packs.Entries(id)
}

// rowsOf lists what lies in a pack by reading the whole index.
func (s *Store) rowsOf(ctx context.Context, id pack.ID) ([]car.IndexEntry, error) {
	if err := s.flush(ctx, nil); err != nil {
		return nil, err
	}
	snap, done, err := s.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	var entries []car.IndexEntry
	err = scanRows(snap, "", func(mh string, r *row) bool {
		if r.loc.kind == locPack && r.loc.pack == id {
			entries = append(entries, car.IndexEntry{Hash: []byte(mh), Offset: uint64(r.loc.off)})
		}
		return ctx.Err() == nil
	})
	if err == nil {
		err = ctx.Err()
	}
	return entries, err
}
