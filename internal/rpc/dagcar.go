package rpc

import (
	"context"
	"io"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// A countingPutter counts what goes through it.
type countingPutter struct {
	put           block.Putter
	blocks, bytes int64
}

func (p *countingPutter) Put(ctx context.Context, blocks ...block.Block) error {
	for _, b := range blocks {
		p.blocks++
		p.bytes += int64(b.Size())
	}
	return p.put.Put(ctx, blocks...)
}

func (c *call) dagImport() error {
	pin, silent, stats := c.flag("pin-roots", true), c.flag("silent", false), c.flag("stats", false)
	if c.bad != nil {
		return c.bad
	}
	batch := c.node.Batch()
	defer batch.Discard()
	counted := &countingPutter{put: batch}
	var roots []cid.Cid
	for part, err := range c.parts() {
		if err != nil {
			return err
		}
		found, err := cairn.ImportCAR(c.ctx, counted, part)
		if err != nil {
			return err
		}
		if roots = append(roots, found...); len(roots) > maxParts {
			return badRequest("more than %d roots in one request", maxParts)
		}
	}
	if pin {
		for _, root := range roots {
			batch.Alias(cairn.PinName(root), root, store.AliasOptions{})
		}
	}
	if err := batch.Commit(c.ctx); err != nil {
		return err
	}
	if silent {
		return c.lines(nil)
	}
	type rootShape struct {
		Cid         link
		PinErrorMsg string
	}
	if pin {
		for _, root := range roots {
			if err := c.item(struct{ Root rootShape }{rootShape{Cid: link{root.String()}}}); err != nil {
				return err
			}
		}
	}
	if stats {
		type statsShape struct{ BlockCount, BlockBytesCount int64 }
		return c.item(struct{ Stats statsShape }{statsShape{counted.blocks, counted.bytes}})
	}
	return c.lines(nil)
}

func (c *call) dagExport() error {
	get := c.getter()
	root, err := c.place(get, c.args[0])
	if err != nil {
		return err
	}
	// What isn't here at all has a status.
	if !block.IsIdentity(root) {
		if _, err := get.Get(c.ctx, root); err != nil {
			return err
		}
	}
	return cairn.ExportCAR(c.ctx, get, c.bytes(carType), root)
}

// ExportCAR writes the DAG below root to w, as a CAR of version 1. A block that
// isn't at the daemon is an error.
func (c *Client) ExportCAR(ctx context.Context, w io.Writer, root cid.Cid) error {
	_, err := c.copy(ctx, ourVerb("dag/export", root.String()), w)
	return err
}
