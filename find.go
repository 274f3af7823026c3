package cairn

import (
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/cairn-ipfs/cairn/internal/routing"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

// Errors of lookups.
var (
	// ErrNoRouting: with this Config.Routing there is nothing to query, or to
	// announce to.
	ErrNoRouting = routing.ErrNoSource
	// ErrNoPeers: the node knows no peer of the DHT.
	ErrNoPeers = routing.ErrNoPeers
	// ErrNoAnswer: peers were queried, and none answered.
	ErrNoAnswer = routing.ErrNoAnswer
	// ErrNoRecord: no record was found under the key.
	ErrNoRecord = routing.ErrNotFound
)

// A Provider is a peer that announced that it has a block.
type Provider struct {
	ID    peer.ID               `json:"peerId"`
	Addrs []multiaddr.Multiaddr `json:"addresses"`
	// Source is where that was found: "cache", "dht", "lan", "accelerated", the
	// name of a Finder, the host of a delegated router.
	Source string `json:"source"`
	// Protocols are its transfer protocols, by the names of delegated routing
	// ("transport-bitswap"). Empty: unknown.
	Protocols []string `json:"protocols,omitempty"`
}

// A Finder is a further source of providers, such as a central database of your
// own. FindProviders yields the providers of c, or an error, and ends soon after its
// context. Name replaces the Source of what it yields. Several goroutines call it.
type Finder interface {
	Name() string
	FindProviders(ctx context.Context, c cid.Cid) iter.Seq2[Provider, error]
}

// A finder makes a Finder one of package routing.
type finder struct{ Finder }

var _ routing.Finder = finder{}

func (f finder) FindProviders(ctx context.Context, c cid.Cid) iter.Seq2[routing.Provider, error] {
	return func(yield func(routing.Provider, error) bool) {
		for p, err := range f.Finder.FindProviders(ctx, c) {
			found := routing.Provider{AddrInfo: peer.AddrInfo{ID: p.ID, Addrs: p.Addrs}, Source: p.Source, Protocols: p.Protocols}
			if !yield(found, err) {
				return
			}
		}
	}
}

// FindProviders looks up the providers of c in all sources at once, and yields each
// as it is found; again, a few times, when it has new addresses. Cached ones come
// first. It ends with the loop, with the context, or after a minute. If it yields
// nothing, there is no provider. An error comes last: ErrNoRouting, ErrNoPeers,
// ErrNoAnswer, ErrOffline.
func (n *Node) FindProviders(ctx context.Context, c cid.Cid) iter.Seq2[Provider, error] {
	return func(yield func(Provider, error) bool) {
		net, err := n.network(ctx)
		if err != nil {
			yield(Provider{}, fmt.Errorf("find providers of %s: %w", c, err))
			return
		}
		for p, err := range net.routing.FindProviders(ctx, c) {
			if !yield(Provider{p.ID, p.Addrs, p.Source, p.Protocols}, err) {
				return
			}
		}
	}
}

// PeerAddrs are the addresses of a peer. Source is "connected" if the node is
// connected to it, otherwise as in Provider.
type PeerAddrs struct {
	ID     peer.ID               `json:"peerId"`
	Addrs  []multiaddr.Multiaddr `json:"addresses"`
	Source string                `json:"source"`
}

// FindPeer looks up a peer's addresses in all sources at once, and yields what is
// new as it is found. It ends as FindProviders does.
func (n *Node) FindPeer(ctx context.Context, id peer.ID) iter.Seq2[PeerAddrs, error] {
	return func(yield func(PeerAddrs, error) bool) {
		net, err := n.network(ctx)
		if err != nil {
			yield(PeerAddrs{}, fmt.Errorf("find the peer %s: %w", id, err))
			return
		}
		for p, err := range net.routing.FindPeer(ctx, id) {
			if !yield(PeerAddrs{p.ID, p.Addrs, p.Source}, err) {
				return
			}
		}
	}
}

// ClosestPeers yields the peers closest to a key, 20 of each DHT. The key is a
// multihash: the bytes of Cid.Hash, or of a peer id. It ends as FindProviders does.
func (n *Node) ClosestPeers(ctx context.Context, key []byte) iter.Seq2[PeerAddrs, error] {
	return func(yield func(PeerAddrs, error) bool) {
		net, err := n.network(ctx)
		if err != nil {
			yield(PeerAddrs{}, fmt.Errorf("find the closest peers: %w", err))
			return
		}
		for p, err := range net.routing.ClosestPeers(ctx, string(key)) {
			if !yield(PeerAddrs{p.ID, p.Addrs, p.Source}, err) {
				return
			}
		}
	}
}

// recordKey converts a key with a peer id as text into the DHT's.
func recordKey(key string) (string, error) {
	for _, space := range []string{"/ipns/", "/pk/"} {
		if name, ok := strings.CutPrefix(key, space); ok {
			id, err := peer.Decode(name)
			if err != nil {
				return "", fmt.Errorf("%w: %s: %w", ErrAddress, key, err)
			}
			return space + string(id), nil
		}
	}
	return "", fmt.Errorf("%w: %s: want /ipns/ or /pk/ and a peer id", ErrAddress, key)
}

// GetRecord returns the best valid record found under a key: /ipns/ or /pk/ and a
// peer id. Errors: ErrNoRecord, ErrNoRouting, ErrNoPeers, ErrNoAnswer, ErrAddress,
// ErrOffline.
func (n *Node) GetRecord(ctx context.Context, key string) ([]byte, error) {
	net, err := n.network(ctx)
	if err != nil {
		return nil, fmt.Errorf("get the record %s: %w", key, err)
	}
	at, err := recordKey(key)
	if err != nil {
		return nil, err
	}
	value, err := net.routing.GetValue(ctx, at)
	if err != nil {
		return nil, fmt.Errorf("get the record %s: %w", key, err)
	}
	return value, nil
}

// PutRecord sends a valid record once. Peers drop it after 48 hours; PublishName
// keeps it alive. Errors: as GetRecord.
func (n *Node) PutRecord(ctx context.Context, key string, value []byte) error {
	net, err := n.network(ctx)
	if err != nil {
		return fmt.Errorf("put the record %s: %w", key, err)
	}
	at, err := recordKey(key)
	if err != nil {
		return err
	}
	if err := net.routing.PutValue(ctx, at, value); err != nil {
		return fmt.Errorf("put the record %s: %w", key, err)
	}
	return nil
}

// A RoutingStatus is the state of the node's routing.
type RoutingStatus struct {
	Mode RoutingMode `json:"mode"`
	// Peers counts the routing table of the internet's DHT, LocalPeers that of
	// the local network's, AllPeers the accelerated table.
	Peers      int `json:"peers"`
	LocalPeers int `json:"localPeers"`
	AllPeers   int `json:"allPeers"`
	// Server: the node serves the internet's DHT.
	Server bool `json:"server"`
	// Ready: the accelerated table is filled.
	Ready bool `json:"ready"`
	// Cached is the number of CIDs with cached providers.
	Cached int `json:"cached"`
}

// Bootstrap returns the bootstrap peers of the Config.
func (n *Node) Bootstrap() []string { return slices.Clone(n.config.Bootstrap) }

// RoutingStatus returns the state of the node's routing.
func (n *Node) RoutingStatus(ctx context.Context) (RoutingStatus, error) {
	net, err := n.network(ctx)
	if err != nil {
		return RoutingStatus{}, err
	}
	s := net.routing.Status()
	return RoutingStatus{
		Mode: RoutingMode(s.Mode.String()), Peers: s.Peers, LocalPeers: s.LocalPeers, AllPeers: s.AllPeers,
		Server: s.Server, Ready: s.Ready, Cached: s.Cached,
	}, nil
}

// A TraceEvent is one query of a lookup, after its answer or failure.
type TraceEvent struct {
	// Source is "dht", "lan", "accelerated", or the host of a delegated router,
	// which has no Peer, Hop and Distance.
	Source string
	// Hop is 1 for peers known when the lookup began. A peer that was learned from
	// one of hop n has n+1.
	Hop int
	// Peer is the peer queried.
	Peer peer.ID
	// Distance is the SHA-256 of its id XOR that of the key; Prefix counts its
	// leading zero bits.
	Distance [sha256.Size]byte
	Prefix   int
	// Closer are peers in the answer that are closer to the key, Providers the
	// providers in it, at most 256 each.
	Closer, Providers []peer.AddrInfo
	// Value: the answer had a record.
	Value bool
	// Took is the time until the answer or failure.
	Took time.Duration
	// Err is the failure; nil: there was an answer.
	Err error
}

// WithTrace returns a context with which FindProviders, FindPeer, ClosestPeers and
// GetRecord call f for each query. Calls do not overlap, and delay the lookup. A few
// may come after its end.
func WithTrace(ctx context.Context, f func(TraceEvent)) context.Context {
	return routing.WithTrace(ctx, func(e routing.TraceEvent) { f(TraceEvent(e)) })
}
