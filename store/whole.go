package store

import (
	"context"
	"time"

	"github.com/ipfs/go-cid"
)

// settlePatience is how long Whole waits until what was aliased of late has been
// looked at; then it looks for itself.
const settlePatience = 500 * time.Millisecond

// Whole tells whether all of the DAG below root is here. Of one that is live it
// is known, if nothing that's live is missing; else the DAG is walked, and in
// the first case that is done afterwards, for those who ask of its parts.
func (s *Store) Whole(ctx context.Context, root cid.Cid) (bool, error) {
	if s.isLive(root) && s.nothingWanted(ctx) {
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

func (s *Store) isLive(root cid.Cid) bool {
	targets, err := s.targets(root)
	if err != nil {
		return false
	}
	for _, n := range targets {
		r, err := s.lookup(n.mh)
		if err != nil {
			return false
		}
		if f, _ := r.find(n.codec); f.count == 0 {
			return false
		}
	}
	return true
}

// nothingWanted tells whether all that is live is here, if that's soon known.
func (s *Store) nothingWanted(ctx context.Context) bool {
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
	nothing := true
	err = scan(snap, string(keyWanted), "", func(_, _ []byte) bool {
		nothing = false
		return false
	})
	return nothing && err == nil
}
