package kubo

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/access"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// Kubo's pins are aliases here. A pin without a name is the alias pin/CID; one
// with a name is the alias of that name. All of them are recursive: a pin of one
// block alone is refused.

type pinsShape struct{ Pins []string }

func (c *call) pinAdd() error {
	get := c.getter()
	name := c.Query.Get("name")
	if !c.Flag("recursive", true) {
		return httpapi.BadRequest("pin add: only whole DAGs can be pinned")
	}
	if c.Invalid() != nil {
		return c.Invalid()
	}
	if name != "" && len(c.Args) > 1 {
		return httpapi.BadRequest("pin add: got %d CIDs: want one for a name", len(c.Args))
	}
	roots, err := c.resolveArgs(get)
	if err != nil {
		return err
	}
	var pins pinsShape
	err = c.withComplete(roots, get.offline, func() (err error) {
		pins, err = c.changePins(roots, func(batch *store.Batch, root cid.Cid) error {
			alias := cairn.PinName(root)
			if name != "" {
				alias = name
			}
			batch.Alias(alias, root, store.AliasOptions{})
			return nil
		})
		return err
	})
	if err != nil {
		return err
	}
	return c.Item(pins)
}

// changePins changes the pins of several roots, all or none.
func (c *call) changePins(roots []cid.Cid, change func(*store.Batch, cid.Cid) error) (pins pinsShape, err error) {
	batch := c.node.Batch()
	defer batch.Discard()
	for _, root := range roots {
		if err := change(batch, root); err != nil {
			return pins, err
		}
		pins.Pins = append(pins.Pins, root.String())
	}
	return pins, batch.Commit(c.Context())
}

// withComplete fetches the missing blocks of DAGs, as Kubo does before it pins,
// and calls do. Nothing of them is evicted until do returns.
func (c *call) withComplete(roots []cid.Cid, offline bool, do func() error) (err error) {
	pin := c.node.TempPin()
	defer func() { err = errors.Join(err, pin.Release(context.WithoutCancel(c.Context()))) }()
	if err := pin.Add(c.Context(), roots...); err != nil {
		return err
	}
	for _, root := range roots {
		if err := c.fetchMissing(root, offline); err != nil {
			return err
		}
	}
	return do()
}

