package trustless

import (
	"context"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/ipfs/go-cid"
)

// A comparison is what a DAG has that the client hasn't.
type comparison struct {
	*dag.Difference
	root cid.Cid
	done func()
}

// compare compares the DAG of root with those that the client has.
func (h *handler) compare(ctx context.Context, rq *request, root block.Block) (*comparison, error) {
	if err := h.diffs.enter(rq.remote); err != nil {
		return nil, err
	}
	done := func() { h.diffs.leave(rq.remote) }
	get := &rootGetter{root, h.Blocks}
	d, err := dag.Diff(ctx, get, root.CID(), rq.have, dag.DiffOptions{LinksOf: h.LinksOf, MaxBlocks: h.MaxDiffBlocks})
	if err != nil {
		done()
		return nil, err
	}
	return &comparison{d, root.CID(), done}, nil
}

// children follows the links that the client hasn't.
//
// What a Difference holds shows only as it is walked, and its own walk reads
// nothing ahead and remembers more than one request may. So a walk of one
// step, whose root is at hand, asks it about the links of a block.
func (c *comparison) children(b block.Block, _ child) []child {
	var children []child
	o := dag.WalkOptions{
		Links: func(block.Block) ([]cid.Cid, error) { return linksOf(b) },
		Skip: func(link cid.Cid) bool {
			if block.Equal(link, c.root) {
				return false
			}
			children = append(children, child{cid: link})
			return true
		},
	}
	for _, err := range c.Blocks(context.Background(), o) {
		_ = err // there is none: the root is at hand, and so are the links
	}
	return children
}

// A rootGetter has the root at hand.
type rootGetter struct {
	root   block.Block
	Blocks block.Getter
}

// Get implements block.Getter.
func (g *rootGetter) Get(ctx context.Context, c cid.Cid) (block.Block, error) {
	if c == g.root.CID() {
		return g.root, nil
	}
	return g.Blocks.Get(ctx, c)
}
