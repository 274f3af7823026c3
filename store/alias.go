package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"unicode/utf8"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/ipfs/go-cid"
)

// aliasRow is an alias in the index. It adds one to the count of each target:
// the root, or the nodes that an identity root links to.
type aliasRow struct {
	Alias
	targets     []node
	heldTargets []node
}

func (a *aliasRow) append(b []byte) []byte {
	b = appendString(b, string(a.Root.Bytes()))
	b = appendString(b, string(a.Held.Bytes()))
	b = binary.AppendUvarint(b, uint64(len(a.Selection.Skip)))
	for _, c := range a.Selection.Skip {
		b = appendString(b, string(c.Bytes()))
	}
	b = binary.AppendUvarint(b, uint64(a.Selection.Share))
	b = binary.AppendUvarint(b, uint64(a.Selection.Of))
	b = appendNodes(b, a.targets)
	return appendNodes(b, a.heldTargets)
}

func parseAlias(name string, value []byte) (*aliasRow, error) {
	d := decoder{p: value}
	a := &aliasRow{Alias: Alias{Name: name, Root: d.cid(), Held: d.cid()}}
	n := d.uvarint()
	for i := uint64(0); i < n && !d.fail; i++ {
		a.Selection.Skip = append(a.Selection.Skip, d.cid())
	}
	a.Selection.Share, a.Selection.Of = uint32(d.uvarint()), uint32(d.uvarint())
	a.targets, a.heldTargets = d.nodes(), d.nodes()
	if d.fail || len(d.p) > 0 || !a.Root.Defined() {
		return nil, fmt.Errorf("index: alias %q: %w", name, block.ErrMalformed)
	}
	return a, nil
}

func (d *decoder) cid() cid.Cid {
	s := d.string()
	if s == "" {
		return cid.Undef
	}
	c, err := cid.Cast([]byte(s))
	if err != nil {
		d.fail = true
	}
	return c
}

func aliasKey(name string) string { return string(keyAlias) + name }
func heldKey(name string) string  { return string(keyMeta) + "held/" + name }

// targets returns the nodes whose counts a reference to root raises.
func (s *Store) targets(root cid.Cid) ([]node, error) {
	b, ok := block.Inlined(root)
	if !ok {
		return []node{nodeOf(root)}, nil
	}
	links, err := dag.Links(b)
	if err != nil {
		return nil, fmt.Errorf("root %s: %w", root, err)
	}
	return distinct(links), nil
}

// checkRoot returns an error if root can't be kept alive, because the links of its
// codec are unknown.
func (s *Store) checkRoot(root cid.Cid) error {
	if err := block.CheckCID(root); err != nil {
		return err
	}
	if codec := nodeOf(root).codec; !s.known(codec) {
		return fmt.Errorf("root %s: %w 0x%x: no function finds its links", root, block.ErrUnknownCodec, codec)
	}
	_, err := s.targets(root)
	return err
}

func (c *committer) checkAlias(name string, root cid.Cid, o AliasOptions) error {
	switch sel := o.Selection; {
	case name == "" || len(name) > maxName || !utf8.ValidString(name):
		return fmt.Errorf("invalid alias name %q: want UTF-8 of 1 to %d bytes", name, maxName)
	case len(sel.Skip) > maxSkip:
		return fmt.Errorf("alias %q: a selection that skips %d blocks: %w (the limit is %d)", name, len(sel.Skip), block.ErrTooLarge, maxSkip)
	case sel.Of > 0 && (sel.Share < 1 || sel.Share > sel.Of):
		return fmt.Errorf("alias %q: invalid share %d: want 1 to %d", name, sel.Share, sel.Of)
	case slices.ContainsFunc(sel.Skip, func(k cid.Cid) bool { return !k.Defined() }):
		return fmt.Errorf("alias %q: %w: a selection that skips an undefined CID", name, block.ErrMalformed)
	}
	if err := c.s.checkRoot(root); err != nil {
		return fmt.Errorf("alias %q: %w", name, err)
	}
	return nil
}

func (c *committer) alias(name string) (*aliasRow, error) {
	value, err := c.get(aliasKey(name))
	if err != nil || value == nil {
		return nil, err
	}
	return parseAlias(name, value)
}

func (c *committer) setAlias(name string, root cid.Cid, o AliasOptions) error {
	old, err := c.alias(name)
	if err != nil {
		return err
	}
	targets, err := c.s.targets(root)
	if err != nil {
		return err
	}
	a := &aliasRow{Alias: Alias{Name: name, Root: root, Selection: o.Selection}, targets: targets}
	// Add first, then subtract: what both DAGs share must not seem dead in
	// between.
	if err := c.addCounts(a.targets, 1); err != nil {
		return err
	}
	if old != nil {
		switch {
		case !o.Hold || block.Equal(old.Root, root):
			err = c.addCounts(old.targets, -1)
			if err == nil && !o.Hold {
				err = c.addCounts(old.heldTargets, -1)
			} else {
				a.Held, a.heldTargets = old.Held, old.heldTargets
			}
		case old.Held.Defined():
			// The old root never became whole. The held root stays the last
			// whole one.
			a.Held, a.heldTargets = old.Held, old.heldTargets
			err = c.addCounts(old.targets, -1)
		default:
			a.Held, a.heldTargets = old.Root, old.targets
		}
		if err != nil {
			return err
		}
	}
	c.writeAlias(a)
	c.emit(Event{Kind: EventAlias, Name: name, CID: root})
	return nil
}

