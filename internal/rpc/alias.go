package rpc

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// An aliasShape is an alias in JSON.
type aliasShape struct {
	Name      string          `json:"name"`
	CID       string          `json:"cid"`
	Held      string          `json:"held,omitempty"`
	Selection *selectionShape `json:"selection,omitempty"`
}

// A selectionShape is a store.Selection in JSON.
type selectionShape struct {
	Skip  []string `json:"skip,omitempty"`
	Share uint32   `json:"share,omitempty"`
	Of    uint32   `json:"of,omitempty"`
}

func shapeOfAlias(a store.Alias) aliasShape {
	s := aliasShape{Name: a.Name, CID: a.Root.String(), Selection: shapeOfSelection(a.Selection)}
	if a.Held.Defined() {
		s.Held = a.Held.String()
	}
	return s
}

func (s aliasShape) alias() (a store.Alias, err error) {
	a.Name = s.Name
	if a.Root, err = cid.Decode(s.CID); err != nil {
		return a, fmt.Errorf("alias %q: %w: %w", s.Name, block.ErrMalformed, err)
	}
	if s.Held != "" {
		if a.Held, err = cid.Decode(s.Held); err != nil {
			return a, fmt.Errorf("alias %q: %w: %w", s.Name, block.ErrMalformed, err)
		}
	}
	a.Selection, err = s.Selection.selection()
	return a, err
}

// shapeOfSelection returns nil for all.
func shapeOfSelection(s store.Selection) *selectionShape {
	if s.IsAll() {
		return nil
	}
	shape := &selectionShape{Share: s.Share, Of: s.Of}
	for _, c := range s.Skip {
		shape.Skip = append(shape.Skip, c.String())
	}
	return shape
}

func (s *selectionShape) selection() (store.Selection, error) {
	if s == nil {
		return store.Selection{}, nil
	}
	sel := store.Selection{Share: s.Share, Of: s.Of}
	for _, text := range s.Skip {
		c, err := block.ParseCID(text)
		if err != nil {
			return sel, badRequest("selection: %w", err)
		}
		sel.Skip = append(sel.Skip, c)
	}
	return sel, nil
}

// selection reads the option of that name, which is JSON.
func (c *call) selection() (store.Selection, error) {
	text := c.query.Get("selection")
	if text == "" {
		return store.Selection{}, nil
	}
	var shape selectionShape
	if err := json.Unmarshal([]byte(text), &shape); err != nil {
		return store.Selection{}, badRequest("option selection: %w", err)
	}
	return shape.selection()
}

func (r *request) selection(s store.Selection) error {
	shape := shapeOfSelection(s)
	if shape == nil {
		return nil
	}
	text, err := json.Marshal(shape)
	if err == nil {
		r.option("selection", string(text))
	}
	return err
}

func (c *call) aliasSet() error {
	root, err := c.place(c.node, c.args[1])
	if err != nil {
		return err
	}
	o := store.AliasOptions{Hold: c.flag("hold", false)}
	if o.Selection, err = c.selection(); err != nil {
		return err
	}
	if c.bad != nil {
		return c.bad
	}
	if err := c.node.Store().SetAlias(c.ctx, c.args[0], root, o); err != nil {
		return err
	}
	return c.value(aliasShape{Name: c.args[0], CID: root.String(), Selection: shapeOfSelection(o.Selection)})
}

// SetAlias gives a root a name, durably.
func (c *Client) SetAlias(ctx context.Context, name string, root cid.Cid, o store.AliasOptions) error {
	r := request{verb: "cairn/alias/set", args: []string{name, root.String()}}
	r.option("hold", o.Hold)
	if err := r.selection(o.Selection); err != nil {
		return err
	}
	return c.call(ctx, r, nil)
}

func (c *call) aliasGet() error {
	a, err := c.node.Store().GetAlias(c.ctx, c.args[0])
	if err != nil {
		return err
	}
	return c.value(shapeOfAlias(a))
}

// GetAlias returns the alias of that name.
func (c *Client) GetAlias(ctx context.Context, name string) (store.Alias, error) {
	var shape aliasShape
	if err := c.call(ctx, request{verb: "cairn/alias/get", args: []string{name}}, &shape); err != nil {
		return store.Alias{}, err
	}
	return shape.alias()
}

func (c *call) aliasLs() error {
	prefix := ""
	if len(c.args) > 0 {
		prefix = c.args[0]
	}
	return c.aliases(c.node.Store().Aliases(c.ctx, prefix))
}

func (c *call) aliases(all iter.Seq2[store.Alias, error]) error {
	for a, err := range all {
		if err == nil {
			err = c.item(shapeOfAlias(a))
		}
		if err != nil {
			return err
		}
	}
	return c.lines(nil)
}

// Aliases lists the aliases whose names begin with prefix.
func (c *Client) Aliases(ctx context.Context, prefix string) iter.Seq2[store.Alias, error] {
	return c.aliases(ctx, request{verb: "cairn/alias/ls", args: []string{prefix}})
}

func (c *Client) aliases(ctx context.Context, r request) iter.Seq2[store.Alias, error] {
	return func(yield func(store.Alias, error) bool) {
		for shape, err := range values[aliasShape](ctx, c, r) {
			var a store.Alias
			if err == nil {
				a, err = shape.alias()
			}
			if !yield(a, err) || err != nil {
				return
			}
		}
	}
}

func (c *call) aliasRm() error {
	b := c.node.Batch()
	defer b.Discard()
	for _, name := range c.args {
		b.RemoveAlias(name)
	}
	return b.Commit(c.ctx)
}

// RemoveAlias removes a name.
func (c *Client) RemoveAlias(ctx context.Context, name string) error {
	return c.call(ctx, request{verb: "cairn/alias/rm", args: []string{name}}, nil)
}

func (c *call) aliasWhy() error {
	k, err := c.place(c.node, c.args[0])
	if err != nil {
		return err
	}
	return c.aliases(c.node.Store().ReverseAlias(c.ctx, k))
}

// ReverseAlias lists the aliases that keep a block alive.
func (c *Client) ReverseAlias(ctx context.Context, k cid.Cid) iter.Seq2[store.Alias, error] {
	return c.aliases(ctx, request{verb: "cairn/alias/why", args: []string{k.String()}})
}
