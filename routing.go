package cairn

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"

	"github.com/cairn-ipfs/cairn/internal/routing"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// A RoutingMode says who is asked for providers, peers and records, besides
// what is remembered and the Finders.
type RoutingMode string

const (
	// RoutingAuto asks the DHT of the internet, that of the local network, and
	// the delegated routers. The node answers for the internet's DHT while it
	// can be reached from there.
	RoutingAuto RoutingMode = "auto"
	// RoutingClient is the same, but the node never answers.
	RoutingClient RoutingMode = "client"
	// RoutingServer is the same, and the node always answers.
	RoutingServer RoutingMode = "server"
	// RoutingAccelerated is RoutingAuto with a table of the whole network,
	// which answers in one step. It takes memory, and some minutes of an hour's
	// traffic.
	RoutingAccelerated RoutingMode = "accelerated"
	// RoutingDelegated asks delegated routers alone. Nothing is announced.
	RoutingDelegated RoutingMode = "delegated"
	// RoutingLAN asks, and answers, in the local network's DHT alone.
	RoutingLAN RoutingMode = "lan"
	// RoutingNone asks nobody.
	RoutingNone RoutingMode = "none"
)

// ParseRoutingMode reads a mode by its name. Empty is RoutingAuto.
func ParseRoutingMode(name string) (RoutingMode, error) {
	m, err := RoutingMode(name).mode()
	return RoutingMode(m.String()), err
}

func (m RoutingMode) mode() (routing.Mode, error) {
	if m == "" {
		m = RoutingAuto
	}
	return routing.ParseMode(string(m))
}

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

// DefaultBootstrap are peers by which the public network, the Amino DHT, is
// entered.
func DefaultBootstrap() []string {
	return []string{
		"/dnsaddr/bootstrap.libp2p.io/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN",
		"/dnsaddr/bootstrap.libp2p.io/p2p/QmQCU2EcMqAqQPR2i9bChDtGNJchTbq5TbXJJ16u19uLTa",
		"/dnsaddr/bootstrap.libp2p.io/p2p/QmbLHAnMoJPWSCR5Zhtx6BHJX9KiKNN6tpvbUcqanj75Nb",
		"/dnsaddr/bootstrap.libp2p.io/p2p/QmcZf59bWwK5XFi76CZX8cbJ4BhTzzA3gU1ZjYZcYW3dwt",
		"/ip4/104.131.131.82/tcp/4001/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ",
	}
}

// DefaultDelegated are public delegated routers.
func DefaultDelegated() []string { return []string{"https://delegated-ipfs.dev"} }

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

// acceleratedConnections is how many connections a node may have that fills
// the table of the whole network: the usual ones, the 200 that are asked at
// once, and some that are just being closed.
const acceleratedConnections = 320

// routingConfig is what the node's router is made with, save the host.
func (n *Node) routingConfig(bootstrap []peer.AddrInfo, announced routing.List) (routing.Config, error) {
	c := routing.Config{
		Bootstrap: bootstrap, Local: n.config.Local, Datastore: routingRows{n.store}, Logger: n.config.Logger,
	}
	var err error
	if c.Mode, err = n.config.Routing.mode(); err != nil {
		return c, err
	}
	if c.Delegated, err = parseURLs(n.config.Delegated, "a delegated router"); err != nil {
		return c, err
	}
	for _, f := range n.config.Finders {
		c.Finders = append(c.Finders, finder{f})
	}
	// Nobody could follow what is said of a node that doesn't listen.
	if len(n.config.Listen) > 0 {
		c.Providing = routing.Providing{List: announced}
	}
	return c, nil
}

// parseURLs reads addresses that are http or https URLs.
func parseURLs(addrs []string, what string) ([]*url.URL, error) {
	var all []*url.URL
	for _, a := range addrs {
		u, err := url.Parse(a)
		if err == nil && (u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
			err = errors.New(what + " is an http or https URL")
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrAddress, a, err)
		}
		all = append(all, u)
	}
	return all, nil
}

// routingSpace is the space of the store that holds the router's state.
const routingSpace = "routing"

// routingRows keeps the router's state in a space.
type routingRows struct{ store *store.Store }

var _ routing.Datastore = routingRows{}

func (r routingRows) Get(ctx context.Context, key []byte) ([]byte, bool, error) {
	return r.store.Space(routingSpace).Get(ctx, key)
}

func (r routingRows) Set(ctx context.Context, changes []routing.Change) error {
	set := r.store.Batch()
	for _, c := range changes {
		if c.Value == nil {
			set.Unset(routingSpace, c.Key)
		} else {
			set.Set(routingSpace, c.Key, c.Value)
		}
	}
	return set.Commit(ctx)
}

func (r routingRows) All(ctx context.Context, prefix []byte) iter.Seq2[routing.Change, error] {
	return func(yield func(routing.Change, error) bool) {
		for item, err := range r.store.Space(routingSpace).All(ctx, prefix) {
			if !yield(routing.Change(item), err) {
				return
			}
		}
	}
}
