package cairn

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/cairn-ipfs/cairn/internal/announce"
	"github.com/cairn-ipfs/cairn/internal/names"
	"github.com/cairn-ipfs/cairn/internal/routing"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

// Config configures a node. The zero value is a node in memory that contacts
// nothing by itself.
type Config struct {
	// Dir is the repository's folder, created if it does not exist. Empty: the
	// node is in memory, and its content is gone after Close.
	Dir string

	// Logger receives what is worth knowing. Nil: nothing is logged.
	Logger *slog.Logger

	// Identity is the node's private key among peers. Nil: the one in Dir, made
	// with the first call that needs it; a new one for a node in memory.
	Identity crypto.PrivKey
	// Offline: the node has no network. What needs one fails with ErrOffline.
	// Otherwise the network starts with the first call that needs it, or in Open
	// if the node listens.
	Offline bool
	// Listen are the multiaddrs to listen on; DefaultListen for a node that others
	// can find. Empty: the node only dials, and answers peers over the connections
	// that it opened.
	Listen []string
	// Bootstrap are peers to connect to at once, by which the DHT is joined, as
	// multiaddrs that end with their ids. Empty: none. DefaultBootstrap is for the
	// public network.
	Bootstrap []string
	// Routing says where providers, peers and records are looked up. Empty:
	// RoutingAuto.
	Routing RoutingMode
	// Delegated are routers to query over HTTP, as URLs without /routing/v1.
	// Empty: none. DefaultDelegated is the public one.
	Delegated []string
	// Finders are queried for providers as well.
	Finders []Finder
	// Providing says what a node that listens announces by itself. Empty:
	// ProvideEntities. What Provide was called with is announced in any case.
	Providing ProvideStrategy
	// ProvideList, if not nil, lists what to announce instead, in any order. It is
	// called when the network starts, and every 22 hours.
	ProvideList func(ctx context.Context) iter.Seq2[cid.Cid, error]
	// ProvideFetched also announces the roots that Fetch, and Sync with NoPin,
	// brought into the cache, until the list is read again.
	ProvideFetched bool
	// PSK is the pre-shared key of a private network, 32 bytes: the node talks to
	// peers with the same key only. Nil: the public network.
	PSK []byte
	// Local disables what concerns the internet: mapping a port on the router,
	// relays, learning the node's own address from peers.
	Local bool
	// MDNS finds peers of the local network, and answers them.
	MDNS bool
	// Connections bounds the number of connections. Zero: 96, which a home router
	// bears; 320 with RoutingAccelerated.
	Connections int
	// UserAgent is the name that peers see. Empty: "cairn".
	UserAgent string
	// Gateways are URLs of trustless gateways that sessions ask beside peers, once
	// a session has run for FallbackDelay. Zero: at once. Their blocks are verified
	// like all others.
	Gateways      []string
	FallbackDelay time.Duration

	// KeyPassphrase encrypts the private keys that are made or imported, except the
	// node's identity, and decrypts encrypted ones. Empty: keys are not encrypted.
	KeyPassphrase string
	// DNS configures the resolution of domains.
	DNS DNS

	// Store configures the block store: space for the cache, links of your own
	// codecs, backings. The Logger above, if set, replaces its Logger. The backing
	// "file" is the node's own.
	Store store.Options
}

// storeOptions returns the options of the node's store.
func (c Config) storeOptions() store.Options {
	o := c.Store
	if c.Logger != nil {
		o.Logger = c.Logger
	}
	o.Backings = maps.Clone(o.Backings)
	if o.Backings == nil {
		o.Backings = map[string]store.Backing{}
	}
	o.Backings[fileBackingName] = fileBacking{}
	o.RecordedSpaces = append(slices.Clip(o.RecordedSpaces), names.KeptSpace)
	return o
}

// DefaultListen returns the addresses of a node that others can find: TCP, QUIC,
// WebTransport and WebSocket on port 4001.
func DefaultListen() []string {
	return []string{
		"/ip4/0.0.0.0/tcp/4001", "/ip6/::/tcp/4001",
		"/ip4/0.0.0.0/tcp/4001/ws", "/ip6/::/tcp/4001/ws",
		"/ip4/0.0.0.0/udp/4001/quic-v1", "/ip6/::/udp/4001/quic-v1",
		"/ip4/0.0.0.0/udp/4001/quic-v1/webtransport", "/ip6/::/udp/4001/quic-v1/webtransport",
	}
}

// DefaultBootstrap returns peers by which the public network, the Amino DHT, is
// joined.
func DefaultBootstrap() []string {
	return []string{
		"/dnsaddr/bootstrap.libp2p.io/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN",
		"/dnsaddr/bootstrap.libp2p.io/p2p/QmQCU2EcMqAqQPR2i9bChDtGNJchTbq5TbXJJ16u19uLTa",
		"/dnsaddr/bootstrap.libp2p.io/p2p/QmbLHAnMoJPWSCR5Zhtx6BHJX9KiKNN6tpvbUcqanj75Nb",
		"/dnsaddr/bootstrap.libp2p.io/p2p/QmcZf59bWwK5XFi76CZX8cbJ4BhTzzA3gU1ZjYZcYW3dwt",
		"/ip4/104.131.131.82/tcp/4001/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ",
	}
}

