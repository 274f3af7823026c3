package trustless

import (
	"context"
	"net/http"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/ipfs/go-cid"
)

const (
	// comparingBytes is what a comparison counts as while it reads DAGs, among
	// the blocks that are held for a remote: it has a block of each, their links,
	// and what it remembers.
	comparingBytes = 1 << 20
	// comparedBytes is what is held for each block that the client has, after
	// comparing.
	comparedBytes = 32
)

// A comparison is what a DAG has that the client hasn't.
type comparison struct {
	*dag.Difference
	root cid.Cid
}

// compare compares the DAG of root with those that the client has.
func (h *handler) compare(ctx context.Context, rq *request, root block.Block, state *share) (*comparison, error) {
	// Who reads slowly what it asked for before has the time for that, and some is
	// left for the response.
	if err := takeWithin(ctx, h.WriteTimeout/2, h.memory, rq.remote, comparingBytes); err != nil {
		return nil, err
	}
	defer h.memory.give(rq.remote, comparingBytes)
	if err := takeWithin(ctx, patience, h.diffs, rq.remote, 1); err != nil {
		return nil, err
	}
	defer h.diffs.give(rq.remote, 1)
	get := &rootGetter{root, h.Blocks}
	d, err := dag.Diff(ctx, get, root.CID(), rq.have, dag.DiffOptions{LinksOf: h.LinksOf, MaxBlocks: h.MaxDiffBlocks})
	if err != nil {
		return nil, err
	}
	if !state.more(d.Held() * comparedBytes) {
		return nil, refuse(http.StatusTooManyRequests, "too many responses under way that leave out what the client has")
	}
	return &comparison{d, root.CID()}, nil
}

// takeWithin takes n of q, or says that it can't be had in that time.
func takeWithin(ctx context.Context, d time.Duration, q *quota, remote string, n int) error {
	waiting, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	err := q.take(waiting, remote, n)
	if err != nil && ctx.Err() == nil {
		return refuse(http.StatusTooManyRequests, "too many requests that compare DAGs")
	}
	return err
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
