package store

import (
	"errors"
	"os"
	"slices"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/car"
	"github.com/cairn-ipfs/cairn/internal/pack"
)

// An evictionStep moves or evicts some sections of a pack.
type evictionStep struct {
	e                *eviction
	id               pack.ID
	rewrite, sparing bool
	entries          []car.IndexEntry
	next             int                    // index of the next entry
	blocks           map[string]block.Block // blocks that will likely be moved
	writers          []*pack.Writer         // of the packs they were moved to
	busy             bool                   // links must be counted first
}

// read reads, outside of the committer, the blocks that will likely be moved. It
// returns the number of entries that the step covers.
func (t *evictionStep) read(entries []car.IndexEntry) (int, error) {
	t.blocks = map[string]block.Block{}
	bytes := 0
	for i, entry := range entries {
		if i >= evictChunk || bytes >= evictBytes {
			t.entries = entries[:i]
			return i, nil
		}
		if !t.rewrite {
			continue
		}
		mh := string(entry.Hash)
		r, err := t.e.s.lookup(mh)
		if err != nil {
			return 0, err
		}
		if !t.here(r, entry) || !t.mustKeep(mh, r) {
			continue
		}
		b, err := t.e.s.readAt(t.e.ctx, node{mh, r.refs[0].codec}.cid(), r.loc, nil)
		if errors.Is(err, block.ErrDamaged) || errors.Is(err, pack.ErrGone) {
			continue // apply reads again, and marks it lost
		}
		if err != nil {
			return 0, err
		}
		t.blocks[mh] = b
		bytes += b.Size()
	}
	t.entries = entries
	return len(entries), nil
}

// sync makes durable what was moved, so that the next commit needn't wait for all
// of it.
func (t *evictionStep) sync() error {
	for _, w := range t.writers {
		err := w.Sync()
		if err == nil || errors.Is(err, os.ErrClosed) {
			continue // if closed, it was sealed meanwhile
		}
		return t.e.s.do(&op{frees: true, apply: func(*committer) error { return err }})
	}
	return nil
}

// here reports whether the row's block lies in that section.
func (t *evictionStep) here(r *row, entry car.IndexEntry) bool {
	return r.loc.kind == locPack && r.loc.pack == t.id && r.loc.off == int64(entry.Offset) && len(r.refs) > 0
}

// mustKeep reports whether the block is live, protected or spared.
func (t *evictionStep) mustKeep(mh string, r *row) bool {
	return r.live() || t.e.s.protect.has(mh) || t.sparing && t.e.s.recency.has(mh)
}

func (t *evictionStep) apply(c *committer) error {
	if c.expanding() {
		// A block became live, and the counts below it are not raised yet.
		t.busy = true
		return nil
	}
	for began := time.Now(); t.next < len(t.entries) && time.Since(began) < evictTurn; t.next++ {
		entry := t.entries[t.next]
		mh := string(entry.Hash)
		r, err := c.row(mh)
		if err != nil {
			return err
		}
		if !t.here(r, entry) {
			continue
		}
		keeps := t.mustKeep(mh, r)
		if !keeps && !t.e.all && !t.rewrite && c.usage().cacheBlocks <= t.e.maxCached {
			continue
		}
		if !keeps && c.s.protect.doom(mh) {
			t.e.done.Blocks++
			c.changeRow(mh, r, func(r *row) { r.loc = loc{} })
			continue
		}
		if !t.rewrite {
			continue
		}
		b, ok := t.blocks[mh]
		if !ok {
			b, err = c.read(node{mh, r.refs[0].codec}, r.loc)
			if errors.Is(err, block.ErrDamaged) || errors.Is(err, pack.ErrGone) {
				if err := c.markLost(mh, r.loc); err != nil {
					return err
				}
				continue
			}
			if err != nil {
				return err
			}
		}
		kind := kindOf(r)
		to, err := c.append(kind, b)
		if err != nil {
			return err
		}
		// Appending may have created a pack.
		if w := c.writers[kind]; w != nil && !slices.Contains(t.writers, w) {
			t.writers = append(t.writers, w)
		}
		t.e.moved += to.section()
		c.changeRow(mh, r, func(r *row) { r.loc = to })
	}
	t.e.now = c.usage()
	return nil
}

// kindOf returns the kind of pack that a block belongs into, by its row.
func kindOf(r *row) int {
	if !r.live() {
		return kindCache
	}
	for _, f := range r.refs {
		if f.flags&refHasLinks != 0 {
			return kindLinks
		}
	}
	return kindLeaves
}
