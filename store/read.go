package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/access"
	"github.com/cairn-ipfs/cairn/internal/pack"
	"github.com/ipfs/go-cid"
)

var (
	_ block.Getter  = (*Store)(nil)
	_ block.Putter  = (*Store)(nil)
	_ block.Haver   = (*Store)(nil)
	_ block.Sizer   = (*Store)(nil)
	_ block.Deleter = (*Store)(nil)
	_ block.Lister  = (*Store)(nil)
)

// freshBlock is where a reader finds a block that the index doesn't know yet,
// or knows at another place: in memory, or at loc. If neither, it is gone.
type freshBlock struct {
	inMemory bool
	block    block.Block
	loc      loc
	// borrowed means that the caller of Put uses the memory again once the
	// bytes are in a pack: readers need a copy.
	borrowed bool
	// generation is the value of Store.generation at which the committer takes
	// what is in memory.
	generation uint64
}

// locate returns where the bytes of a multihash lie.
func (s *Store) locate(mh string) (freshBlock, error) {
	s.mu.RLock()
	f, ok := s.fresh[mh]
	if ok && f.borrowed {
		f.block = f.block.Clone()
	}
	s.mu.RUnlock()
	if ok {
		return f, nil
	}
	value, err := s.index.get(rowKey(mh))
	if err != nil || value == nil {
		return freshBlock{}, err
	}
	r, err := parseRow(value)
	if err != nil {
		return freshBlock{}, err
	}
	return freshBlock{loc: r.loc}, nil
}

// Get returns the block that c names, from this store only. The bytes were
// verified when they were put, and Get checks a checksum. Errors:
// block.ErrNotFound; block.ErrDamaged, after which the block is no longer here
// and, if live, wanted.
func (s *Store) Get(ctx context.Context, c cid.Cid) (block.Block, error) {
	return s.getInto(ctx, c, nil)
}

func (s *Store) getInto(ctx context.Context, c cid.Cid, memory []byte) (block.Block, error) {
	b, err := s.get(ctx, c, memory)
	if err != nil {
		return block.Block{}, fmt.Errorf("store: get %s: %w", c, err)
	}
	return b, nil
}

func (s *Store) get(ctx context.Context, c cid.Cid, memory []byte) (block.Block, error) {
	if err := s.begin(ctx); err != nil {
		return block.Block{}, err
	}
	defer s.end()
	f, err := s.find(c)
	if err != nil {
		return block.Block{}, err
	}
	return s.readFound(ctx, c, f, memory)
}

// find returns where the block that c names is, without reading it. Errors:
// block.ErrNotFound.
func (s *Store) find(c cid.Cid) (freshBlock, error) {
	if err := block.CheckCID(c); err != nil {
		return freshBlock{}, err
	}
	if b, ok := block.Inlined(c); ok {
		return freshBlock{inMemory: true, block: b}, nil
	}
	f, err := s.locate(string(c.Hash()))
	if err == nil && !f.inMemory && f.loc.kind == locNone {
		err = block.ErrNotFound
	}
	return f, err
}

// readFound reads the block that find found at f. A pack may be removed between
// the two; then the block lies elsewhere, and the index knows where.
func (s *Store) readFound(ctx context.Context, c cid.Cid, f freshBlock, memory []byte) (block.Block, error) {
	mh := string(c.Hash())
	for {
		if f.inMemory {
			return f.block.WithCID(c)
		}
		if f.loc.kind == locNone {
			return block.Block{}, block.ErrNotFound
		}
		b, err := s.readAt(ctx, c, f.loc, memory)
		if !errors.Is(err, pack.ErrGone) {
			if errors.Is(err, block.ErrDamaged) {
				s.damaged(mh, f.loc)
			}
			s.touch(mh, f.loc)
			return b, err
		}
		last := f.loc
		if f, err = s.locate(mh); err != nil {
			return block.Block{}, err
		}
		if !f.inMemory && f.loc == last {
			s.damaged(mh, last)
			return block.Block{}, fmt.Errorf("%w: its pack is missing", block.ErrDamaged)
		}
	}
}

