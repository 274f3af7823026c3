package rpc

import (
	"context"

	"github.com/cairn-ipfs/cairn"
)

// addBlocks adds through a batch: the blocks are made here.
func (c *Client) addBlocks(ctx context.Context, r AddRequest) ([]cairn.AddResult, error) {
	if r.Options.NoCopy {
		return nil, forbidden("add: without a copy, the daemon has to see the files: ask it over its Unix socket")
	}
	return addAll(ctx, r, func(o cairn.AddOptions) (*cairn.Adder, error) { return cairn.NewAdder(c.Batch(), o) })
}