// fetchMissing fetches the missing blocks of a DAG. Offline, one is an error.
func (c *call) fetchMissing(root cid.Cid, offline bool) error {
	var missing error
	for k, err := range c.node.Store().Missing(c.Context(), root, store.Selection{}) {
		if missing = err; err == nil {
			missing = notFoundError{k}
		}
		break
	}
	if offline || !errors.Is(missing, block.ErrNotFound) {
		return missing
	}
	for _, err := range c.node.Sync(c.Context(), root, cairn.SyncOptions{NoPin: true}) {
		if errors.Is(err, cairn.ErrOffline) {
			return missing
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// A notFoundError is a missing block.
type notFoundError struct{ cid cid.Cid }

func (e notFoundError) Error() string { return e.cid.String() + ": " + block.ErrNotFound.Error() }
func (e notFoundError) Unwrap() error { return block.ErrNotFound }

// A pinShape is one pin.
type pinShape struct {
	Cid  string `json:",omitempty"`
	Name string `json:",omitempty"`
	Type string `json:",omitempty"`
}

// pinLs lists pins: all, or those of the arguments. Several names of one root
// are one pin. Blocks below them ("indirect") are not listed.
func (c *call) pinLs() error {
	stream, quiet, kind, names := c.Flag("stream", false), c.Flag("quiet", false), c.Text("type", "all"), c.Flag("names", false)
	name := c.Query.Get("name")
	if c.Invalid() != nil {
		return c.Invalid()
	}
	switch kind {
	case "all", "recursive":
	case "direct", "indirect":
		return c.showPins(stream, nil)
	default:
		return httpapi.BadRequest("invalid option type: there are no pins of type %.64q", kind)
	}
	found := make(map[string]pinShape)
	add := func(a store.Alias) {
		p := pinShape{Cid: a.Root.String(), Type: "recursive"}
		if !strings.HasPrefix(a.Name, cairn.PinPrefix) {
			p.Name = a.Name
		}
		if name != "" && !strings.Contains(a.Name, name) {
			return
		}
		if old, twice := found[p.Cid]; !twice || old.Name == "" {
			found[p.Cid] = p
		}
	}
	roots, err := c.resolveArgs(c.getter())
	if err != nil {
		return err
	}
	asked := make(map[cid.Cid]bool) // to whether it is pinned
	for _, root := range roots {
		asked[block.V1(root)] = false
	}
	for a, err := range c.node.Store().Aliases(c.Context(), "") {
		if err != nil {
			return err
		}
		if _, ok := asked[block.V1(a.Root)]; ok || len(roots) == 0 {
			asked[block.V1(a.Root)] = true
			add(a)
		}
	}
	for _, root := range roots {
		if !asked[block.V1(root)] {
			return httpapi.Tag(errors.New("path '"+root.String()+"' is not pinned"), store.ErrNoAlias)
		}
	}
	if !names && name == "" || quiet {
		for k, p := range found {
			p.Name = ""
			found[k] = p
		}
	}
	return c.showPins(stream, found)
}

func (c *call) showPins(stream bool, found map[string]pinShape) error {
	if !stream {
		type typeShape struct{ Type, Name string }
		keys := make(map[string]typeShape)
		for k, p := range found {
			keys[k] = typeShape{p.Type, p.Name}
		}
		return c.Value(struct{ Keys map[string]typeShape }{keys})
	}
	for _, k := range slices.Sorted(maps.Keys(found)) {
		if err := c.Item(found[k]); err != nil {
			return err
		}
	}
	return c.EndList(nil)
}

func (c *call) pinRm() error {
	roots, err := c.resolveArgs(c.getter())
	if err != nil {
		return err
	}
	pins, err := c.changePins(roots, func(batch *store.Batch, root cid.Cid) error {
		names, err := c.pinsOf(root)
		if err == nil && len(names) == 0 {
			err = httpapi.Tag(errors.New("not pinned or pinned indirectly: "+root.String()), store.ErrNoAlias)
		}
		for _, name := range names {
			batch.RemoveAlias(name)
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.Value(pins)
}

// pinsOf returns the aliases that pin a root: pin/CID, or, without it, all other
// names.
func (c *call) pinsOf(root cid.Cid) ([]string, error) {
	_, err := c.node.Store().Resolve(c.Context(), cairn.PinName(root))
	if err == nil {
		return []string{cairn.PinName(root)}, nil
	}
	if !errors.Is(err, store.ErrNoAlias) {
		return nil, err
	}
	var names []string
	for a, err := range c.node.Store().Aliases(c.Context(), "") {
		if err != nil {
			return nil, err
		}
		if block.Equal(a.Root, root) {
			names = append(names, a.Name)
		}
	}
	return names, nil
}

func (c *call) pinUpdate() error {
	unpin := c.Flag("unpin", true)
	roots, err := c.resolveArgs(c.getter())
	if err != nil {
		return err
	}
	names, err := c.pinsOf(roots[0])
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return httpapi.Tag(errors.New("'from' cid was not recursively pinned already"), store.ErrNoAlias)
	}
	err = c.withComplete(roots[1:], c.getter().offline, func() error {
		batch := c.node.Batch()
		defer batch.Discard()
		for _, name := range names {
			switch pinned := name == cairn.PinName(roots[0]); {
			case !pinned && unpin:
				batch.Alias(name, roots[1], store.AliasOptions{})
				continue
			case pinned && unpin && !block.Equal(roots[0], roots[1]):
				batch.RemoveAlias(name)
			}
			batch.Alias(cairn.PinName(roots[1]), roots[1], store.AliasOptions{})
		}
		return batch.Commit(c.Context())
	})
	if err != nil {
		return err
	}
	return c.Value(pinsShape{[]string{roots[0].String(), roots[1].String()}})
}

// maxBadNodes bounds the bad blocks that are listed for a pin.
const maxBadNodes = 1000

// pinVerify reads all blocks of all pins.
func (c *call) pinVerify() error {
	verbose, quiet := c.Flag("verbose", false), c.Flag("quiet", false)
	if c.Invalid() != nil {
		return c.Invalid()
	}
	type badNode struct{ Cid, Err string }
	for a, err := range c.node.Store().Aliases(c.Context(), "") {
		if err != nil {
			return err
		}
		shape := struct {
			Cid      string    `json:",omitempty"`
			Ok       bool      `json:",omitempty"`
			BadNodes []badNode `json:",omitempty"`
		}{Cid: a.Root.String(), Ok: true}
		o := dag.WalkOptions{KeepGoing: true, Skip: skipUnselected(a.Selection)}
		for step, err := range dag.Walk(c.Context(), c.node, []cid.Cid{a.Root}, o) {
			if cerr := c.Context().Err(); cerr != nil {
				return cerr
			}
			if err == nil {
				continue
			}
			if shape.Ok = false; len(shape.BadNodes) < maxBadNodes {
				shape.BadNodes = append(shape.BadNodes, badNode{step.CID.String(), err.Error()})
			}
		}
		if quiet {
			shape.BadNodes = nil
		}
		if !shape.Ok || verbose {
			if err := c.Line(shape); err != nil {
				return err
			}
		}
	}
	return c.EndList(nil)
}

// skipUnselected returns nil for a selection of all.
func skipUnselected(s store.Selection) func(cid.Cid) bool {
	if s.IsAll() {
		return nil
	}
	selected := store.Internal(access.Key{}).Selects(s)
	return func(c cid.Cid) bool { return !selected(c) }
}
