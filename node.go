package cairn

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/names"
	"github.com/cairn-ipfs/cairn/internal/statcache"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
)

// Config says how to open a node. The zero value is a node in memory.
type Config struct {
	// Dir is the repository's folder, made where there is none. Empty: the node
	// is in memory, and what it holds is gone when it's closed.
	Dir string

	// Logger is told what is worth knowing. Nil: silence.
	Logger *slog.Logger

	// Identity is the private key by which peers know the node. Nil: the one in
	// Dir, which is made where there is none; in memory, a new one.
	Identity crypto.PrivKey
	// Offline: the node has no network; what needs one fails with ErrOffline.
	// Else the network starts with the first call that needs it, or when the
	// node is opened, if it is to listen.
	Offline bool
	// Listen is where to listen, as multiaddrs (DefaultListen, for a node that
	// others shall find). Empty: nowhere; the node calls others, and they may
	// ask it over the connections that it opened.
	Listen []string
	// Bootstrap are peers to connect to at once, and to enter the DHT by, as
	// multiaddrs that end with their ids. Empty: none (DefaultBootstrap, for
	// the public network).
	Bootstrap []string
	// Routing says who is asked for providers, peers and records. Empty:
	// RoutingAuto.
	Routing RoutingMode
	// Delegated are routers to ask over HTTP, as URLs without /routing/v1.
	// Empty: none (DefaultDelegated, for the public one).
	Delegated []string
	// Finders are asked for providers, too.
	Finders []Finder
	// Providing says what a node that listens announces by itself. Empty:
	// ProvideEntities. What Provide is told is announced in any case.
	Providing ProvideStrategy
	// ProvideList, if not nil, lists what is announced in place of that, in any
	// order. It is called once in 22 hours, and when the network starts.
	ProvideList func(ctx context.Context) iter.Seq2[cid.Cid, error]
	// ProvideFetched announces the roots that came as a cache, too (Fetch, and
	// SyncOptions.NoPin), until the list is read again.
	ProvideFetched bool
	// PSK is the pre-shared key, 32 bytes, of a private network: the node talks
	// to nobody who hasn't got it. Nil: the public network.
	PSK []byte
	// Local leaves out what is for the world outside: asking the router for a
	// port, relays, learning the node's own address from peers.
	Local bool
	// MDNS finds peers in the local network, and is found by them.
	MDNS bool
	// Connections is how many connections there may be. Zero: 96, which a home
	// router bears; with RoutingAccelerated, 320.
	Connections int
	// UserAgent is what the node calls itself among peers. Empty: "cairn".
	UserAgent string
	// Gateways are trustless gateways, as URLs, that are asked for what isn't
	// here when a search has gone on for FallbackDelay; zero: at once, beside
	// the peers. What they send is checked like anybody's.
	Gateways      []string
	FallbackDelay time.Duration

	// KeyPassphrase encrypts the private keys that are made or taken in, but for
	// the node's identity, and opens those that are encrypted. Empty: keys are
	// not encrypted.
	KeyPassphrase string
	// DNS says how domains are resolved to content.
	DNS DNS

	// Store has the settings of the block store: how much space its cache may
	// take, links of codecs of your own, backings. Its Logger is replaced by
	// the one above, if that is set; "file" is a backing of the node's own.
	Store store.Options
}

// A Node is an IPFS node inside of your program. Make one with Open. It is safe
// for use by any number of goroutines, and several may be open in one process,
// each with a folder of its own.
type Node struct {
	config     Config
	store      *store.Store
	statCaches *statcache.Caches

	netMu     sync.Mutex // guards the following, and starting the network
	net       *online
	named     *naming
	keys      *names.Keys
	netClosed bool
}

// Open opens a node. Close it when done. Errors: store.ErrLocked where another
// process has the repository open; store.ErrFormat; store.ErrIndexLost, after
// which Rebuild helps; ErrAddress, and those of listening, where Listen says
// so.
func Open(ctx context.Context, c Config) (*Node, error) {
	s, err := store.Open(ctx, c.Dir, c.storeOptions())
	if err != nil {
		return nil, err
	}
	n := &Node{config: c, store: s, statCaches: statcache.New(s)}
	if len(c.Listen) > 0 && !c.Offline {
		if _, err := n.online(ctx); err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	return n, nil
}

// Close takes leave of all peers, makes durable what was put, ends all
// background work and waits for it. It may be called again.
func (n *Node) Close() error {
	n.netMu.Lock()
	net, named := n.net, n.named
	n.net, n.named, n.netClosed = nil, nil, true
	n.netMu.Unlock()
	var errs []error
	if named != nil { // which stands on the network
		errs = append(errs, named.close())
	}
	if net != nil {
		errs = append(errs, net.close())
	}
	return errors.Join(append(errs, n.store.Close())...)
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

var (
	_ block.Getter = (*Node)(nil)
	_ block.Putter = (*Node)(nil)
)
