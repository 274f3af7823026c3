package kubo

import (
	"errors"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/dag"
)

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
		s, err := dag.Count(c.Context(), get, root)
		if err != nil {
			return err
		}
		shape.DagStats = append(shape.DagStats, dagStatShape{root.String(), s.Bytes, s.Blocks, s.Missing})
		shape.UniqueBlocks += s.Blocks
		sum += s.Bytes
	}
	shape.TotalSize = sum
	if len(roots) > 1 {
		// What several share counts once.
		shape.UniqueBlocks, shape.TotalSize = 0, 0
		for step, err := range dag.Walk(c.Context(), get, roots, dag.WalkOptions{KeepGoing: true}) {
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
	return c.Item(shape)
}