// writeAlias stores an alias whose targets are counted.
func (c *committer) writeAlias(a *aliasRow) {
	value := a.append(nil)
	c.set(aliasKey(a.Name), value)
	if a.Held.Defined() {
		c.set(heldKey(a.Name), []byte{})
		c.heldDue = true
	} else {
		c.unset(heldKey(a.Name))
	}
	c.record.alias(a.Name, value)
}

func (c *committer) checkRemoveAlias(name string) error {
	a, err := c.alias(name)
	if err == nil && a == nil {
		err = fmt.Errorf("%q: %w", name, ErrNoAlias)
	}
	return err
}

func (c *committer) removeAlias(name string) error {
	a, err := c.alias(name)
	if err != nil || a == nil {
		return err
	}
	if err := c.addCounts(a.targets, -1); err != nil {
		return err
	}
	if err := c.addCounts(a.heldTargets, -1); err != nil {
		return err
	}
	c.unset(aliasKey(name))
	c.unset(heldKey(name))
	c.record.alias(name, nil)
	c.emit(Event{Kind: EventUnalias, Name: name, CID: a.Root})
	return nil
}

func (c *committer) addCounts(nodes []node, delta int64) error {
	for _, n := range nodes {
		if err := c.addCount(n, delta); err != nil {
			return err
		}
	}
	return nil
}

// SetAlias names a root, or gives an existing name a new root. From then on the
// root's whole DAG is kept alive, both what is here and what comes later. Nothing
// of it need be here yet; see Missing. Errors: block.ErrUnknownCodec if no
// function finds the links of the root's codec.
func (s *Store) SetAlias(ctx context.Context, name string, root cid.Cid, o AliasOptions) error {
	b := s.Batch()
	b.Alias(name, root, o)
	return b.Commit(ctx)
}

// RemoveAlias removes an alias. Blocks that only it kept alive become garbage.
// Errors: ErrNoAlias.
func (s *Store) RemoveAlias(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("store: remove alias: %w", err)
	}
	err := s.do(&op{
		durable: true, frees: true,
		check: func(c *committer) error { return c.checkRemoveAlias(name) },
		apply: func(c *committer) error { return c.removeAlias(name) },
	})
	if err != nil {
		return fmt.Errorf("store: remove alias: %w", err)
	}
	return nil
}

// Resolve returns the root that the alias names. Errors: ErrNoAlias.
func (s *Store) Resolve(ctx context.Context, name string) (cid.Cid, error) {
	a, err := s.GetAlias(ctx, name)
	return a.Root, err
}

// GetAlias returns the alias of that name. Errors: ErrNoAlias.
func (s *Store) GetAlias(ctx context.Context, name string) (Alias, error) {
	if err := s.begin(ctx); err != nil {
		return Alias{}, fmt.Errorf("store: resolve %q: %w", name, err)
	}
	defer s.end()
	value, err := s.index.get(aliasKey(name))
	if err == nil && value == nil {
		err = ErrNoAlias
	}
	if err != nil {
		return Alias{}, fmt.Errorf("store: resolve %q: %w", name, err)
	}
	a, err := parseAlias(name, value)
	if err != nil {
		return Alias{}, fmt.Errorf("store: resolve %q: %w", name, err)
	}
	return a.Alias, nil
}

// Aliases lists the aliases whose names begin with prefix, in order.
func (s *Store) Aliases(ctx context.Context, prefix string) iter.Seq2[Alias, error] {
	return func(yield func(Alias, error) bool) {
		snap, done, err := s.snapshot(ctx)
		if err != nil {
			yield(Alias{}, fmt.Errorf("store: list aliases: %w", err))
			return
		}
		defer done()
		stopped := false
		err = scanAliases(snap, prefix, func(a *aliasRow) bool {
			stopped = !yield(a.Alias, nil)
			return !stopped && ctx.Err() == nil
		})
		if err == nil {
			err = ctx.Err()
		}
		if err != nil && !stopped {
			yield(Alias{}, fmt.Errorf("store: list aliases: %w", err))
		}
	}
}

// ReverseAlias lists the aliases that keep c's block alive: those whose root
// reaches it through blocks that are here. Links from a block to its parents are
// not stored, so it walks the DAGs. At worst that reads the index once for every
// live block with links.
func (s *Store) ReverseAlias(ctx context.Context, c cid.Cid) iter.Seq2[Alias, error] {
	return func(yield func(Alias, error) bool) {
		snap, done, err := s.snapshot(ctx)
		if err != nil {
			yield(Alias{}, fmt.Errorf("store: find aliases of %s: %w", c, err))
			return
		}
		defer done()
		targets := []node{nodeOf(c)}
		// Whether a node leads to c doesn't depend on the alias.
		leads := map[node]bool{targets[0]: true}
		w := reverseWalk{ctx: ctx, s: s, r: snap, leads: leads}
		stopped := false
		var werr error
		err = scanAliases(snap, "", func(a *aliasRow) bool {
			found := block.Equal(a.Root, c) || a.Held.Defined() && block.Equal(a.Held, c)
			for _, n := range slices.Concat(a.targets, a.heldTargets) {
				if found {
					break
				}
				if found, werr = w.from(n); werr != nil {
					return false
				}
			}
			if found {
				stopped = !yield(a.Alias, nil)
			}
			return !stopped
		})
		if err == nil {
			err = werr
		}
		if err != nil && !stopped {
			yield(Alias{}, fmt.Errorf("store: find aliases of %s: %w", c, err))
		}
	}
}
