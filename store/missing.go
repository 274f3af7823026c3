package store

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"
	"github.com/ipfs/go-cid"
)

// Missing lists what is not here of the DAG below root, as far as that can be
// told: what lies below a block that was never here is unknown. It comes depth-first, each
// block once. Parts of the DAG that are known to be whole are not walked again.
func (s *Store) Missing(ctx context.Context, root cid.Cid, sel Selection) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		if sel.IsAll() {
			s.awaitNotes(ctx, root)
		}
		w := &walk{ctx: ctx, s: s, sel: newSelector(sel), seen: map[node]bool{}, yield: func(n node) bool { return yield(n.cid(), nil) }}
		if err := w.run(root); err != nil && !w.stopped {
			yield(cid.Undef, fmt.Errorf("store: missing below %s: %w", root, err))
		}
	}
}

// Wanted lists what is live, selected, and not here, each block once. Where a
// large DAG has just been aliased it waits until its blocks have been looked at.
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
	// What is live and not expanded yet hides what is wanted below it.
	if err := s.settle(ctx, workExpand); err != nil {
		return err
	}
	snap, done, err := s.snapshot(ctx)
	if err != nil {
		return err
	}
	defer done()
	// What an alias doesn't select is live all the same, so that the list of
	// wanted blocks holds too much as soon as one alias has a selection. Then
	// the DAGs are walked.
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
	told := map[node]bool{}
	stopped := false
	tell := func(n node) bool {
		if told[n] {
			return true
		}
		told[n] = true
		stopped = !yield(n)
		return !stopped
	}
	full := &walk{ctx: ctx, s: s, seen: map[node]bool{}, yield: tell}
	for _, a := range roots {
		w := full
		if !a.Selection.IsAll() {
			w = &walk{ctx: ctx, s: s, sel: newSelector(a.Selection), seen: map[node]bool{}, yield: tell}
		}
		if err := w.run(a.Root); err != nil || stopped {
			return err
		}
		// What is held in the meantime is live, too.
		if err := w.runNodes(a.heldTargets); err != nil || stopped {
			return err
		}
	}
	return s.wantedByPins(ctx, snap, full)
}

// wantedByPins walks what temporary pins hold.
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
