package rpc

import (
	"context"

	"github.com/cairn-ipfs/cairn/store"
)

// A statsShape is what stats answers.
type statsShape struct {
	Path string
	store.Stats
}

func (c *call) stats() error {
	st, err := c.node.Store().Stats(c.ctx)
	if err != nil {
		return err
	}
	return c.value(statsShape{c.node.Store().Dir(), st})
}

// Stats counts what the daemon's repository holds.
func (c *Client) Stats(ctx context.Context) (store.Stats, error) {
	var shape statsShape
	err := c.call(ctx, request{verb: "cairn/stats"}, &shape)
	return shape.Stats, err
}

// Dir is where the daemon's repository lies, on its own disk.
func (c *Client) Dir(ctx context.Context) (string, error) {
	var shape statsShape
	err := c.call(ctx, request{verb: "cairn/stats"}, &shape)
	return shape.Path, err
}
