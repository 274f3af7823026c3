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
)

// Errors of routing.
var (
	// ErrNoRouting: in this mode (Config.Routing) there's nobody to ask, or to
	// announce to.
	ErrNoRouting = routing.ErrNoSource
	// ErrNoPeers: no peer of the DHT is known, so there's nobody to ask.
	ErrNoPeers = routing.ErrNoPeers
	// ErrNoAnswer: peers were asked, and none answered.
	ErrNoAnswer = routing.ErrNoAnswer
	// ErrNoRecord: there's no such record.
	ErrNoRecord = routing.ErrNotFound
)

// A Provider is a peer that says it has something, or of whom somebody says so.
type Provider struct {
	peer.AddrInfo
	// Source is who says so: "cache", "dht", "lan", "accelerated", the name of
	// a Finder, the host of a delegated router.
	Source string
	// Protocols are how it delivers, by the names of delegated routing
	// ("transport-bitswap"). Empty: not known.
	Protocols []string
}

// A Finder is a further source of providers: a central database of one's own,
// say. FindProviders yields whoever has c, or an error, and ends soon after its
// context does; what it says of Source is replaced by its Name. It is called by
// several goroutines.
type Finder interface {
	Name() string
	FindProviders(ctx context.Context, c cid.Cid) iter.Seq2[Provider, error]
}

// A finder is a Finder as the router has it.
type finder struct{ Finder }

var _ routing.Finder = finder{}

func (f finder) FindProviders(ctx context.Context, c cid.Cid) iter.Seq2[routing.Provider, error] {
	return func(yield func(routing.Provider, error) bool) {
		for p, err := range f.Finder.FindProviders(ctx, c) {
			if !yield(routing.Provider(p), err) {
				return
			}
		}
	}
}

// FindProviders asks everybody at once who has c, and yields each provider when
// it is first told of; again, some times, if there's an address that is new.
// What is remembered comes first. It ends when the caller stops ranging, with
// the context, or after a minute. Nothing yielded and no error: nobody has it.
// An error is the last thing yielded: ErrNoRouting, ErrNoPeers, ErrNoAnswer,
// ErrOffline.
func (n *Node) FindProviders(ctx context.Context, c cid.Cid) iter.Seq2[Provider, error] {
	return func(yield func(Provider, error) bool) {
		net, err := n.network(ctx)
		if err != nil {
			yield(Provider{}, fmt.Errorf("find providers of %s: %w", c, err))
			return
		}
		for p, err := range net.routing.FindProviders(ctx, c) {
			if !yield(Provider(p), err) {
				return
			}
		}
	}
}

// A PeerAddrs is a peer's addresses and who told them: "connected" if the node
// is connected to it, else as in Provider.
type PeerAddrs struct {
	peer.AddrInfo
	Source string
}

// FindPeer asks everybody for a peer's addresses, and yields them as they come;
// only what brings something new. It ends as FindProviders does.
func (n *Node) FindPeer(ctx context.Context, id peer.ID) iter.Seq2[PeerAddrs, error] {
	return func(yield func(PeerAddrs, error) bool) {
		net, err := n.network(ctx)
		if err != nil {
			yield(PeerAddrs{}, fmt.Errorf("find the peer %s: %w", id, err))
			return
		}
		for p, err := range net.routing.FindPeer(ctx, id) {
			if !yield(PeerAddrs(p), err) {
				return
			}
		}
	}
}

// ClosestPeers yields the peers of the DHT that are closest to a key, 20 of each
// DHT. The key is a multihash: the bytes of Cid.Hash, or of a peer id. It ends
// as FindProviders does.
func (n *Node) ClosestPeers(ctx context.Context, key []byte) iter.Seq2[PeerAddrs, error] {
	return func(yield func(PeerAddrs, error) bool) {
		net, err := n.network(ctx)
		if err != nil {
			yield(PeerAddrs{}, fmt.Errorf("find the closest peers: %w", err))
			return
		}
		for p, err := range net.routing.ClosestPeers(ctx, string(key)) {
			if !yield(PeerAddrs(p), err) {
				return
			}
		}
	}
}

// recordKey makes the DHT's key of one with a peer id as text.
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
	return "", fmt.Errorf("%w: a record's key is /ipns/ or /pk/ and a peer id: %s", ErrAddress, key)
}

// GetRecord returns the best record that is found under a key: /ipns/ or /pk/
// and a peer id. It is valid. Errors: ErrNoRecord, ErrNoRouting, ErrNoPeers,
// ErrNoAnswer, ErrAddress, ErrOffline.
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

// PutRecord publishes a record, which has to be valid. It says nothing of
// whether anybody keeps it on: that is for who publishes. Errors: as GetRecord.
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

// A RoutingStatus is how finding is doing.
type RoutingStatus struct {
	Mode RoutingMode `json:"mode"`
	// Peers are those in the routing table of the internet's DHT, LocalPeers in
	// the local network's, AllPeers in the accelerated table.
	Peers      int `json:"peers"`
	LocalPeers int `json:"localPeers"`
	AllPeers   int `json:"allPeers"`
	// Server tells whether the node answers for the internet's DHT.
	Server bool `json:"server"`
	// Ready tells whether the accelerated table answers.
	Ready bool `json:"ready"`
	// Cached is of how many CIDs providers are remembered.
	Cached int `json:"cached"`
}

// Bootstrap are the peers by which the node enters the network, as it was
// configured.
func (n *Node) Bootstrap() []string { return slices.Clone(n.config.Bootstrap) }

// RoutingStatus says how finding is doing.
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

// A TraceEvent is one question of a look-up, when it was answered or has failed.
type TraceEvent struct {
	// Source is who asked: "dht", "lan", "accelerated"; or the host of a
	// delegated router, which is no peer: then there's neither Hop nor distance.
	Source string
	// Hop counts from 1, the peers that were known when the look-up began. Whom
	// one of hop n told of is of hop n+1.
	Hop int
	// Peer was asked.
	Peer peer.ID
	// Distance is the XOR of the SHA-256 of its id and that of the key; Prefix
	// is how many zero bits it begins with.
	Distance [sha256.Size]byte
	Prefix   int
	// Closer are the peers that it says are closer to the key, Providers those
	// that it says have it; at most 256 each.
	Closer, Providers []peer.AddrInfo
	// Value tells that it sent a record.
	Value bool
	// Took is from asking to the answer, or until it was given up.
	Took time.Duration
	// Err is why there's no answer.
	Err error
}

// WithTrace returns a context with which FindProviders, FindPeer, ClosestPeers
// and GetRecord tell f of each question. Calls of f don't overlap, and hold up
// the look-up. A few may follow after it is over.
func WithTrace(ctx context.Context, f func(TraceEvent)) context.Context {
	return routing.WithTrace(ctx, func(e routing.TraceEvent) { f(TraceEvent(e)) })
}
