package rpc

import (
	"context"
	"errors"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/ipfs/go-cid"
)

// A DAGStat is what a DAG comes to, each block once.
type DAGStat struct {
	Blocks  int
	Size    int64
	Missing int
}

// StatDAG counts a DAG. That its root isn't here is an error.
func StatDAG(ctx context.Context, get block.Getter, root cid.Cid) (DAGStat, error) {
	var s DAGStat
	for step, err := range dag.Walk(ctx, get, []cid.Cid{root}, dag.WalkOptions{KeepGoing: true}) {
		switch {
		case errors.Is(err, block.ErrNotFound) && step.Depth > 0:
			s.Missing++
			continue
		case err != nil:
			return s, err
		}
		s.Blocks++
		s.Size += int64(step.Block.Size())
	}
	return s, nil
}

// A dagStatShape is one DAG of Kubo's dag/stat; Missing is ours.
type dagStatShape struct {
	Cid       string
	Size      int64 `json:",omitempty"`
	NumBlocks int   `json:",omitempty"`
	Missing   int   `json:",omitempty"`
}

// dagStat is Kubo's, but for its intermediate states: it tells the end alone.
func (c *call) dagStat() error {
	get := c.getter()
	roots, err := c.places(get)
	if err != nil {
		return err
	}
	var shape struct {
		UniqueBlocks int            `json:",omitempty"`
		TotalSize    int64          `json:",omitempty"`
		SharedSize   int64          `json:",omitempty"`
		Ratio        float32        `json:",omitempty"`
		DagStats     []dagStatShape `json:",omitempty"`
	}
	var sum int64
	for _, root := range roots {
		s, err := StatDAG(c.ctx, get, root)
		if err != nil {
			return err
		}
		shape.DagStats = append(shape.DagStats, dagStatShape{root.String(), s.Size, s.Blocks, s.Missing})
		shape.UniqueBlocks += s.Blocks
		sum += s.Size
	}
	shape.TotalSize = sum
	if len(roots) > 1 {
		// What several share counts once.
		shape.UniqueBlocks, shape.TotalSize = 0, 0
		for step, err := range dag.Walk(c.ctx, get, roots, dag.WalkOptions{KeepGoing: true}) {
			if err != nil {
				if !errors.Is(err, block.ErrNotFound) {
					return err
				}
				continue
			}
			shape.UniqueBlocks++
			shape.TotalSize += int64(step.Block.Size())
		}
	}
	shape.SharedSize = sum - shape.TotalSize
	if shape.TotalSize > 0 {
		shape.Ratio = float32(sum) / float32(shape.TotalSize)
	}
	return c.item(shape)
}

// StatDAG counts a DAG that is at the daemon.
func (c *Client) StatDAG(ctx context.Context, root cid.Cid) (DAGStat, error) {
	var shape struct{ DagStats []dagStatShape }
	if err := c.call(ctx, ourVerb("dag/stat", root.String()), &shape); err != nil {
		return DAGStat{}, err
	}
	if len(shape.DagStats) != 1 {
		return DAGStat{}, errors.New("dag/stat: the daemon counted something else")
	}
	s := shape.DagStats[0]
	return DAGStat{s.NumBlocks, s.Size, s.Missing}, nil
}