// readAt reads and checks the block at l. Errors: block.ErrDamaged for changed
// bytes, pack.ErrGone for a pack that has been removed. The returned bytes lie in
// memory if that is long enough and they come from a pack.
func (s *Store) readAt(ctx context.Context, c cid.Cid, l loc, memory []byte) (block.Block, error) {
	switch l.kind {
	case locPack:
		data := memory
		if len(data) < l.size {
			data = make([]byte, l.size)
		}
		data = data[:l.size:l.size]
		err := s.packs.ReadAt(l.pack, data, l.off+int64(l.head))
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return block.Block{}, fmt.Errorf("%w: %w", block.ErrDamaged, err)
		}
		if err != nil {
			return block.Block{}, err
		}
		return block.Internal(access.Key{}).Reopen(c, data, l.sum)
	case locBacking:
		backing := s.o.Backings[l.backing]
		if backing == nil {
			return block.Block{}, fmt.Errorf("the backing %q is not registered: name it in Options.Backings", l.backing)
		}
		data, err := backing.ReadBlock(ctx, []byte(l.locator), l.size)
		if err != nil {
			return block.Block{}, fmt.Errorf("backing %s: %w", l.backing, err)
		}
		b, err := block.Verify(c, data)
		if err != nil {
			return block.Block{}, fmt.Errorf("%w: backing %s: %w", block.ErrDamaged, l.backing, err)
		}
		return b, nil
	}
	return block.Block{}, block.ErrNotFound
}

// damaged marks a block lost whose bytes have gone bad. It waits for the
// committer: a block that the reader puts again must not be taken for the bad one.
func (s *Store) damaged(mh string, l loc) {
	err := s.do(&op{apply: func(c *committer) error { return c.markLost(mh, l) }, durable: true, frees: true})
	if err != nil && !errors.Is(err, ErrClosed) {
		s.log.Warn("store: marking a damaged block as lost", "multihash", fmt.Sprintf("%x", mh), "error", err)
	}
}

// Has reports whether the block is here, without reading it.
func (s *Store) Has(ctx context.Context, c cid.Cid) (bool, error) {
	_, err := s.size(ctx, c)
	if errors.Is(err, block.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("store: has %s: %w", c, err)
	}
	return true, nil
}

// Size returns the number of the block's bytes, without reading them. Errors:
// block.ErrNotFound.
func (s *Store) Size(ctx context.Context, c cid.Cid) (int, error) {
	n, err := s.size(ctx, c)
	if err != nil {
		return 0, fmt.Errorf("store: size of %s: %w", c, err)
	}
	return n, nil
}

func (s *Store) size(ctx context.Context, c cid.Cid) (int, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.end()
	f, err := s.find(c)
	return f.size(), err
}

// size returns the number of the block's bytes.
func (f freshBlock) size() int {
	if f.inMemory {
		return f.block.Size()
	}
	return f.loc.size
}

// Blocks lists the blocks that are here, in no set order: each multihash once,
// under the codec that it was first known by. Blocks that come or go meanwhile
// may be listed or not.
func (s *Store) Blocks(ctx context.Context) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		if err := s.flush(ctx, nil); err != nil {
			yield(cid.Undef, fmt.Errorf("store: list blocks: %w", err))
			return
		}
		snap, done, err := s.snapshot(ctx)
		if err != nil {
			yield(cid.Undef, fmt.Errorf("store: list blocks: %w", err))
			return
		}
		defer done()
		stopped := false
		err = scanRows(snap, "", func(mh string, r *row) bool {
			if !r.present() || len(r.refs) == 0 {
				return true
			}
			if err = ctx.Err(); err != nil {
				return false
			}
			stopped = !yield(node{mh, r.refs[0].codec}.cid(), nil)
			return !stopped
		})
		if err == nil {
			err = ctx.Err()
		}
		if err != nil && !stopped {
			yield(cid.Undef, fmt.Errorf("store: list blocks: %w", err))
		}
	}
}
