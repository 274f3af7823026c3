package store

import (
	"context"
	"fmt"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// Presence says what is here of a DAG, as far as can be told without a walk.
type Presence int

const (
	// Absent: the root is not here.
	Absent Presence = iota
	// Present: the root is here; what is below it may not be.
	Present
	// Whole: all of it is here. It's said of blocks without links, and of DAGs
	// that Missing has found whole since the last loss.
	Whole
)

// Look tells what is here of the DAG below c, at the cost of one question to
// the index. What is here stays until the batch ends, as with Has; but what
// lies below a block that nothing keeps alive may go.
func (b *Batch) Look(ctx context.Context, c cid.Cid) (Presence, error) {
	if err := ctx.Err(); err != nil {
		return Absent, fmt.Errorf("store: look at %s: %w", c, err)
	}
	if err := b.keep(c); err != nil {
		return Absent, fmt.Errorf("store: look at %s: %w", c, err)
	}
	n := nodeOf(c)
	if b.s.protect.isDoomed(n.mh) {
		return Absent, nil // there for readers still, and about to go
	}
	r, err := b.s.lookup(n.mh)
	if err != nil {
		return Absent, fmt.Errorf("store: look at %s: %w", c, err)
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

// lookup returns what is known of a multihash, in the index and above it.
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
