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
	// comparingBytes is what a comparison counts in the quota of blocks while it
	// reads DAGs: a block of each, their links, and its own state.
	comparingBytes = 1 << 20
	// comparedBytes is what a finished comparison holds for each block that the
	// client has.
	comparedBytes = 32
)

// A comparison is the part of a DAG that the client lacks.
type comparison struct {
	*dag.Difference
	root cid.Cid
}

// compare compares the DAG of root with those that the client has.
func (h *handler) compare(ctx context.Context, rq *request, root block.Block, state *share) (*comparison, error) {
	// A slow client may need half of the time to read former responses; the rest
	// is for this one.
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

// takeWithin takes n of q, or refuses the request after that time.
func takeWithin(ctx context.Context, d time.Duration, q *quota, remote string, n int) error {
	waiting, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	err := q.take(waiting, remote, n)
	if err != nil && ctx.Err() == nil {
		return refuse(http.StatusTooManyRequests, "too many requests that compare DAGs")
	}
	return err
}

// children follows the links to blocks that the client lacks.
//
// A Difference shows what it holds only when it is walked, and its own walk reads
// nothing ahead and remembers more than one request may. So a walk of one step,
// from a root in memory, filters the links of one block.
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
		_ = err // none: the root and its links are in memory
	}
	return children
}

// A rootGetter has the root in memory.
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
