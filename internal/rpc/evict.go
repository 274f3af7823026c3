package rpc

import (
	"context"

	"github.com/cairn-ipfs/cairn/store"
)

func (c *call) evict() error {
	o := store.EvictOptions{
		Target: c.number("target", 0), DryRun: c.flag("dry-run", false), Confirm: c.flag("confirm", false),
	}
	if c.bad != nil {
		return c.bad
	}
	if o.Target < 0 {
		return badRequest("option target: it is %d, less than nothing", o.Target)
	}
	done, err := c.node.Store().Evict(c.ctx, o)
	if err != nil {
		return err
	}
	return c.value(done)
}

// Evict removes garbage at the daemon.
func (c *Client) Evict(ctx context.Context, o store.EvictOptions) (done store.Evicted, err error) {
	r := request{verb: "cairn/gc"}
	r.option("target", o.Target)
	r.option("dry-run", o.DryRun)
	r.option("confirm", o.Confirm)
	err = c.call(ctx, r, &done)
	return done, err
}
