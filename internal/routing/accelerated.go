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
	// crawlers is the number of peers that a crawl asks at once to fill the table
	// of the whole network: some 10,000 answer within a few minutes.
	crawlers = 200

	// crawlRetry is the pause after a crawl that no peer answered, crawlPoll the
	// interval at which a crawl looks for a first peer to ask.
	crawlRetry = time.Minute
	crawlPoll  = 100 * time.Millisecond
)

// startAccelerated adds the table of the whole network.
func (t *table) startAccelerated(c *Config) error {
	short := &crawlHost{Host: c.Host, opened: make(map[peer.ID]bool)}
	crawl, err := crawler.NewDefaultCrawler(short,
		crawler.WithProtocols([]protocol.ID{c.protocol(true)}),
		crawler.WithParallelism(crawlers),
		crawler.WithCustomMessageSender(newSender()))
	if err != nil {
		return fmt.Errorf("routing: start the accelerated DHT: %w", err)
	}
	options := []fullrt.Option{
		fullrt.WithCrawler(&seededCrawler{crawl: crawl, host: short, table: t, bootstrap: c.Bootstrap}),
		// fullrt reads few of these options, and applies no defaults.
		fullrt.DHTOption(
			dht.BucketSize(amino.DefaultBucketSize),
			dht.BootstrapPeers(),
			dht.WithCustomMessageSender(newSender(c.protocol(true)))),
	}
	if c.Local {
		options = append(options, fullrt.WithIPDiversityFilterLimit(0))
	}
	t.accelerated, err = fullrt.NewFullRT(&filteredHost{c.Host, t.scope}, c.Prefix, options...)
	if err != nil {
		return fmt.Errorf("routing: start the accelerated DHT: %w", err)
	}
	return nil
}

// A seededCrawler starts from the peers in the DHT's routing table, as soon as
// there are any: fullrt would try once, with the bootstrap peers only, and then
// wait for an hour.
type seededCrawler struct {
	crawl     crawler.Crawler
	host      *crawlHost
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
			s.host.release(p)
		}, func(p peer.ID, err error) {
			bad(p, err)
			s.host.release(p)
		})
		if answered.Load() > 0 {
			return
		}
		pause.Reset(crawlRetry)
	}
}

// A crawlHost closes each connection that a crawl opened as soon as the crawl is
// done with the peer: thousands would be open before the connection manager
// trims them, and no other peer could connect.
type crawlHost struct {
	host.Host

	mu     sync.Mutex // guards the following
	opened map[peer.ID]bool
}

func (h *crawlHost) Connect(ctx context.Context, p peer.AddrInfo) error {
	if h.Network().Connectedness(p.ID) != network.Connected {
		h.mu.Lock()
		h.opened[p.ID] = true
		h.mu.Unlock()
	}
	return h.Host.Connect(ctx, p)
}

// release closes the connections to a peer that the crawl opened, unless another
// protocol uses them by now.
func (h *crawlHost) release(id peer.ID) {
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
			_ = c.Close() // fails only if it is closed already
		}
	}
}

// A filteredHost applies the scope to the addresses that fullrt uses. fullrt
// itself filters neither the addresses it learns nor those it announces, and
// leaves peers without a public address out of its table.
type filteredHost struct {
	host.Host
	scope scope
}

func (h *filteredHost) Addrs() []ma.Multiaddr { return h.scope.filter(h.Host.Addrs()) }

func (h *filteredHost) Peerstore() peerstore.Peerstore {
	return &filteredPeerstore{h.Host.Peerstore(), h.scope}
}

type filteredPeerstore struct {
	peerstore.Peerstore
	scope scope
}

func (s *filteredPeerstore) AddAddrs(id peer.ID, addrs []ma.Multiaddr, ttl time.Duration) {
	s.Peerstore.AddAddrs(id, s.scope.filter(addrs), ttl)
}

// placeholderAddr makes a peer look public to fullrt, which calls PeerInfo for
// nothing else. The address belongs to no network, and is never dialled.
const placeholderAddr = "/ip6/2000::1/tcp/1"

func (s *filteredPeerstore) PeerInfo(id peer.ID) peer.AddrInfo {
	p := s.Peerstore.PeerInfo(id)
	if s.scope == scopeAny {
		p.Addrs = append(slices.Clip(p.Addrs), ma.StringCast(placeholderAddr))
	}
	return p
}

// dropPlaceholder removes placeholderAddr from addresses that fullrt returns.
func dropPlaceholder(addrs []ma.Multiaddr) []ma.Multiaddr {
	return ma.FilterAddrs(addrs, func(a ma.Multiaddr) bool { return a.String() != placeholderAddr })
}
