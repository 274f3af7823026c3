package unixfs

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/access"
	"github.com/ipfs/go-cid"
)

// A discardPutter discards blocks.
type discardPutter struct{}

func (discardPutter) Put(ctx context.Context, blocks ...block.Block) error { return ctx.Err() }

// A releasingPutter is a discardPutter that releases the blocks' memory.
type releasingPutter struct{ discardPutter }

var _ Releaser = releasingPutter{}

func (releasingPutter) ReleasesBlocks() bool { return true }

// A memoryStore stores blocks, and records their order.
type memoryStore struct {
	mu     sync.Mutex
	blocks map[string]block.Block // by multihash
	order  []cid.Cid
	gets   int
}

var (
	_ block.Putter = (*memoryStore)(nil)
	_ block.Getter = (*memoryStore)(nil)
)

func newMemoryStore() *memoryStore { return &memoryStore{blocks: map[string]block.Block{}} }

func (m *memoryStore) Put(ctx context.Context, blocks ...block.Block) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range blocks {
		m.blocks[string(b.CID().Hash())] = b
		m.order = append(m.order, b.CID())
	}
	return ctx.Err()
}

// countGets returns the number of Gets so far.
func (m *memoryStore) countGets() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.gets
}

func (m *memoryStore) Get(ctx context.Context, c cid.Cid) (block.Block, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gets++
	b, ok := m.blocks[string(c.Hash())]
	if !ok {
		return block.Block{}, fmt.Errorf("get %s: %w", c, block.ErrNotFound)
	}
	if err := ctx.Err(); err != nil {
		return block.Block{}, err
	}
	return b.WithCID(c)
}

// A lendingGetter reads blocks into the caller's memory, and records which memory
// was used.
type lendingGetter struct {
	*memoryStore
	mu   sync.Mutex
	used map[*byte]bool
}

var _ intoGetter = (*lendingGetter)(nil)

func (l *lendingGetter) GetInto(ctx context.Context, c cid.Cid, memory []byte) (block.Block, error) {
	b, err := l.Get(ctx, c)
	if err != nil || b.Size() == 0 || len(memory) < b.Size() {
		return b, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used[&memory[0]] = true
	n := copy(memory, b.Data())
	return block.Internal(access.Key{}).Reopen(c, memory[:n:n], b.Checksum())
}

// lookupPath returns the entry at a path of plain names.
func lookupPath(t testing.TB, get block.Getter, root cid.Cid, path string) Entry {
	t.Helper()
	at := Entry{CID: root}
	for name := range strings.SplitSeq(path, "/") {
		var err error
		if at, err = Lookup(t.Context(), get, at.CID, name); err != nil {
			t.Fatal(err)
		}
	}
	return at
}
