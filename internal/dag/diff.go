package dag

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/ipfs/go-cid"

	"github.com/cairn-ipfs/cairn/block"
)

// What reading the old side may cost, set against the new side, which is the
// work that was asked for: a request that names large old DAGs costs at most
// three times what it would without them, and a little.
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

	// MaxBlocks is how many CIDs are held of each side; 0 means
	// DefaultMaxBlocks. Beyond it the comparison ends, and more is sent.
	MaxBlocks int
}

// A Difference is what a new DAG has that old ones haven't, as far as was
// found out: what is in Blocks may be in an old DAG too, but what isn't in
// Blocks is.
type Difference struct {
	// Honoured are those of the old roots whose blocks were here, in the order
	// given. The others were ignored.
	Honoured []cid.Cid
	// NewReads and OldReads count the blocks whose links were looked up.
	NewReads, OldReads int

	get  block.Getter
	root cid.Cid
	old  *Set // in old DAGs
}

// Diff compares the DAG of root with those of the old roots, which somebody
// holds whole (spec: docs/spec/have.md). It expands both sides level by level
// and goes no further below what it has seen on both. Since a CID stands for
// all that is below it, whatever an old DAG is seen to hold can be left out
// with everything below.
//
// Reading of the old side is bounded: OldReads ≤ 2 × NewReads + 1,000. Blocks
// that aren't here or can't be decoded end the comparison below them, and are
// no error. Diff fails only as ctx does.
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

// honour puts the old roots that are here into the first level of the old
// side. They count as read, for what it costs to find out that they are here.
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

// expandNew returns the next level of the new side: the links, not seen
// before, of those blocks of this level that the old side hasn't.
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
			continue // Blocks will meet it again and say so
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

// expandOld makes the next level of the old side of those blocks of this one
// that the new side hasn't, as long as reading is allowed. What couldn't be
// read yet goes first the next time.
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

// Held is how many CIDs of old DAGs are remembered.
func (d *Difference) Held() int { return d.old.Len() }

// holds tells whether an old DAG is seen to hold c, and so all below it.
func (d *Difference) holds(c cid.Cid) bool {
	return d.old.Has(c)
}

// Blocks walks the new DAG without what the old ones hold, as Walk does with
// these options. The root's block is always among it.
func (d *Difference) Blocks(ctx context.Context, o WalkOptions) iter.Seq2[Step, error] {
	skip := o.Skip
	o.Skip = func(c cid.Cid) bool {
		return !block.Equal(c, d.root) && d.holds(c) || skip != nil && skip(c)
	}
	if d.holds(d.root) {
		// All below the root is held too, whether it was seen or not.
		o.Links = func(block.Block) ([]cid.Cid, error) { return nil, nil }
	}
	return Walk(ctx, d.get, []cid.Cid{d.root}, o)
}
