package kubo

import (
	"context"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
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
	pin, silent, stats := c.Flag("pin-roots", true), c.Flag("silent", false), c.Flag("stats", false)
	if c.Invalid() != nil {
		return c.Invalid()
	}
	batch := c.node.Batch()
	defer batch.Discard()
	counted := &countingPutter{put: batch}
	var roots []cid.Cid
	for part, err := range c.Parts() {
		if err != nil {
			return err
		}
		found, err := cairn.PutCAR(c.Context(), counted, part)
		if err != nil {
			return err
		}
		if roots = append(roots, found...); len(roots) > httpapi.MaxParts {
			return httpapi.BadRequest("more than %d roots in one request", httpapi.MaxParts)
		}
	}
	if pin {
		for _, root := range roots {
			batch.Alias(cairn.PinName(root), root, store.AliasOptions{})
		}
	}
	if err := batch.Commit(c.Context()); err != nil {
		return err
	}
	if silent {
		return c.EndList(nil)
	}
	type rootShape struct {
		Cid         link
		PinErrorMsg string
	}
	if pin {
		for _, root := range roots {
			if err := c.Item(struct{ Root rootShape }{rootShape{Cid: link{root.String()}}}); err != nil {
				return err
			}
		}
	}
	if stats {
		type statsShape struct{ BlockCount, BlockBytesCount int64 }
		return c.Item(struct{ Stats statsShape }{statsShape{counted.blocks, counted.bytes}})
	}
	return c.EndList(nil)
}

func (c *call) dagExport() error {
	get := c.getter()
	root, err := c.place(get, c.Args[0])
	if err != nil {
		return err
	}
	// What isn't here at all has a status.
	if !block.IsIdentity(root) {
		if _, err := get.Get(c.Context(), root); err != nil {
			return err
		}
	}
	return cairn.ExportCAR(c.Context(), get, c.Bytes("application/vnd.ipld.car"), root)
}
