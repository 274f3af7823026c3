package store

import (
	"context"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/ipfs/go-cid"
)

// settlePatience is how long Whole waits for the expansion of recently aliased
// DAGs before it walks the DAG itself.
const settlePatience = 500 * time.Millisecond

// Whole reports whether all of the DAG below root is here. If root is live and no
// live block is missing, that is known at once; the DAG is then walked in the
// background, to mark its parts whole. Otherwise it is walked first.
func (s *Store) Whole(ctx context.Context, root cid.Cid) (bool, error) {
	if s.liveAndHere(ctx, root) {
		s.markWholeSoon(root)
		return true, nil
	}
	for _, err := range s.Missing(ctx, root, Selection{}) {
		return false, err
	}
	return true, nil
}

// markWholeSoon walks the DAG below root in the background, which marks its blocks
// whole.
func (s *Store) markWholeSoon(root cid.Cid) {
	done := make(chan struct{})
	if _, other := s.marking.LoadOrStore(root, done); other {
		return
	}
	finish := func() {
		s.marking.Delete(root)
		close(done)
	}
	if !s.background(func() {
		defer finish()
		w := &walk{ctx: s.ctx, s: s, seen: map[node]bool{}, yield: func(node) bool { return false }}
		_ = w.run(root) // on an error, the next walk returns it
	}) {
		finish()
	}
}

// awaitMarks waits for markWholeSoon if it walks the DAG below root.
func (s *Store) awaitMarks(ctx context.Context, root cid.Cid) {
	if done, ok := s.marking.Load(root); ok {
		select {
		case <-done.(chan struct{}):
		case <-ctx.Done():
		}
	}
}

// liveAndHere reports whether the DAG below root is live and all live blocks are
// here. It returns false if that takes too long to find out.
func (s *Store) liveAndHere(ctx context.Context, root cid.Cid) bool {
	targets, err := s.targets(root)
	if err != nil || !areLive(targets, s.lookup) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	if s.settle(ctx, workExpand) != nil {
		return false
	}
	snap, done, err := s.snapshot(ctx)
	if err != nil {
		return false
	}
	defer done()
	// The alias may have been removed since, and set again.
	row := func(mh string) (*row, error) {
		value, err := getFrom(snap, rowKey(mh))
		if err != nil || value == nil {
			return &row{}, err
		}
		return parseRow(value)
	}
	return areLive(targets, row) && isEmpty(snap, keyExpand) && isEmpty(snap, keyWanted)
}

func areLive(targets []node, row func(mh string) (*row, error)) bool {
	for _, n := range targets {
		r, err := row(n.mh)
		if err != nil {
			return false
		}
		if f, _ := r.find(n.codec); f.count == 0 {
			return false
		}
	}
	return true
}

// isEmpty reports whether no key has that prefix.
func isEmpty(r pebble.Reader, prefix byte) bool {
	empty := true
	err := scan(r, string(prefix), "", func(_, _ []byte) bool {
		empty = false
		return false
	})
	return empty && err == nil
}
