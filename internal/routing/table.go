package routing

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p-kad-dht/amino"
	"github.com/libp2p/go-libp2p-kad-dht/fullrt"
	kb "github.com/libp2p/go-libp2p-kbucket"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/routing"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	// lanExtension distinguishes the DHT of the local network from the other, as
	// in Kubo.
	lanExtension protocol.ID = "/lan"

	// kadProtocol is the suffix of the protocol id of each DHT.
	kadProtocol protocol.ID = "/kad/1.0.0"

	// FirstPeer is how long after the start of a Router lookups wait for the first
	// peer of the DHT, and firstPeerPoll the interval at which they check for it.
	FirstPeer     = 10 * time.Second
	firstPeerPoll = 20 * time.Millisecond
)

// A table is one DHT, with the table of its whole network in ModeAccelerated.
type table struct {
	source       string
	scope        scope
	dht          *dht.IpfsDHT
	accelerated  *fullrt.FullRT // or nil
	hasBootstrap bool           // it is configured with bootstrap peers
	waitUntil    time.Time      // lookups wait for the first peer no longer
	bootstrap    *Bootstrap     // or nil
}

// A dhtRouter has the methods used of both kinds of table.
type dhtRouter interface {
	dhtFinder
	dhtPutter
}

type dhtFinder interface {
	FindProvidersAsync(ctx context.Context, c cid.Cid, count int) <-chan peer.AddrInfo
	FindPeer(ctx context.Context, id peer.ID) (peer.AddrInfo, error)
	GetClosestPeers(ctx context.Context, key string) ([]peer.ID, error)
	SearchValue(ctx context.Context, key string, options ...routing.Option) (<-chan []byte, error)
}

type dhtPutter interface {
	PutValue(ctx context.Context, key string, value []byte, options ...routing.Option) error
	Provide(ctx context.Context, c cid.Cid, announce bool) error
}

var (
	_ dhtRouter = (*dht.IpfsDHT)(nil)
	_ dhtRouter = (*fullrt.FullRT)(nil)
)

func (t *table) ready() bool { return t.accelerated != nil && t.accelerated.Ready() }

// router returns the routing table to ask now, and its name.
func (t *table) router() (dhtRouter, string) {
	if t.ready() {
		return t.accelerated, "accelerated"
	}
	return t.dht, t.source
}

// GetClosestPeers implements the router of a sweep.
func (t *table) GetClosestPeers(ctx context.Context, key string) ([]peer.ID, error) {
	router, _ := t.router()
	return router.GetClosestPeers(ctx, key)
}

func newTable(c *Config, wan bool) (*table, error) {
	t := &table{source: "dht", scope: scopePublic, hasBootstrap: len(c.Bootstrap) > 0, waitUntil: time.Now().Add(FirstPeer), bootstrap: c.Connecting}
	mode := dht.ModeServer
	options := []dht.Option{dht.ProtocolPrefix(c.Prefix), dht.WithCustomMessageSender(newSender())}
	if wan {
		options = append(options, dht.EnableOptimisticProvide())
		switch c.Mode {
		case ModeAuto, ModeAccelerated:
			mode = dht.ModeAuto
		case ModeClient:
			mode = dht.ModeClient
		}
	} else {
		t.source, t.scope = "lan", scopeNear
		options = append(options, dht.ProtocolExtension(lanExtension))
		if c.Mode == ModeClient {
			mode = dht.ModeClient
		}
	}
	if wan || c.Mode == ModeLAN {
		options = append(options, dht.BootstrapPeers(c.Bootstrap...))
	} else {
		t.hasBootstrap = false
	}
	switch {
	case c.Local:
		t.scope = scopeAny
	case wan:
		options = append(options,
			dht.QueryFilter(dht.PublicQueryFilter),
			dht.RoutingTableFilter(dht.PublicRoutingTableFilter),
			dht.RoutingTablePeerDiversityFilter(dht.NewRTPeerDiversityFilter(
				c.Host, amino.DefaultMaxPeersPerIPGroupPerCpl, amino.DefaultMaxPeersPerIPGroup)))
	default:
		options = append(options,
			dht.QueryFilter(dht.PrivateQueryFilter),
			dht.RoutingTableFilter(dht.PrivateRoutingTableFilter))
	}
	options = append(options,
		dht.Mode(mode),
		dht.AddressFilter(t.scope.filter),
		dht.Datastore(newDatastore(c.State, "dht/"+t.source)))
	var err error
	if t.dht, err = dht.New(c.Host, options...); err != nil {
		return nil, fmt.Errorf("routing: start the DHT %s: %w", t.source, err)
	}
	return t, nil
}

func (t *table) close() error {
	var errs []error
	if t.accelerated != nil {
		errs = append(errs, t.accelerated.Close())
	}
	return errors.Join(append(errs, t.dht.Close())...)
}

// wait returns nil when there is a peer to ask, or ErrNoPeers when none is to be
// expected soon.
func (t *table) wait(ctx context.Context) error {
	if t.hasPeers() {
		return nil
	}
	if !t.hasBootstrap {
		return ErrNoPeers
	}
	var bootstrapped <-chan struct{}
	if t.bootstrap != nil {
		bootstrapped = t.bootstrap.Done()
	}
	timeout := time.NewTimer(time.Until(t.waitUntil))
	defer timeout.Stop()
	ticker := time.NewTicker(firstPeerPoll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return t.explainNoPeers()
		case <-timeout.C:
			return t.explainNoPeers()
		case <-bootstrapped:
			// Another peer that is connected may be about to become the first.
			if t.bootstrap.Err() != nil && len(t.dht.Host().Network().Peers()) == 0 {
				return t.explainNoPeers()
			}
			bootstrapped = nil
		case <-ticker.C:
			if t.hasPeers() {
				return nil
			}
		}
	}
}

