package blocktest

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/ipfs/go-cid"

	"github.com/cairn-ipfs/cairn/block"
)

// Mem is a Store in memory, for tests that need stored blocks. The zero Mem is
// empty and ready. It is safe for concurrent use.
type Mem struct {
	mu sync.RWMutex
	// blocks by multihash, as they were put first.
	// mu guards it.
	blocks map[string]block.Block
}

var _ Store = (*Mem)(nil)

// lookup finds the block of c, whatever its codec.
func (m *Mem) lookup(ctx context.Context, c cid.Cid) (block.Block, error) {
	if err := ctx.Err(); err != nil {
		return block.Block{}, err
	}
	if err := block.CheckCID(c); err != nil {
		return block.Block{}, err
	}
	if b, ok := block.Inlined(c); ok {
		return b, nil
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	b, ok := m.blocks[string(c.Hash())]
	if !ok {
		return block.Block{}, block.ErrNotFound
	}
	return b.WithCID(c)
}

// Get implements block.Getter.
func (m *Mem) Get(ctx context.Context, c cid.Cid) (block.Block, error) {
	b, err := m.lookup(ctx, c)
	if err != nil {
		return block.Block{}, fmt.Errorf("mem: get %s: %w", c, err)
	}
	return b, nil
}

// Has implements block.Haver.
func (m *Mem) Has(ctx context.Context, c cid.Cid) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, fmt.Errorf("mem: has %s: %w", c, err)
	}
	_, err := m.lookup(ctx, c)
	return err == nil, nil
}

// Size implements block.Sizer.
func (m *Mem) Size(ctx context.Context, c cid.Cid) (int, error) {
	b, err := m.lookup(ctx, c)
	if err != nil {
		return 0, fmt.Errorf("mem: size of %s: %w", c, err)
	}
	return b.Size(), nil
}

// Put implements block.Putter.
func (m *Mem) Put(ctx context.Context, blocks ...block.Block) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("mem: put: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.blocks == nil {
		m.blocks = make(map[string]block.Block)
	}
	for _, b := range blocks {
		if block.IsIdentity(b.CID()) {
			continue
		}
		k := string(b.CID().Hash())
		if _, ok := m.blocks[k]; !ok {
			m.blocks[k] = b
		}
	}
	return nil
}

// Delete implements block.Deleter. It removes the bytes, and so the block under
// every codec.
func (m *Mem) Delete(ctx context.Context, cids ...cid.Cid) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("mem: delete: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range cids {
		delete(m.blocks, string(c.Hash()))
	}
	return nil
}

// Blocks implements block.Lister. It lists the blocks that are here when it begins.
func (m *Mem) Blocks(ctx context.Context) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		m.mu.RLock()
		blocks := slices.Collect(maps.Values(m.blocks))
		m.mu.RUnlock()
		for _, b := range blocks {
			if err := ctx.Err(); err != nil {
				yield(cid.Undef, fmt.Errorf("mem: list: %w", err))
				return
			}
			if !yield(b.CID(), nil) {
				return
			}
		}
	}
}
