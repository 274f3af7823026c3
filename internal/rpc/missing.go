package rpc

import (
	"context"
	"fmt"
	"iter"

	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

type cidLine struct {
	CID string `json:"cid"`
}

func (c *call) missing() error {
	root, err := c.place(c.node, c.args[0])
	if err != nil {
		return err
	}
	sel, err := c.selection()
	if err != nil {
		return err
	}
	for k, err := range c.node.Store().Missing(c.ctx, root, sel) {
		if err == nil {
			err = c.item(cidLine{k.String()})
		}
		if err != nil {
			return err
		}
	}
	return c.lines(nil)
}

// Missing lists what isn't at the daemon of a DAG, as store.Store.Missing does.
func (c *Client) Missing(ctx context.Context, root cid.Cid, sel store.Selection) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		r := request{verb: "cairn/missing", args: []string{root.String()}}
		if err := r.selection(sel); err != nil {
			yield(cid.Undef, err)
			return
		}
		for line, err := range values[cidLine](ctx, c, r) {
			k := cid.Undef
			if err == nil {
				if k, err = cid.Decode(line.CID); err != nil {
					err = fmt.Errorf("missing: read the daemon's answer: %w", err)
				}
			}
			if !yield(k, err) || err != nil {
				return
			}
		}
	}
}
