package rpc

import (
	"errors"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

func (c *call) dagGet() error {
	get := c.getter()
	codec, err := CodecByName(c.text("output-codec", "dag-json"))
	if err != nil {
		return badRequest("option output-codec: %w", err)
	}
	root, path, err := c.content(c.args[0])
	if err != nil {
		return err
	}
	found, err := NodeAt(c.ctx, get, root, path)
	if err != nil {
		return err
	}
	data, err := codec.Bytes(found.Node)
	if err != nil {
		return err
	}
	kind := "application/vnd.ipld." + codec.Name
	switch codec.Name {
	case "json", "cbor":
		kind = "application/" + codec.Name
	}
	_, err = c.bytes(kind).Write(data)
	return c.empty(kind, err)
}

func (c *call) dagPut() error {
	from, err := CodecByName(c.text("input-codec", "dag-json"))
	if err != nil {
		return badRequest("option input-codec: %w", err)
	}
	to, err := CodecByName(c.text("store-codec", "dag-cbor"))
	if err != nil {
		return badRequest("option store-codec: %w", err)
	}
	pin := c.flag("pin", false)
	p, err := c.prefix("store-codec", "dag-cbor", "hash")
	if err != nil {
		return err
	}
	batch := c.node.Batch()
	defer batch.Discard()
	var put []cid.Cid
	for part, err := range c.parts() {
		if err != nil {
			return err
		}
		b, err := ReadValue(part, from, to, p)
		if err == nil {
			err = batch.Put(c.ctx, b)
		}
		if err != nil {
			return err
		}
		if pin {
			batch.Alias(cairn.PinName(b.CID()), b.CID(), store.AliasOptions{})
		}
		if put = append(put, b.CID()); len(put) > maxParts {
			return badRequest("more than %d values in one request", maxParts)
		}
	}
	if err := batch.Commit(c.ctx); err != nil {
		return err
	}
	for _, k := range put {
		if err := c.item(struct{ Cid link }{link{k.String()}}); err != nil {
			return err
		}
	}
	return c.lines(nil)
}

func (c *call) dagResolve() error {
	root, path, err := c.content(c.args[0])
	if err != nil {
		return err
	}
	found, err := NodeAt(c.ctx, c.getter(), root, path)
	if errors.Is(err, block.ErrUnknownCodec) && path == "" {
		found.Block, err = root, nil
	}
	if err != nil {
		return err
	}
	return c.value(struct {
		Cid     link
		RemPath string
	}{link{found.Block.String()}, found.Rest})
}
