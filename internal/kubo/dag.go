package kubo

import (
	"errors"
	"strings"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/internal/ipld"
)

func (c *call) dagGet() error {
	get := c.getter()
	codec, err := ipld.CodecByName(c.Text("output-codec", "dag-json"))
	if err != nil {
		return httpapi.BadRequest("option output-codec: %w", err)
	}
	root, path, err := c.content(c.Args[0])
	if err != nil {
		return err
	}
	found, err := ipld.NodeAt(c.Context(), get, root, path)
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
	_, err = c.Bytes(kind).Write(data)
	return c.EndBytes(kind, err)
}

func (c *call) dagPut() error {
	from, err := ipld.CodecByName(c.Text("input-codec", "dag-json"))
	if err != nil {
		return httpapi.BadRequest("option input-codec: %w", err)
	}
	to, err := ipld.CodecByName(c.Text("store-codec", "dag-cbor"))
	if err != nil {
		return httpapi.BadRequest("option store-codec: %w", err)
	}
	pin := c.Flag("pin", false)
	p, err := c.prefix("store-codec", "dag-cbor", "hash")
	if err != nil {
		return err
	}
	put, err := c.putParts(pin, func(part httpapi.Part) (block.Block, error) { return ipld.ReadValue(part, from, to, p) })
	for _, b := range put {
		if err := c.Item(struct{ Cid link }{link{b.Key}}); err != nil {
			return err
		}
	}
	return c.EndList(err)
}

func (c *call) dagResolve() error {
	root, path, err := c.content(c.Args[0])
	if err != nil {
		return err
	}
	found, err := ipld.NodeAt(c.Context(), c.getter(), root, path)
	if errors.Is(err, block.ErrUnknownCodec) && path == "" {
		found.CID, err = root, nil
	}
	if err != nil {
		return err
	}
	return c.Value(struct {
		Cid     link
		RemPath string
	}{link{found.CID.String()}, strings.Join(found.Rest, "/")})
}
