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

// A Node is an IPFS node inside your program. Make one with Open. It is safe for
// concurrent use. Several may be open in one process, each with its own folder.
type Node struct {
	config     Config
	store      *store.Store
	statCaches *statcache.Caches

	close func() error // runs stop once

	mu      sync.Mutex // guards the following, config.Identity, and starting them
	closed  bool
	started stack
	net     *network
	named   *names.Names
	keys    *names.Keys
}

// Store returns the node's block store. It has what Node has no method for: spaces,
// eviction, verification, backups.
func (n *Node) Store() *store.Store { return n.store }

// Put caches blocks: they can be read when it returns, and are evicted when space
// is needed, unless an alias or a pin keeps them alive. A Batch puts blocks and
// names them in one step.
func (n *Node) Put(ctx context.Context, blocks ...block.Block) error {
	return n.store.Put(ctx, blocks...)
}

// Get returns a block from the store. It fetches nothing: see Fetch. Errors:
// block.ErrNotFound, block.ErrDamaged.
func (n *Node) Get(ctx context.Context, c cid.Cid) (block.Block, error) {
	return n.store.Get(ctx, c)
}

// Batch returns a new batch: changes of blocks, aliases and spaces that a crash
// leaves all made or all unmade. End it with Commit or Discard.
func (n *Node) Batch() *store.Batch { return n.store.Batch() }

// SetAlias gives root a name, durably. From then on everything reachable from root
// is kept. What the name stood for before becomes garbage, unless something else
// keeps it.
func (n *Node) SetAlias(ctx context.Context, name string, root cid.Cid) error {
	return n.store.SetAlias(ctx, name, root, store.AliasOptions{})
}

// RemoveAlias removes a name, durably. Errors: store.ErrNoAlias.
func (n *Node) RemoveAlias(ctx context.Context, name string) error {
	return n.store.RemoveAlias(ctx, name)
}

// Resolve returns the root of an alias. Errors: store.ErrNoAlias.
func (n *Node) Resolve(ctx context.Context, name string) (cid.Cid, error) {
	return n.store.Resolve(ctx, name)
}

// TempPin returns a pin that keeps the roots added to it until it is released or
// the node is closed.
func (n *Node) TempPin() *store.TempPin { return n.store.TempPin() }

// Events yields the store's events from the call on, until the context ends or the
// node is closed, and last the error that ended it. See store.Store.Events.
func (n *Node) Events(ctx context.Context) iter.Seq2[store.Event, error] { return n.store.Events(ctx) }

// Gateway returns a trustless gateway over the store
// (https://specs.ipfs.tech/http-gateways/trustless-gateway/): it serves blocks and
// CARs below /ipfs/, and fetches nothing.
func (n *Node) Gateway() http.Handler {
	return trustless.NewHandler(trustless.Config{Blocks: store.Internal(access.Key{}).Reader(n.store), Logger: n.config.Logger})
}

var (
	_ block.Getter = (*Node)(nil)
	_ block.Putter = (*Node)(nil)
)
