package kubo

import (
	"errors"
	"fmt"
	"io"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multicodec"
)

// A blockStat is the answer about a block.
type blockStat struct {
	Key  string
	Size int
}

func (c *call) blockGet() error {
	get := c.getter()
	k, err := c.resolveArg(get, c.Args[0])
	if err != nil {
		return err
	}
	b, err := get.Get(c.Context(), k)
	if err != nil {
		return err
	}
	c.Header().Set(httpapi.ContentLength, fmt.Sprint(b.Size()))
	_, err = c.Bytes("application/octet-stream").Write(b.Data())
	return err
}

func (c *call) blockStat() error {
	get := c.getter()
	k, err := c.resolveArg(get, c.Args[0])
	if err != nil {
		return err
	}
	size, err := c.node.Store().Size(c.Context(), k)
	if errors.Is(err, block.ErrNotFound) && !get.offline {
		var b block.Block
		b, err = get.Get(c.Context(), k)
		size = b.Size()
	}
	if err != nil {
		return err
	}
	return c.Value(blockStat{k.String(), size})
}

// prefix reads the options for a block's CID.
func (c *call) prefix(codec, standard, hash string) (cid.Prefix, error) {
	p := cid.Prefix{Version: 1, MhLength: int(c.Number("mhlen", -1))}
	for _, o := range []struct {
		name, standard string
		code           *uint64
	}{{codec, standard, &p.Codec}, {hash, "sha2-256", &p.MhType}} {
		text := c.Text(o.name, o.standard)
		var code multicodec.Code
		if err := code.Set(text); err != nil {
			return p, httpapi.BadRequest("invalid option %s: %.64q: want a name from the table of multicodecs", o.name, text)
		}
		*o.code = uint64(code)
	}
	return p, c.Invalid()
}

func (c *call) blockPut() error {
	pin := c.Flag("pin", false)
	if c.Query.Get("format") == "v0" {
		c.Query.Set("cid-codec", "dag-pb")
	}
	p, err := c.prefix("cid-codec", "raw", "mhtype")
	if err != nil {
		return err
	}
	if p.Codec == block.DagPB && c.Query.Get("format") == "v0" {
		p.Version = 0
	}
	put, err := c.putParts(pin, func(part httpapi.Part) (block.Block, error) {
		data, err := io.ReadAll(io.LimitReader(part, block.MaxSize+1))
		if err != nil {
			return block.Block{}, err
		}
		return block.NewWithPrefix(p, data)
	})
	for _, b := range put {
		if err := c.Item(b); err != nil {
			return err
		}
	}
	return c.EndList(err)
}

// putParts puts a block for each part of the body, and pins them if pin is set.
// They are durable when it returns.
func (c *call) putParts(pin bool, blockOf func(httpapi.Part) (block.Block, error)) ([]blockStat, error) {
	batch := c.node.Batch()
	defer batch.Discard()
	var put []blockStat
	for part, err := range c.Parts() {
		if err != nil {
			return nil, err
		}
		b, err := blockOf(part)
		if err == nil {
			err = batch.Put(c.Context(), b)
		}
		if err != nil {
			return nil, err
		}
		if pin {
			batch.Alias(cairn.PinName(b.CID()), b.CID(), store.AliasOptions{})
		}
		if put = append(put, blockStat{b.CID().String(), b.Size()}); len(put) > httpapi.MaxParts {
			return nil, httpapi.BadRequest("more than %d parts in one request", httpapi.MaxParts)
		}
	}
	if err := batch.Commit(c.Context()); err != nil {
		return nil, err
	}
	return put, nil
}

// blockRm removes blocks, and answers with a line for each: removed, or the error.
func (c *call) blockRm() error {
	force, quiet := c.Flag("force", false), c.Flag("quiet", false)
	if c.Invalid() != nil {
		return c.Invalid()
	}
	for _, arg := range c.Args {
		k, err := cidArgument(arg)
		if err != nil {
			return err
		}
		_, err = c.node.Store().Size(c.Context(), k)
		if errors.Is(err, block.ErrNotFound) && force {
			continue
		}
		if err == nil {
			err = c.node.Store().Delete(c.Context(), k)
		}
		removed := struct {
			Hash  string `json:",omitempty"`
			Error string `json:",omitempty"`
		}{Hash: k.String()}
		if err != nil {
			removed.Error = message(err)
		} else if quiet {
			continue
		}
		if err := c.Item(removed); err != nil {
			return err
		}
	}
	return c.EndList(nil)
}
