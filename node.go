package cairn

import (
	"context"
	"iter"
	"net/http"
	"sync"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/access"
	"github.com/cairn-ipfs/cairn/internal/names"
	"github.com/cairn-ipfs/cairn/internal/statcache"
	"github.com/cairn-ipfs/cairn/internal/trustless"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// A Node is an IPFS node inside of your program. Make one with Open. It is safe
// for use by any number of goroutines, and several may be open in one process,
// each with a folder of its own.
type Node struct {
	config     Config
	store      *store.Store
	statCaches *statcache.Caches

	close func() error // runs stop once

	mu      sync.Mutex // guards the following, and starting them
	closed  bool
	started stack
	net     *network
	named   *names.Names
	keys    *names.Keys
}

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

// Resolve returns the root that a name stands for. Errors: store.ErrNoAlias.
func (n *Node) Resolve(ctx context.Context, name string) (cid.Cid, error) {
	return n.store.Resolve(ctx, name)
}

// TempPin makes a pin that keeps what it is given until it is released, or the
// node is closed, or the process ends.
func (n *Node) TempPin() *store.TempPin { return n.store.TempPin() }

// Events returns what happens in the store from the call on, until the context
// ends or the node is closed, and last the error that ended it. See
// store.Store.Events.
func (n *Node) Events(ctx context.Context) iter.Seq2[store.Event, error] { return n.store.Events(ctx) }

// Gateway returns a handler that serves what is here, to anybody, as a
// trustless gateway (https://specs.ipfs.tech/http-gateways/trustless-gateway/):
// blocks and CARs below /ipfs/. It fetches nothing.
func (n *Node) Gateway() http.Handler {
	return trustless.NewHandler(trustless.Config{Blocks: store.Internal(access.Key{}).Reader(n.store), Logger: n.config.Logger})
}

var (
	_ block.Getter = (*Node)(nil)
	_ block.Putter = (*Node)(nil)
)
