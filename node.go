package cairn

import (
	"context"
	"errors"
	"iter"
	"log/slog"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// Config says how to open a node. The zero value is a node in memory.
type Config struct {
	// Dir is the repository's folder, made where there is none. Empty: the node
	// is in memory, and what it holds is gone when it's closed.
	Dir string

	// Logger is told what is worth knowing. Nil: silence.
	Logger *slog.Logger

	// Store has the settings of the block store: how much space its cache may
	// take, links of codecs of your own, backings. Its Logger is replaced by
	// the one above, if that is set; "file" is a backing of the node's own.
	Store store.Options
}

// A Node is an IPFS node inside of your program. Make one with Open. It is safe
// for use by any number of goroutines, and several may be open in one process,
// each with a folder of its own.
type Node struct {
	store      *store.Store
	statCaches *statCaches
}

// Open opens a node. Close it when done. Errors: store.ErrLocked where another
// process has the repository open; store.ErrFormat; store.ErrIndexLost, after
// which store.Rebuild helps.
func Open(ctx context.Context, c Config) (*Node, error) {
	s, err := store.Open(ctx, c.Dir, c.storeOptions())
	if err != nil {
		return nil, err
	}
	return &Node{store: s, statCaches: newStatCaches(s)}, nil
}

// Close makes durable what was put, ends all background work and waits for it.
// It may be called again.
func (n *Node) Close() error { return n.store.Close() }

// Store is the node's block store, with all that the node itself has no short
// form for: batches, spaces, eviction, verification, backups.
func (n *Node) Store() *store.Store { return n.store }

// Put takes blocks in as a cache: they can be read when it returns, and are
// evicted when the space is needed, unless an alias or a pin keeps them alive.
// See store.Batch for putting blocks and naming them in one step.
func (n *Node) Put(ctx context.Context, blocks ...block.Block) error {
	return n.store.Put(ctx, blocks...)
}

// Get returns a block that is here. Errors: block.ErrNotFound.
func (n *Node) Get(ctx context.Context, c cid.Cid) (block.Block, error) {
	return n.store.Get(ctx, c)
}

// Batch begins a change of several things at once, of which a crash leaves all
// or nothing. End it with its Commit or Discard.
func (n *Node) Batch() *store.Batch { return n.store.Batch() }

// SetAlias gives root a name, durably. From then on all that can be reached
// from root is kept, and what the name stood for before is let go.
func (n *Node) SetAlias(ctx context.Context, name string, root cid.Cid) error {
	return n.store.SetAlias(ctx, name, root, store.AliasOptions{})
}

// RemoveAlias removes a name. Errors: store.ErrNoAlias.
func (n *Node) RemoveAlias(ctx context.Context, name string) error {
	return n.store.RemoveAlias(ctx, name)
}

// Resolve returns the root that a name stands for, and whether there is one.
func (n *Node) Resolve(ctx context.Context, name string) (root cid.Cid, ok bool, err error) {
	a, err := n.store.Resolve(ctx, name)
	if errors.Is(err, store.ErrNoAlias) {
		return cid.Undef, false, nil
	}
	return a.Root, err == nil, err
}

// TempPin makes a pin that keeps what it is given until it is released, or the
// node is closed, or the process ends.
func (n *Node) TempPin() *store.TempPin { return n.store.TempPin() }

// Events returns what happens in the store from the call on, until the context
// ends or the node is closed. See store.Store.Events.
func (n *Node) Events(ctx context.Context) iter.Seq[store.Event] { return n.store.Events(ctx) }

var (
	_ block.Getter = (*Node)(nil)
	_ block.Putter = (*Node)(nil)
)
