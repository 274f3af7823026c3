package store

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"
	"github.com/ipfs/go-cid"
)

// Missing lists the blocks of the DAG below root that are not here, depth-first,
// each once. What lies below a block that was never here is unknown. Parts of the
// DAG that are known to be whole are not walked again.
func (s *Store) Missing(ctx context.Context, root cid.Cid, sel Selection) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		if sel.IsAll() {
			s.awaitMarks(ctx, root)
		}
		w := &walk{ctx: ctx, s: s, sel: newSelector(sel), seen: map[node]bool{}, yield: func(n node) bool { return yield(n.cid(), nil) }}
		if err := w.run(root); err != nil && !w.stopped {
			yield(cid.Undef, fmt.Errorf("store: missing below %s: %w", root, err))
		}
	}
}

// Wanted lists the blocks that are live and selected but not here, each once. It
// waits until all live blocks are expanded, for instance after a large DAG got an
// alias.
func (s *Store) Wanted(ctx context.Context) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		stopped := false
		err := s.wanted(ctx, func(n node) bool {
			stopped = !yield(n.cid(), nil)
			return !stopped
		})
		if err != nil && !stopped {
			yield(cid.Undef, fmt.Errorf("store: wanted: %w", err))
		}
	}
}

func (s *Store) wanted(ctx context.Context, yield func(node) bool) error {
	// A live block that is not expanded yet hides the wanted ones below it.
	if err := s.settle(ctx, workExpand); err != nil {
		return err
	}
	snap, done, err := s.snapshot(ctx)
	if err != nil {
		return err
	}
	defer done()
	// Blocks that an alias doesn't select are live all the same. So if an alias
	// has a selection, the queue of wanted blocks holds too much, and the DAGs
	// are walked instead.
	var roots []*aliasRow
	partial := false
	err = scanAliases(snap, "", func(a *aliasRow) bool {
		partial = partial || !a.Selection.IsAll()
		roots = append(roots, a)
		return ctx.Err() == nil
	})
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if !partial {
		var perr error
		err := scan(snap, string(keyWanted), "", func(k, _ []byte) bool {
			n, err := parseNode(k[1:])
			if err == nil {
				err = ctx.Err()
			}
			perr = err
			return err == nil && yield(n)
		})
		return errors.Join(err, perr)
	}
	yielded := map[node]bool{}
	stopped := false
	once := func(n node) bool {
		if yielded[n] {
			return true
		}
		yielded[n] = true
		stopped = !yield(n)
		return !stopped
	}
	full := &walk{ctx: ctx, s: s, seen: map[node]bool{}, yield: once}
	for _, a := range roots {
		w := full
		if !a.Selection.IsAll() {
			w = &walk{ctx: ctx, s: s, sel: newSelector(a.Selection), seen: map[node]bool{}, yield: once}
		}
		if err := w.run(a.Root); err != nil || stopped {
			return err
		}
		// A former root that is held is live, too.
		if err := w.runNodes(a.heldTargets); err != nil || stopped {
			return err
		}
	}
	return s.wantedByPins(ctx, snap, full)
}

// wantedByPins walks the DAGs of temporary pins.
func (s *Store) wantedByPins(ctx context.Context, snap *pebble.Snapshot, w *walk) error {
	var pins [][]node
	err := scan(snap, string(keyTempPin), "", func(_, v []byte) bool {
		d := decoder{p: v}
		pins = append(pins, d.nodes())
		return ctx.Err() == nil
	})
	for _, targets := range pins {
		if err == nil && !w.stopped {
			err = w.runNodes(targets)
		}
	}
	return err
}