func (t *table) hasPeers() bool { return t.dht.RoutingTable().Size() > 0 || t.ready() }

// explainNoPeers returns ErrNoPeers, with the reason why bootstrapping failed.
func (t *table) explainNoPeers() error {
	if t.bootstrap != nil {
		if err := t.bootstrap.Err(); err != nil {
			return fmt.Errorf("%w: %w", ErrNoPeers, err)
		}
	}
	return ErrNoPeers
}

// lookUp runs f, which asks the DHT for a key. It fails if f found nothing and no
// peer answered.
func (t *table) lookUp(ctx context.Context, key string, f func(context.Context, dhtRouter, string) (found bool, err error)) error {
	waitErr := t.wait(ctx)
	router, source := t.router()
	ctx, l, end := startLookup(ctx, source, key, func() []peer.ID {
		return t.dht.RoutingTable().NearestPeers(kb.ConvertKey(key), amino.DefaultBucketSize)
	})
	defer end()
	found, err := f(ctx, router, source)
	switch {
	case found:
		return nil
	case waitErr != nil:
		return waitErr
	case errors.Is(err, kb.ErrLookupFailure):
		return ErrNoPeers
	case err != nil && !errors.Is(err, routing.ErrNotFound):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return l.checkAnswered()
}

func (t *table) findProviders(ctx context.Context, c cid.Cid, emit func(Provider) bool) error {
	return t.lookUp(ctx, string(c.Hash()), func(ctx context.Context, router dhtRouter, source string) (found bool, _ error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		for p := range router.FindProvidersAsync(ctx, c, 0) {
			found = true
			if ctx.Err() != nil {
				continue // the channel closes soon
			}
			if p, ok := t.filterProvider(p); ok && !emit(Provider{AddrInfo: p, Source: source}) {
				cancel()
			}
		}
		return found, nil
	})
}

// filterProvider filters a provider that a peer reported. It returns false if the
// provider has addresses but none in the scope.
func (t *table) filterProvider(p peer.AddrInfo) (peer.AddrInfo, bool) {
	if !validID(p.ID) {
		return p, false
	}
	clean := t.scope.clean(p.ID, p.Addrs)
	if len(clean) == 0 {
		clean = t.knownAddrs(p.ID)
	}
	if len(clean) == 0 && len(p.Addrs) > 0 {
		return p, false
	}
	return peer.AddrInfo{ID: p.ID, Addrs: clean}, true
}

// knownAddrs returns the addresses that the host knows of a peer.
func (t *table) knownAddrs(id peer.ID) []ma.Multiaddr {
	return t.scope.clean(id, t.dht.Host().Peerstore().Addrs(id))
}

func (t *table) findPeer(ctx context.Context, id peer.ID, emit func(Peer) bool) error {
	return t.lookUp(ctx, string(id), func(ctx context.Context, router dhtRouter, source string) (bool, error) {
		p, err := router.FindPeer(ctx, id)
		if err != nil {
			return false, err
		}
		p.Addrs = t.scope.clean(id, dropPlaceholder(p.Addrs))
		if len(p.Addrs) > 0 {
			emit(Peer{AddrInfo: p, Source: source})
		}
		return true, nil
	})
}

func (t *table) closestPeers(ctx context.Context, key string, emit func(Peer) bool) error {
	return t.lookUp(ctx, key, func(ctx context.Context, router dhtRouter, source string) (bool, error) {
		ids, err := router.GetClosestPeers(ctx, key)
		for _, id := range ids {
			if !validID(id) {
				continue
			}
			if !emit(Peer{peer.AddrInfo{ID: id, Addrs: t.knownAddrs(id)}, source}) {
				break
			}
		}
		return len(ids) > 0, err
	})
}

func (t *table) searchValue(ctx context.Context, key string, emit func(Value) bool) error {
	return t.lookUp(ctx, key, func(ctx context.Context, router dhtRouter, source string) (found bool, _ error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		values, err := router.SearchValue(ctx, key)
		if err != nil {
			return false, err
		}
		for v := range values {
			found = true
			if ctx.Err() == nil && !emit(Value{v, source}) {
				cancel()
			}
		}
		return found, nil
	})
}

// putValue and provide wait for the first peer, too: a publisher may call them
// right after the start.
func (t *table) putValue(ctx context.Context, key string, value []byte) error {
	if err := t.wait(ctx); err != nil {
		return err
	}
	router, _ := t.router()
	return router.PutValue(ctx, key, value)
}

func (t *table) provide(ctx context.Context, c cid.Cid) error {
	// In our own provider store, even if announcing fails.
	if err := t.dht.Provide(ctx, c, false); err != nil {
		return err
	}
	if err := t.wait(ctx); err != nil {
		return err
	}
	if len(t.dht.FilteredAddrs()) == 0 {
		return fmt.Errorf("this node has no address that peers of the DHT %s could reach", t.source)
	}
	router, _ := t.router()
	return router.Provide(ctx, c, true)
}

// protocol returns the protocol id of the DHT's messages.
func (c *Config) protocol(wan bool) protocol.ID {
	if wan {
		return c.Prefix + kadProtocol
	}
	return c.Prefix + lanExtension + kadProtocol
}

// isIPNS returns the id in the key of an IPNS record.
func isIPNS(key string) (peer.ID, bool) {
	rest, ok := strings.CutPrefix(key, "/ipns/")
	if !ok {
		return "", false
	}
	id, err := peer.IDFromBytes([]byte(rest))
	return id, err == nil
}
