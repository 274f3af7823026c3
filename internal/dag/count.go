package dag

import (
	"context"
	"errors"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// Totals are the size of a DAG, each block counted once.
type Totals struct {
	Blocks int   `json:"blocks"`
	Bytes  int64 `json:"size"`
	// Missing counts the blocks that could not be found. There may be more below
	// them.
	Missing int `json:"missing"`
}

// Count counts a DAG. Its root has to be there. Errors: those of Walk.
func Count(ctx context.Context, get block.Getter, root cid.Cid) (Totals, error) {
	var t Totals
	for step, err := range Walk(ctx, get, []cid.Cid{root}, WalkOptions{KeepGoing: true}) {
		switch {
		case errors.Is(err, block.ErrNotFound) && step.Depth > 0:
			t.Missing++
			continue
		case err != nil:
			return t, err
		}
		t.Blocks++
		t.Bytes += int64(step.Block.Size())
	}
	return t, nil
}
