package rpc

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// A SyncShape is how far a sync has come, in JSON.
type SyncShape struct {
	Blocks         int64 `json:"blocks"`
	Bytes          int64 `json:"bytes"`
	Duplicates     int64 `json:"duplicates"`
	DuplicateBytes int64 `json:"duplicateBytes"`
	Wanted         int   `json:"wanted"`
	// Rate is in bytes a second, Left in seconds, 0 while it can't be told.
	Rate    float64           `json:"rate"`
	Left    float64           `json:"left"`
	Sources []SyncSourceShape `json:"sources"`
	Done    bool              `json:"done"`
}

// A SyncSourceShape is a source of a sync, in JSON.
type SyncSourceShape struct {
	Name   string `json:"name"`
	Blocks int64  `json:"blocks"`
	Bytes  int64  `json:"bytes"`
	Error  string `json:"error,omitempty"`
}

// ShapeOfSync returns progress as it is in JSON.
func ShapeOfSync(p cairn.SyncProgress) SyncShape {
	s := SyncShape{
		Blocks: p.Blocks, Bytes: p.Bytes, Duplicates: p.Duplicates, DuplicateBytes: p.DuplicateBytes,
		Wanted: p.Wanted, Rate: p.Rate, Left: p.Left.Seconds(), Sources: []SyncSourceShape{}, Done: p.Done,
	}
	for _, source := range p.Sources {
		one := SyncSourceShape{Name: source.Name, Blocks: source.Blocks, Bytes: source.Bytes}
		if source.Err != nil {
			one.Error = source.Err.Error()
		}
		s.Sources = append(s.Sources, one)
	}
	return s
}

func (s SyncShape) progress() cairn.SyncProgress {
	p := cairn.SyncProgress{
		Blocks: s.Blocks, Bytes: s.Bytes, Duplicates: s.Duplicates, DuplicateBytes: s.DuplicateBytes,
		Wanted: s.Wanted, Rate: s.Rate, Left: time.Duration(s.Left * float64(time.Second)), Done: s.Done,
	}
	for _, source := range s.Sources {
		one := cairn.SyncSource{Name: source.Name, Blocks: source.Blocks, Bytes: source.Bytes}
		if source.Error != "" {
			one.Err = errors.New(source.Error)
		}
		p.Sources = append(p.Sources, one)
	}
	return p
}

// maxHave is how many former roots one request may name.
const maxHave = 1000

func (c *call) sync() error {
	root, err := rootOf(c.args[0])
	if err != nil {
		return err
	}
	o := cairn.SyncOptions{
		From: c.query["from"], OnlyFrom: c.flag("only-from", false),
		Alias: c.query.Get("alias"), NoPin: c.flag("no-pin", false),
	}
	if o.Selection, err = c.selection(); err != nil {
		return err
	}
	if len(c.query["have"]) > maxHave {
		return badRequest("option have: %d of them: the most is %d", len(c.query["have"]), maxHave)
	}
	for _, text := range c.query["have"] {
		k, err := block.ParseCID(text)
		if err != nil {
			return badRequest("option have: %w", err)
		}
		o.Have = append(o.Have, k)
	}
	if c.bad != nil {
		return c.bad
	}
	for p, err := range c.node.Sync(c.ctx, root, o) {
		if err == nil {
			err = c.line(ShapeOfSync(p))
		}
		if err != nil {
			return err
		}
	}
	return c.lines(nil)
}

// Sync makes the daemon get a DAG, and yields how far it has come, as
// cairn.Node.Sync does. It ends with the range. Follow is refused: it is code,
// which can't be sent.
func (c *Client) Sync(ctx context.Context, root cid.Cid, o cairn.SyncOptions) iter.Seq2[cairn.SyncProgress, error] {
	return func(yield func(cairn.SyncProgress, error) bool) {
		r := request{verb: "cairn/sync", args: []string{root.String()}}
		err := r.selection(o.Selection)
		if err == nil && o.Follow != nil {
			err = errors.New("sync: a daemon can't call Follow")
		}
		if err != nil {
			yield(cairn.SyncProgress{}, err)
			return
		}
		for _, from := range o.From {
			r.option("from", from)
		}
		for _, k := range o.Have {
			r.option("have", k)
		}
		r.option("only-from", o.OnlyFrom)
		r.option("no-pin", o.NoPin)
		if o.Alias != "" {
			r.option("alias", o.Alias)
		}
		for shape, err := range values[SyncShape](ctx, c, r) {
			if !yield(shape.progress(), err) || err != nil {
				return
			}
		}
	}
}
