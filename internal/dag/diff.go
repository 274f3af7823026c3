package dag

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/ipfs/go-cid"

	"github.com/cairn-ipfs/cairn/block"
)

// Bounds on reading the old side, relative to the new side, which is the requested
// work: a request that names large old DAGs costs at most three times what it would
// without them, plus a constant.
const (
	oldReadsPerNew = 2
	oldReadsFree   = 1000
)

// DiffOptions are the options of Diff. The zero value reads each block.
type DiffOptions struct {
	// LinksOf, if set, returns the links of a block without reading it, as a
	// store that keeps them can; it fails with block.ErrNotFound for a block
	// that isn't here.
	LinksOf func(ctx context.Context, c cid.Cid) ([]cid.Cid, error)

	// MaxBlocks is the most CIDs held of each side; 0 means DefaultMaxBlocks.
	// Beyond it the comparison ends, and more blocks than necessary are sent.
	MaxBlocks int
}

// A Difference is the blocks of a new DAG that old DAGs lack, as far as they were
// compared: a block in Blocks may be in an old DAG, too, but all others are.
type Difference struct {
	// Honoured are the old roots whose blocks were here, in the given order. The
	// others were ignored.
	Honoured []cid.Cid
	// NewReads and OldReads count the blocks whose links were looked up.
	NewReads, OldReads int

	get  block.Getter
	root cid.Cid
	old  *Set // in old DAGs
}

// Diff compares the DAG of root with those of the old roots, which a client holds
// whole (spec: docs/spec/have.md). It expands both sides level by level, and stops
// at blocks that it has seen on both. Since a CID stands for all that is below it, a
// block of an old DAG can be left out with everything below.
//
// Reading of the old side is bounded: OldReads ≤ 2 × NewReads + 1,000. Below a
// block that isn't here or can't be decoded nothing is compared; that is no error.
// Diff returns the context's error only.
func Diff(ctx context.Context, get block.Getter, root cid.Cid, old []cid.Cid, o DiffOptions) (*Difference, error) {
	if o.LinksOf == nil {
		o.LinksOf = linksBy(get)
	}
	if o.MaxBlocks == 0 {
		o.MaxBlocks = DefaultMaxBlocks
	}
	d := &Difference{get: get, root: root, old: NewSet()}
	c := comparison{Difference: d, o: o, new: NewSet()}
	c.new.Add(root, false)
	if err := c.honour(ctx, old); err != nil {
		return nil, fmt.Errorf("dag: diff: %w", err)
	}
	newLevel := []cid.Cid{root}
	for len(newLevel) > 0 || len(c.oldLevel) > 0 && c.mayReadOld() {
		newLevel = c.expandNew(ctx, newLevel)
		c.expandOld(ctx)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("dag: diff: %w", err)
		}
	}
	return d, nil
}

// linksBy returns a DiffOptions.LinksOf that reads blocks.
func linksBy(get block.Getter) func(context.Context, cid.Cid) ([]cid.Cid, error) {
	return func(ctx context.Context, c cid.Cid) ([]cid.Cid, error) {
		b, ok := block.Inlined(c)
		if !ok {
			var err error
			if b, err = get.Get(ctx, c); err != nil {
				return nil, err
			}
		}
		return Links(b)
	}
}

// A comparison is a Diff in progress.
type comparison struct {
	*Difference
	o        DiffOptions
	new      *Set      // in the new DAG
	oldLevel []cid.Cid // CIDs in old that weren't expanded yet
}

// honour makes the old roots that are here the first level of the old side. Each
// lookup of a root counts as a read.
func (c *comparison) honour(ctx context.Context, old []cid.Cid) error {
	for _, root := range old {
		if !c.mayReadOld() {
			return nil
		}
		c.OldReads++
		links, err := c.o.LinksOf(ctx, root)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			continue
		}
		c.Honoured = append(c.Honoured, root)
		c.old.Add(root, false)
		c.addOld(links)
	}
	return nil
}

func (c *comparison) mayReadOld() bool {
	return c.OldReads < oldReadsPerNew*c.NewReads+oldReadsFree && c.old.Len() < c.o.MaxBlocks
}

func (c *comparison) addOld(links []cid.Cid) {
	for _, link := range links {
		if c.old.Len() >= c.o.MaxBlocks {
			return
		}
		if isNew, _ := c.old.Add(link, false); isNew && !Leaf(link.Type()) {
			c.oldLevel = append(c.oldLevel, link)
		}
	}
}

// expandNew returns the next level of the new side: the links not seen before of
// the blocks of this level that the old side lacks.
func (c *comparison) expandNew(ctx context.Context, level []cid.Cid) (next []cid.Cid) {
	for _, parent := range level {
		if c.holds(parent) {
			continue
		}
		c.NewReads++
		links, err := c.o.LinksOf(ctx, parent)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			continue // Blocks returns the error
		}
		for _, link := range links {
			if c.new.Len() >= c.o.MaxBlocks {
				break
			}
			if isNew, _ := c.new.Add(link, false); isNew && !Leaf(link.Type()) {
				next = append(next, link)
			}
		}
	}
	return next
}

// expandOld makes the next level of the old side from the blocks of this level that
// the new side lacks, while reading is allowed. The rest goes first the next time.
func (c *comparison) expandOld(ctx context.Context) {
	level := c.oldLevel
	c.oldLevel = nil
	for i, parent := range level {
		if c.new.Has(parent) {
			continue
		}
		if !c.mayReadOld() {
			c.oldLevel = slices.Concat(level[i:], c.oldLevel)
			return
		}
		c.OldReads++
		links, err := c.o.LinksOf(ctx, parent)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			c.addOld(links)
		}
	}
}

// Held is the number of CIDs of old DAGs in memory.
func (d *Difference) Held() int { return d.old.Len() }

// holds reports whether an old DAG is known to hold c, and so all below it.
func (d *Difference) holds(c cid.Cid) bool {
	return d.old.Has(c)
}

// Blocks walks the new DAG as Walk does with these options, but without the blocks
// of old DAGs. The root's block is always yielded.
func (d *Difference) Blocks(ctx context.Context, o WalkOptions) iter.Seq2[Step, error] {
	skip := o.Skip
	o.Skip = func(c cid.Cid) bool {
		return !block.Equal(c, d.root) && d.holds(c) || skip != nil && skip(c)
	}
	if d.holds(d.root) {
		// An old DAG holds all below the root, too, seen or not.
		o.Links = func(block.Block) ([]cid.Cid, error) { return nil, nil }
	}
	return Walk(ctx, d.get, []cid.Cid{d.root}, o)
}
