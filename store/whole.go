package store

import (
	"context"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/ipfs/go-cid"
)

// settlePatience is how long Whole waits until what was aliased of late has been
// looked at; then it looks for itself.
const settlePatience = 500 * time.Millisecond

// Whole tells whether all of the DAG below root is here. Of one that is live it
// is known, if nothing that's live is missing; else the DAG is walked, and in
// the first case that is done afterwards, for those who ask of its parts.
func (s *Store) Whole(ctx context.Context, root cid.Cid) (bool, error) {
	if s.liveAndHere(ctx, root) {
		s.noteSoon(root)
		return true, nil
	}
	for _, err := range s.Missing(ctx, root, Selection{}) {
		return false, err
	}
	return true, nil
}

// noteSoon walks the DAG below root in the background, which notes what is whole.
func (s *Store) noteSoon(root cid.Cid) {
	done := make(chan struct{})
	if _, other := s.noting.LoadOrStore(root, done); other {
		return
	}
	noted := func() {
		s.noting.Delete(root)
		close(done)
	}
	if !s.background(func() {
		defer noted()
		w := &walk{ctx: s.ctx, s: s, seen: map[node]bool{}, yield: func(node) bool { return false }}
		_ = w.run(root) // who asks next will find out
	}) {
		noted()
	}
}

// awaitNotes waits for what noteSoon is doing, rather than do it twice.
func (s *Store) awaitNotes(ctx context.Context, root cid.Cid) {
	if done, ok := s.noting.Load(root); ok {
		select {
		case <-done.(chan struct{}):
		case <-ctx.Done():
		}
	}
}

// liveAndHere tells whether the DAG below root is live, and all that is live is
// here, if that's soon known.
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
	// The alias may have gone since, and come back.
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

// isEmpty tells whether there's no key that begins so.
func isEmpty(r pebble.Reader, prefix byte) bool {
	empty := true
	err := scan(r, string(prefix), "", func(_, _ []byte) bool {
		empty = false
		return false
	})
	return empty && err == nil
}
