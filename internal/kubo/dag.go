package kubo

import (
	"context"
	"errors"
	"strings"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/internal/ipld"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

func (c *call) dagGet() error {
	get := c.getter()
	codec, err := ipld.CodecByName(c.Text("output-codec", "dag-json"))
	if err != nil {
		return httpapi.BadRequest("option output-codec: %w", err)
	}
	root, path, err := c.rootOf(c.Args[0])
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
	root, path, err := c.rootOf(c.Args[0])
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

// A countingPutter counts the blocks that it passes on.
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
	root, err := c.resolveArg(get, c.Args[0])
	if err != nil {
		return err
	}
	// A missing root is an error with a status, not a short answer.
	if !block.IsIdentity(root) {
		if _, err := get.Get(c.Context(), root); err != nil {
			return err
		}
	}
	return cairn.ExportCAR(c.Context(), get, c.Bytes("application/vnd.ipld.car"), root)
}

// A dagStatShape is one DAG in the answer of dag/stat. Missing is ours.
type dagStatShape struct {
	Cid       string
	Size      int64 `json:",omitempty"`
	NumBlocks int   `json:",omitempty"`
	Missing   int   `json:",omitempty"`
}

// dagStat counts DAGs. Kubo also reports intermediate states; this has only the
// result.
func (c *call) dagStat() error {
	get := c.getter()
	roots, err := c.resolveArgs(get)
	if err != nil {
		return err
	}
	var shape struct {
		UniqueBlocks int            `json:",omitempty"`
		TotalSize    int64          `json:",omitempty"`
		SharedSize   int64          `json:",omitempty"`
		Ratio        float32        `json:",omitempty"`
		DagStats     []dagStatShape `json:",omitempty"`
	}
	var sum int64
	for _, root := range roots {
		s, err := dag.Count(c.Context(), get, root)
		if err != nil {
			return err
		}
		shape.DagStats = append(shape.DagStats, dagStatShape{root.String(), s.Bytes, s.Blocks, s.Missing})
		shape.UniqueBlocks += s.Blocks
		sum += s.Bytes
	}
	shape.TotalSize = sum
	if len(roots) > 1 {
		// A block of several DAGs counts once.
		shape.UniqueBlocks, shape.TotalSize = 0, 0
		for step, err := range dag.Walk(c.Context(), get, roots, dag.WalkOptions{KeepGoing: true}) {
			if err != nil {
				if !errors.Is(err, block.ErrNotFound) {
					return err
				}
				continue
			}
			shape.UniqueBlocks++
			shape.TotalSize += int64(step.Block.Size())
		}
	}
	shape.SharedSize = sum - shape.TotalSize
	if shape.TotalSize > 0 {
		shape.Ratio = float32(sum) / float32(shape.TotalSize)
	}
	return c.Item(shape)
}
