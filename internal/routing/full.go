package routing

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p-kad-dht/amino"
	"github.com/libp2p/go-libp2p-kad-dht/crawler"
	"github.com/libp2p/go-libp2p-kad-dht/fullrt"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	// crawlers is how many peers are asked at once to fill the table of the
	// whole network: some 10,000 answer within few minutes.
	crawlers = 200

	// crawlAgain is when to try again if nobody answered, crawlPoll how often
	// to look whether there's somebody to ask.
	crawlAgain = time.Minute
	crawlPoll  = 100 * time.Millisecond
)

// addFull gives the table what knows the whole network.
func (t *table) addFull(c *Config) error {
	short := &shortHost{Host: c.Host, opened: make(map[peer.ID]bool)}
	crawl, err := crawler.NewDefaultCrawler(short,
		crawler.WithProtocols([]protocol.ID{c.protocol(true)}),
		crawler.WithParallelism(crawlers),
		crawler.WithCustomMessageSender(senderOf()))
	if err != nil {
		return fmt.Errorf("routing: start the accelerated DHT: %w", err)
	}
	options := []fullrt.Option{
		fullrt.WithCrawler(&seededCrawler{crawl: crawl, host: short, table: t, bootstrap: c.Bootstrap}),
		// It takes few of the options, and none of the defaults.
		fullrt.DHTOption(
			dht.BucketSize(amino.DefaultBucketSize),
			dht.BootstrapPeers(),
			dht.WithCustomMessageSender(senderOf(c.protocol(true)))),
	}
	if c.Local {
		options = append(options, fullrt.WithIPDiversityFilterLimit(0))
	}
	t.full, err = fullrt.NewFullRT(&tableHost{c.Host, t.scope}, c.Prefix, options...)
	if err != nil {
		return fmt.Errorf("routing: start the accelerated DHT: %w", err)
	}
	return nil
}

// A seededCrawler begins where the DHT has got to, as soon as it has got
// anywhere: fullrt would try once, with the bootstrap peers alone, and not
// again for an hour.
type seededCrawler struct {
	crawl     crawler.Crawler
	host      *shortHost
	table     *table
	bootstrap []peer.AddrInfo
}

var _ crawler.Crawler = (*seededCrawler)(nil)

func (s *seededCrawler) Run(ctx context.Context, known []*peer.AddrInfo, good crawler.HandleQueryResult, bad crawler.HandleQueryFail) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		seeds := slices.Clone(known)
		for _, id := range s.table.dht.RoutingTable().ListPeers() {
			seeds = append(seeds, &peer.AddrInfo{ID: id})
		}
		if len(seeds) == 0 {
			pause.Reset(crawlPoll)
			continue
		}
		for _, p := range s.bootstrap {
			seeds = append(seeds, &p)
		}
		var answered atomic.Int64
		s.crawl.Run(ctx, seeds, func(p peer.ID, peers []*peer.AddrInfo) {
			answered.Add(1)
			good(p, peers)
			s.host.done(p)
		}, func(p peer.ID, err error) {
			bad(p, err)
			s.host.done(p)
		})
		if answered.Load() > 0 {
			return
		}
		pause.Reset(crawlAgain)
	}
}

// A shortHost closes the connections that a crawl opened as soon as it is done
// with a peer: thousands would be open before the connection manager looks, and
// nobody else could connect.
type shortHost struct {
	host.Host

	mu     sync.Mutex // guards what follows
	opened map[peer.ID]bool
}

func (h *shortHost) Connect(ctx context.Context, p peer.AddrInfo) error {
	if h.Network().Connectedness(p.ID) != network.Connected {
		h.mu.Lock()
		h.opened[p.ID] = true
		h.mu.Unlock()
	}
	return h.Host.Connect(ctx, p)
}

// done closes the connections to a peer, if nobody else has come to use them.
func (h *shortHost) done(id peer.ID) {
	h.mu.Lock()
	opened := h.opened[id]
	delete(h.opened, id)
	h.mu.Unlock()
	if !opened {
		return
	}
	for _, c := range h.Network().ConnsToPeer(id) {
		used := slices.ContainsFunc(c.GetStreams(), func(s network.Stream) bool {
			return !strings.HasSuffix(string(s.Protocol()), string(kadProtocol)) && !strings.HasPrefix(string(s.Protocol()), "/ipfs/id/")
		})
		if !used {
			_ = c.Close() // it is open or it isn't
		}
	}
}

// A tableHost keeps what fullrt does with addresses to the scope: it filters
// neither those it learns nor those it announces, and takes nobody into its
// table who has no public one.
type tableHost struct {
	host.Host
	scope scope
}

func (h *tableHost) Addrs() []ma.Multiaddr { return h.scope.filter(h.Host.Addrs()) }

func (h *tableHost) Peerstore() peerstore.Peerstore {
	return &tablePeerstore{h.Host.Peerstore(), h.scope}
}

type tablePeerstore struct {
	peerstore.Peerstore
	scope scope
}

func (s *tablePeerstore) AddAddrs(id peer.ID, addrs []ma.Multiaddr, ttl time.Duration) {
	s.Peerstore.AddAddrs(id, s.scope.filter(addrs), ttl)
}

// standIn is public to fullrt, which asks PeerInfo for nothing else. Nobody
// was ever given it, and it is never dialled.
const standIn = "/ip6/2000::1/tcp/1"

func (s *tablePeerstore) PeerInfo(id peer.ID) peer.AddrInfo {
	p := s.Peerstore.PeerInfo(id)
	if s.scope == scopeAny {
		p.Addrs = append(slices.Clip(p.Addrs), ma.StringCast(standIn))
	}
	return p
}

// withoutStandIn removes it from what fullrt tells.
func withoutStandIn(addrs []ma.Multiaddr) []ma.Multiaddr {
	return ma.FilterAddrs(addrs, func(a ma.Multiaddr) bool { return a.String() != standIn })
}
