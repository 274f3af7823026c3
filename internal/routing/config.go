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

	"github.com/cairn-ipfs/cairn/internal/rows"
	"github.com/ipfs/go-cid"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// A Mode selects the sources that are asked besides the cache and the finders.
type Mode int

const (
	// ModeAuto asks both DHTs and the delegated routers, and is a server of the
	// DHT while the host can be reached from the internet.
	ModeAuto Mode = iota
	// ModeClient is ModeAuto, but never a server.
	ModeClient
	// ModeServer is ModeAuto, but always a server.
	ModeServer
	// ModeAccelerated is ModeAuto with a table of the whole network besides,
	// which answers in one step once it is ready. It connects to every server
	// of the network once an hour, to 200 at once: the host needs room for as
	// many connections.
	ModeAccelerated
	// ModeDelegated asks delegated routers only.
	ModeDelegated
	// ModeLAN uses the DHT of the local network only.
	ModeLAN
	// ModeNone asks no further source.
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
	return 0, fmt.Errorf("routing: invalid mode %q: want one of %q", name, modes)
}

func (m Mode) hasWAN() bool { return m <= ModeAccelerated }
func (m Mode) hasLAN() bool { return m <= ModeAccelerated || m == ModeLAN }
func (m Mode) hasHTTP() bool {
	return m <= ModeAccelerated || m == ModeDelegated
}

// A Config configures a Router. Only Host is required.
type Config struct {
	// Host is the host that the DHT uses. It must stay open until the Router is
	// closed, which does not close it.
	Host host.Host

	// Mode selects the sources. Zero: ModeAuto.
	Mode Mode

	// Bootstrap lists the peers through which the router joins the DHT. None: it
	// joins through any peer that connects.
	Bootstrap []peer.AddrInfo

	// Connecting, if not nil, records how connecting to them goes, which the
	// caller does. Lookups then stop waiting when all have failed, and say why.
	// nil: they wait for FirstPeer.
	Connecting *Bootstrap

	// Prefix begins the DHT's protocol ids. "": "/ipfs", the Amino DHT.
	Prefix protocol.ID

	// Local treats private and loopback addresses like public ones: for private
	// networks and for tests.
	Local bool

	// Delegated lists the base URLs of delegated routers, without /routing/v1.
	// Records are sent to them in ModeDelegated only.
	Delegated []*url.URL

	// FilterProtocols lists the transfer protocols of the providers that we ask
	// delegated routers for (IPIP-484). nil: those of a node.
	FilterProtocols []string

	// FilterAddrs lists the protocols of the addresses that we ask delegated
	// routers for; ! before a protocol excludes it. nil: all.
	FilterAddrs []string

	// Finders are further sources.
	Finders []Finder

	// State keeps the cache, the DHT's records, and what to announce. nil: they are
	// lost on Close.
	State rows.Store

	// Providing configures what is announced besides the CIDs given to Provide.
	Providing Providing

	// Limits bound lookups.
	Limits Limits

	// HTTP sends requests to delegated routers. nil: a client of our own. The
	// router bounds redirects in any case.
	HTTP *http.Client

	// Logger logs what fails in the background. nil: silent.
	Logger *slog.Logger
}

// Limits bound lookups.
type Limits struct {
	// Lookup bounds the time of a lookup or an announcement. 0: a minute.
	Lookup time.Duration
	// Delegated bounds the time of one request to a delegated router. 0: 15
	// seconds.
	Delegated time.Duration
	// Cache bounds the CIDs whose providers are in the cache. 0: 4,096.
	// Negative: no cache.
	Cache int
}

const (
	// defaultLookup: a lookup in the Amino DHT takes a few seconds, and a minute
	// where most peers are gone.
	defaultLookup = time.Minute

	// defaultDelegated: public delegated routers ask the DHT themselves, and stop
	// after 30 seconds at most; useful answers come well before.
	defaultDelegated = 15 * time.Second

	// defaultCache: a row has some 500 bytes, so this is 2 MiB.
	defaultCache = 4096

	// maxRedirects: a delegated router may have moved to another name or scheme.
	maxRedirects = 3
)

// Errors to test for with errors.Is.
var (
	// ErrClosed means that the router was closed.
	ErrClosed = errors.New("routing is closed")
	// ErrNoPeers means that the routing table has no peer to ask.
	ErrNoPeers = errors.New("no peers of the DHT are known")
	// ErrNoAnswer means that peers were asked and none answered.
	ErrNoAnswer = errors.New("none of the peers answered")
	// ErrNotFound means that no valid record was found.
	ErrNotFound = errors.New("no such record was found")
	// ErrNoSource means that the mode has no source to ask or to announce to.
	ErrNoSource = errors.New("routing has no such source in this mode")
)

// A Provider is a peer that claims to have a block.
type Provider struct {
	peer.AddrInfo
	// Source names the source that reported it: cache, dht, lan, accelerated, the
	// name of a finder, the host of a delegated router.
	Source string
	// Protocols lists its transfer protocols. Empty: unknown.
	Protocols []string
}

// A Peer has a peer's addresses and the name of the source that reported them.
type Peer struct {
	peer.AddrInfo
	Source string
}

// A Finder is a further source of providers. Its addresses are filtered like
// those from the local network. It should end soon after its context does.
type Finder interface {
	Name() string
	FindProviders(ctx context.Context, c cid.Cid) iter.Seq2[Provider, error]
}

// A PeerFinder is a Finder that finds addresses of peers, too.
type PeerFinder interface {
	Finder
	FindPeer(ctx context.Context, id peer.ID) iter.Seq2[peer.AddrInfo, error]
}

func (c Config) withDefaults() (Config, error) {
	if c.Host == nil {
		return c, errors.New("routing: no host")
	}
	if c.Mode < ModeAuto || c.Mode > ModeNone {
		return c, fmt.Errorf("routing: invalid %s", c.Mode)
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
	if c.State == nil {
		c.State = new(rows.Memory)
	}
	for _, u := range c.Delegated {
		if u == nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return c, fmt.Errorf("routing: invalid delegated router %v: want an http or https URL", u)
		}
	}
	return c, nil
}
