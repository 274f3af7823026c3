package routing

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/ipfs/go-cid"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// A Mode says which sources are asked besides the cache and the finders.
type Mode int

const (
	// ModeAuto asks both DHTs and the delegated routers, and answers for the
	// DHT while the host can be reached from the internet.
	ModeAuto Mode = iota
	// ModeClient is the same, but never answers.
	ModeClient
	// ModeServer is the same, and always answers.
	ModeServer
	// ModeAccelerated is ModeAuto with a table of the whole network beside it,
	// which answers in one step once it is ready. It connects to every server
	// of the network once an hour, to 200 at once: the host needs room for as
	// many connections.
	ModeAccelerated
	// ModeDelegated asks delegated routers alone.
	ModeDelegated
	// ModeLAN asks and answers in the DHT of the local network alone.
	ModeLAN
	// ModeNone asks nobody else.
	ModeNone
)

var modes = [...]string{"auto", "client", "server", "accelerated", "delegated", "lan", "none"}

func (m Mode) String() string {
	if m < 0 || int(m) >= len(modes) {
		return fmt.Sprintf("mode %d", int(m))
	}
	return modes[m]
}

// ParseMode reads a mode by its name.
func ParseMode(name string) (Mode, error) {
	for i, m := range modes {
		if m == name {
			return Mode(i), nil
		}
	}
	return 0, fmt.Errorf("routing: no mode %q; there are %q", name, modes)
}

func (m Mode) hasWAN() bool { return m <= ModeAccelerated }
func (m Mode) hasLAN() bool { return m <= ModeAccelerated || m == ModeLAN }
func (m Mode) hasHTTP() bool {
	return m <= ModeAccelerated || m == ModeDelegated
}

// A Config says what a Router is like. Host alone has to be set.
type Config struct {
	// Host is what the DHT speaks over. It is not closed by the Router, and
	// has to be open until the Router is closed.
	Host host.Host

	// Mode is which sources are asked. Zero: ModeAuto.
	Mode Mode

	// Bootstrap are peers by which the DHT is entered. None: it is entered by
	// whoever connects.
	Bootstrap []peer.AddrInfo

	// Connecting, if not nil, records how connecting to them goes, which the
	// caller does. Lookups then stop waiting when all have failed, and say why.
	// nil: they wait for FirstPeer.
	Connecting *Bootstrap

	// Prefix begins the DHT's protocol ids. "": "/ipfs", the Amino DHT.
	Prefix protocol.ID

	// Local takes private and loopback addresses for as good as others: for
	// private networks and for tests.
	Local bool

	// Delegated are the base URLs of delegated routers, without /routing/v1.
	// Records are only put there in ModeDelegated.
	Delegated []*url.URL

	// FilterProtocols are the transfer protocols of providers that delegated
	// routers are asked for (IPIP-484). nil: those that a node speaks.
	FilterProtocols []string

	// FilterAddrs are the protocols of addresses they are asked for, those
	// with ! before them are not wanted. nil: all.
	FilterAddrs []string

	// Finders are asked beside the others.
	Finders []Finder

	// Datastore keeps the cache, the DHT's records, and what is announced.
	// nil: they are lost on Close.
	Datastore Datastore

	// Providing says what is announced besides what Provide is told.
	Providing Providing

	// Limits bound look-ups.
	Limits Limits

	// HTTP asks delegated routers. nil: a client of our own. Its redirects are
	// bounded in any case.
	HTTP *http.Client

	// Logger is told what happens. nil: silent.
	Logger *slog.Logger
}

// Limits bound what look-ups take.
type Limits struct {
	// Lookup is how long a look-up, or an announcement, may take. 0: a minute.
	Lookup time.Duration
	// Delegated is how long one request to a delegated router may take. 0:
	// 15 seconds.
	Delegated time.Duration
	// Cache is of how many CIDs the providers are remembered. 0: 4,096.
	// Negative: none.
	Cache int
}

const (
	// defaultLookup: a look-up in the Amino DHT takes a few seconds, a minute
	// where most peers are gone.
	defaultLookup = time.Minute

	// defaultDelegated: public delegated routers look up in the DHT
	// themselves, and stop after 30 seconds at most; what is useful comes well
	// before.
	defaultDelegated = 15 * time.Second

	// defaultCache: a row has some 500 bytes, so this is 2 MiB.
	defaultCache = 4096

	// maxRedirects: a delegated router may be behind another name or scheme.
	maxRedirects = 3
)

// Errors to be tested for with errors.Is.
var (
	// ErrClosed: the router was closed.
	ErrClosed = errors.New("routing is closed")
	// ErrNoPeers: no peer of the DHT is known, so there's nobody to ask.
	ErrNoPeers = errors.New("no peers of the DHT are known")
	// ErrNoAnswer: peers were asked, and none answered.
	ErrNoAnswer = errors.New("none of the peers answered")
	// ErrNotFound: there's no such record.
	ErrNotFound = errors.New("no such record was found")
	// ErrNoSource: in this mode there's nobody to ask, or to announce to.
	ErrNoSource = errors.New("routing has no such source in this mode")
)

// A Provider is a peer that says it has something.
type Provider struct {
	peer.AddrInfo
	// Source is who says so: cache, dht, lan, accelerated, the name of a
	// finder, the host of a delegated router.
	Source string
	// Protocols are the transfer protocols it is known to speak. Empty: not
	// known.
	Protocols []string
}

// A Peer is a peer's addresses and who told them.
type Peer struct {
	peer.AddrInfo
	Source string
}

// A Finder is a further source of providers. What it yields is filtered as what
// comes from the local network. It should end soon after its context does.
type Finder interface {
	Name() string
	FindProviders(ctx context.Context, c cid.Cid) iter.Seq2[Provider, error]
}

// A PeerFinder is a Finder that finds peers' addresses, too.
type PeerFinder interface {
	Finder
	FindPeer(ctx context.Context, id peer.ID) iter.Seq2[peer.AddrInfo, error]
}

func (c Config) withDefaults() (Config, error) {
	if c.Host == nil {
		return c, errors.New("routing: no host")
	}
	if c.Mode < ModeAuto || c.Mode > ModeNone {
		return c, fmt.Errorf("routing: there is no %s", c.Mode)
	}
	if c.Prefix == "" {
		c.Prefix = dht.DefaultPrefix
	}
	if c.Limits.Lookup <= 0 {
		c.Limits.Lookup = defaultLookup
	}
	if c.Limits.Delegated <= 0 {
		c.Limits.Delegated = defaultDelegated
	}
	if c.Limits.Cache == 0 {
		c.Limits.Cache = defaultCache
	}
	if c.FilterProtocols == nil {
		c.FilterProtocols = []string{"transport-bitswap", "transport-ipfs-gateway-http", unknownProtocol}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Datastore == nil {
		c.Datastore = newMemory()
	}
	for _, u := range c.Delegated {
		if u == nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return c, fmt.Errorf("routing: %v: a delegated router is an http or https URL", u)
		}
	}
	return c, nil
}
