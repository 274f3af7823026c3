package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multicodec"
)

// A blockStat is a block as Kubo tells of it.
type blockStat struct {
	Key  string
	Size int
}

func (c *call) blockGet() error {
	get := c.getter()
	k, err := c.place(get, c.args[0])
	if err != nil {
		return err
	}
	b, err := get.Get(c.ctx, k)
	if err != nil {
		return err
	}
	c.w.Header().Set(contentLength, fmt.Sprint(b.Size()))
	_, err = c.bytes("application/octet-stream").Write(b.Data())
	return err
}

// Get returns a block that is at the daemon. It is verified here.
func (c *Client) Get(ctx context.Context, k cid.Cid) (block.Block, error) {
	if b, inlined := block.Inlined(k); inlined {
		return b, nil
	}
	resp, err := c.do(ctx, ourVerb("block/get", k.String()))
	if err != nil {
		return block.Block{}, err
	}
	defer resp.Body.Close()
	size := block.MaxSize + 1
	var n int
	if _, err := fmt.Sscan(resp.Header.Get(contentLength), &n); err == nil && n >= 0 && n < size {
		size = n + 1 // one more finds out that there's no more
	}
	data := make([]byte, size)
	// io.ReadFull has the same error for an answer that ends early, and for one that
	// breaks off.
	for n = 0; n < len(data) && err == nil; {
		var more int
		more, err = resp.Body.Read(data[n:])
		n += more
	}
	switch {
	case err == nil || n == size:
		return block.Block{}, fmt.Errorf("get %s: the daemon's answer has more than %d bytes", k, size-1)
	case err != io.EOF:
		return block.Block{}, c.cut(ctx, err)
	}
	return block.Verify(k, data[:n:n])
}

func (c *call) blockStat() error {
	get := c.getter()
	k, err := c.place(get, c.args[0])
	if err != nil {
		return err
	}
	size, err := c.node.Store().Size(c.ctx, k)
	if errors.Is(err, block.ErrNotFound) && !get.offline {
		var b block.Block
		b, err = get.Get(c.ctx, k)
		size = b.Size()
	}
	if err != nil {
		return err
	}
	return c.value(blockStat{k.String(), size})
}

// Size returns the size of a block that is at the daemon.
func (c *Client) Size(ctx context.Context, k cid.Cid) (int, error) {
	var stat blockStat
	err := c.call(ctx, ourVerb("block/stat", k.String()), &stat)
	return stat.Size, err
}

// Has tells whether a block is at the daemon.
func (c *Client) Has(ctx context.Context, k cid.Cid) (bool, error) {
	_, err := c.Size(ctx, k)
	if errors.Is(err, block.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

var (
	_ block.Getter = (*Client)(nil)
	_ block.Haver  = (*Client)(nil)
	_ block.Sizer  = (*Client)(nil)
)

// prefix reads the options that say how a block is named.
func (c *call) prefix(codec, standard, hash string) (cid.Prefix, error) {
	p := cid.Prefix{Version: 1, MhLength: int(c.number("mhlen", -1))}
	for _, o := range []struct {
		name, standard string
		code           *uint64
	}{{codec, standard, &p.Codec}, {hash, "sha2-256", &p.MhType}} {
		text := c.text(o.name, o.standard)
		var code multicodec.Code
		if err := code.Set(text); err != nil {
			return p, badRequest("option %s: %.64q is no name in the table of multicodecs", o.name, text)
		}
		*o.code = uint64(code)
	}
	return p, c.bad
}

func (c *call) blockPut() error {
	pin := c.flag("pin", false)
	if c.query.Get("format") == "v0" {
		c.query.Set("cid-codec", "dag-pb")
	}
	p, err := c.prefix("cid-codec", "raw", "mhtype")
	if err != nil {
		return err
	}
	if p.Codec == block.DagPB && c.query.Get("format") == "v0" {
		p.Version = 0
	}
	put, err := c.putParts(pin, func(part part) (block.Block, error) {
		data, err := io.ReadAll(io.LimitReader(part, block.MaxSize+1))
		if err != nil {
			return block.Block{}, err
		}
		return block.NewWithPrefix(p, data)
	})
	for _, b := range put {
		if err := c.item(b); err != nil {
			return err
		}
	}
	return c.lines(err)
}

// putParts makes a block of each part of the body, puts them, and pins them if
// that is wished. When it returns, they are durable.
func (c *call) putParts(pin bool, blockOf func(part) (block.Block, error)) ([]blockStat, error) {
	batch := c.node.Batch()
	defer batch.Discard()
	var put []blockStat
	for part, err := range c.parts() {
		if err != nil {
			return nil, err
		}
		b, err := blockOf(part)
		if err == nil {
			err = batch.Put(c.ctx, b)
		}
		if err != nil {
			return nil, err
		}
		if pin {
			batch.Alias(cairn.PinName(b.CID()), b.CID(), store.AliasOptions{})
		}
		if put = append(put, blockStat{b.CID().String(), b.Size()}); len(put) > maxParts {
			return nil, badRequest("more than %d parts in one request", maxParts)
		}
	}
	if err := batch.Commit(c.ctx); err != nil {
		return nil, err
	}
	return put, nil
}

// blockRm is Kubo's: it tells of each block whether it went.
func (c *call) blockRm() error {
	force, quiet := c.flag("force", false), c.flag("quiet", false)
	if c.bad != nil {
		return c.bad
	}
	for _, arg := range c.args {
		k, err := cidArgument(arg)
		if err != nil {
			return err
		}
		_, err = c.node.Store().Size(c.ctx, k)
		if errors.Is(err, block.ErrNotFound) && force {
			continue
		}
		if err == nil {
			err = c.node.Store().Delete(c.ctx, k)
		}
		removed := struct {
			Hash  string `json:",omitempty"`
			Error string `json:",omitempty"`
		}{Hash: k.String()}
		if err != nil {
			removed.Error = kuboMessage(err)
		} else if quiet {
			continue
		}
		if err := c.item(removed); err != nil {
			return err
		}
	}
	return c.lines(nil)
}

// blockDelete is ours: all go, or none.
func (c *call) blockDelete() error {
	var all []cid.Cid
	for _, arg := range c.args {
		k, err := cidArgument(arg)
		if err != nil {
			return err
		}
		all = append(all, k)
	}
	return c.node.Store().Delete(c.ctx, all...)
}

// Delete removes blocks that nothing keeps alive, all or none.
func (c *Client) Delete(ctx context.Context, cids ...cid.Cid) error {
	r := request{verb: "cairn/block/rm"}
	for _, k := range cids {
		r.args = append(r.args, k.String())
	}
	return c.call(ctx, r, nil)
}

var _ block.Deleter = (*Client)(nil)
