package store

import (
	"context"
	"fmt"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// Presence is how much of a DAG is here, as far as is known without a walk.
type Presence int

const (
	// Absent: the root is not here.
	Absent Presence = iota
	// Present: the root is here; what is below it may not be.
	Present
	// Whole: all of it is here. That is known of blocks without links, and of
	// DAGs that Missing has found whole since the last loss.
	Whole
)

// Presence returns how much of the DAG below c is here, for one lookup in the
// index. As with Has, c's block stays until the batch ends; but blocks below it
// may go if nothing keeps it alive.
func (b *Batch) Presence(ctx context.Context, c cid.Cid) (Presence, error) {
	if err := ctx.Err(); err != nil {
		return Absent, fmt.Errorf("store: presence of %s: %w", c, err)
	}
	if err := b.protect(c); err != nil {
		return Absent, fmt.Errorf("store: presence of %s: %w", c, err)
	}
	n := nodeOf(c)
	if b.s.protect.isDoomed(n.mh) {
		return Absent, nil // readers still find it, but it is being removed
	}
	r, err := b.s.lookup(n.mh)
	if err != nil {
		return Absent, fmt.Errorf("store: presence of %s: %w", c, err)
	}
	f, _ := r.find(n.codec)
	switch {
	case !r.present():
		return Absent, nil
	case n.codec == block.Raw, f.expanded() && f.flags&refHasLinks == 0 && f.flags&(refUnknown|refUndecodable) == 0:
		return Whole, nil
	case f.expanded() && f.count > 0 && f.whole != 0 && f.whole == b.s.epoch.Load():
		return Whole, nil
	}
	return Present, nil
}

// lookup returns the row of a multihash as readers see it: the index's, with the
// location of a block that the index doesn't know yet.
func (s *Store) lookup(mh string) (*row, error) {
	if err := s.begin(context.Background()); err != nil {
		return nil, err
	}
	defer s.end()
	s.mu.RLock()
	f, ok := s.fresh[mh]
	s.mu.RUnlock()
	r, err := s.index.row(mh)
	if err != nil {
		return nil, err
	}
	if ok {
		if r.loc = f.loc; f.inMemory {
			r.loc = loc{kind: locPack, size: f.block.Size()}
		}
	}
	return r, nil
}