// DefaultDelegated returns the public delegated router.
func DefaultDelegated() []string { return []string{"https://delegated-ipfs.dev"} }

// A RoutingMode says where providers, peers and records are looked up, besides the
// cache and the Finders.
type RoutingMode string

const (
	// RoutingAuto uses the DHT of the internet, that of the local network, and the
	// delegated routers. The node serves the internet's DHT while it is publicly
	// reachable.
	RoutingAuto RoutingMode = "auto"
	// RoutingClient is RoutingAuto, but the node never serves the DHT.
	RoutingClient RoutingMode = "client"
	// RoutingServer is RoutingAuto, and the node always serves the DHT.
	RoutingServer RoutingMode = "server"
	// RoutingAccelerated is RoutingAuto with a table of the whole network, which
	// answers in one step. It costs memory, and some minutes of traffic an hour.
	RoutingAccelerated RoutingMode = "accelerated"
	// RoutingDelegated uses delegated routers only. Nothing is announced.
	RoutingDelegated RoutingMode = "delegated"
	// RoutingLAN uses, and serves, the local network's DHT only.
	RoutingLAN RoutingMode = "lan"
	// RoutingNone looks nothing up.
	RoutingNone RoutingMode = "none"
)

// ParseRoutingMode returns the mode of that name. Empty is RoutingAuto.
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

// acceleratedConnections is the default limit with RoutingAccelerated: the usual
// connections, the 200 that fill the table at once, and some that are closing.
const acceleratedConnections = 320

// maxConnections returns how many connections the swarm may have; zero is its own
// default.
func (c Config) maxConnections() int {
	if c.Connections == 0 && c.Routing == RoutingAccelerated {
		return acceleratedConnections
	}
	return c.Connections
}

// A ProvideStrategy says what a node announces by itself.
type ProvideStrategy string

const (
	// ProvideEntities announces the roots of aliases, and below them all files,
	// directories and shards of directories, but not the pieces of files. Of other
	// DAGs it announces every block.
	ProvideEntities = ProvideStrategy(announce.Entities)
	// ProvideRoots announces the roots of aliases.
	ProvideRoots = ProvideStrategy(announce.Roots)
	// ProvideAll announces every block in the store.
	ProvideAll = ProvideStrategy(announce.All)
	// ProvideNone announces nothing by itself.
	ProvideNone = ProvideStrategy(announce.None)
)

// ParseProvideStrategy returns the strategy of that name. Empty is
// ProvideEntities.
func ParseProvideStrategy(name string) (ProvideStrategy, error) {
	s, err := announce.ParseStrategy(name)
	return ProvideStrategy(s), err
}

// DNS configures how domains are resolved (https://dnslink.dev). The zero value
// asks the system's DNS servers.
type DNS struct {
	// Servers are the DNS servers to ask, as host and port. Nil: the system's.
	Servers []string
	// DoH are URLs of DNS over HTTPS to ask instead, by the domain's suffix
	// ("eth"); "." for all domains.
	DoH map[string]string
	// Static are links known without asking: the path of each domain.
	Static map[string]string
}

// Check reports whether a node can be opened with d. Errors: ErrNameInvalid.
func (d DNS) Check() error {
	l, err := d.open()
	if err != nil {
		return err
	}
	return l.Close()
}

func (d DNS) open() (*names.DNSLink, error) {
	return names.NewDNSLink(names.DNSConfig{Servers: d.Servers, DoH: d.DoH, Static: d.Static})
}

// ErrAddress: the address cannot be parsed, or names no peer.
var ErrAddress = errors.New("no address of a peer")

// parsePeers parses multiaddrs that end with the ids of peers.
func parsePeers(addrs []string) ([]peer.AddrInfo, error) {
	var all []multiaddr.Multiaddr
	for _, a := range addrs {
		m, err := multiaddr.NewMultiaddr(a)
		if err == nil {
			_, err = peer.AddrInfoFromP2pAddr(m)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrAddress, a, err)
		}
		all = append(all, m)
	}
	return peer.AddrInfosFromP2pAddrs(all...)
}

// parseURLs parses http and https URLs. The error calls them what.
func parseURLs(addrs []string, what string) ([]*url.URL, error) {
	var all []*url.URL
	for _, a := range addrs {
		u, err := url.Parse(a)
		if err == nil && (u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
			err = errors.New("want the http or https URL of " + what)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrAddress, a, err)
		}
		all = append(all, u)
	}
	return all, nil
}
