package sources

import (
	"context"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairn-ipfs/cairn/internal/bitswap"
	"github.com/cairn-ipfs/cairn/internal/exchange"
	"github.com/cairn-ipfs/cairn/internal/routing"
	"github.com/cairn-ipfs/cairn/internal/swarm"
	"github.com/cairn-ipfs/cairn/internal/trustless"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// maxFound is how many peers and gateways Find takes from the router: more
	// than a session asks, as some can't be reached. A hostile router may report
	// thousands.
	maxFound = 256
	// headStart is how long the fetch of a single block asks connected peers
	// alone, if a source delivered within the last recent: reading a file block
	// by block would start thousands of lookups otherwise.
	headStart = 200 * time.Millisecond
	recent    = 10 * time.Second
	// pollInterval is how often Find looks for new connections while the node
	// bootstraps.
	pollInterval = 50 * time.Millisecond
	// maxConnected is how many connected peers a session starts with: half of
	// the sources that it asks, so that providers have room.
	maxConnected = exchange.MaxSources / 2
)

// A Router finds providers and peers, and learns which providers delivered.
type Router interface {
	FindProviders(ctx context.Context, root cid.Cid) iter.Seq2[routing.Provider, error]
	FindPeer(ctx context.Context, id peer.ID) iter.Seq2[routing.Peer, error]
	ReportSuccess(root cid.Cid, p routing.Provider)
	ReportFailure(root cid.Cid, id peer.ID)
}

var _ Router = (*routing.Router)(nil)

// Config says what a Sources works with. All fields but Local are required.
type Config struct {
	Swarm     *swarm.Swarm
	Bitswap   *bitswap.Bitswap
	Router    Router
	Bootstrap *routing.Bootstrap
	// Local allows gateways without TLS, and at addresses that aren't public.
	Local  bool
	Logger *slog.Logger
}

// A Sources finds and makes the sources of one node's sessions.
type Sources struct {
	c         Config
	peers     *peers
	web       *http.Client // to configured gateways
	untrusted *http.Client // to gateways that the router found
	delivered atomic.Int64 // when a source last did, in Unix nanoseconds
}

// New returns a Sources.
func New(c Config) *Sources {
	return &Sources{
		c: c, peers: &peers{host: c.Swarm.Host(), bitswap: c.Bitswap, connect: c.Swarm.Connect},
		web: &http.Client{Transport: trustless.NewHTTPTransport(nil)}, untrusted: newUntrusted(c.Local),
	}
}

// Close closes idle connections to gateways.
func (s *Sources) Close() {
	s.web.CloseIdleConnections()
	s.untrusted.CloseIdleConnections()
}

// Peer returns a peer as a source, which connects when it's asked.
func (s *Sources) Peer(id peer.ID) exchange.Source { return s.peers.peer(id, nil) }

// Gateway returns the gateway below u as a source. It's trusted: any address is
// dialled.
func (s *Sources) Gateway(u *url.URL) exchange.Source { return newGateway(u, s.web) }

// Find yields sources that may have the DAG below root: the peers that are
// connected, those that connect while the node bootstraps, and the providers that
// the router finds. None of these waits for another. Single says that the session
// wants the block root alone.
func (s *Sources) Find(ctx context.Context, root cid.Cid, single bool) iter.Seq[exchange.Source] {
	return func(yield func(exchange.Source) bool) {
		known := make(map[string]bool)
		for src := range s.peers.connected() {
			if known[src.Name()] = true; !yield(src) {
				return
			}
		}
		ctx, cancel := context.WithCancel(ctx)
		found := make(chan exchange.Source)
		emit := func(src exchange.Source) bool {
			select {
			case found <- src:
				return true
			case <-ctx.Done():
				return false
			}
		}
		var searches sync.WaitGroup
		searches.Go(func() { s.findProviders(ctx, root, single, emit) })
		if !s.c.Bootstrap.IsOver() {
			searches.Go(func() { s.watchConnected(ctx, known, emit) })
		}
		go func() {
			searches.Wait()
			close(found)
		}()
		defer func() {
			cancel()
			for range found { // until all have ended
			}
		}()
		for src := range found {
			if !yield(src) {
				return
			}
		}
	}
}

// watchConnected emits the peers that connect while the node bootstraps, up to
// maxConnected with the known ones.
func (s *Sources) watchConnected(ctx context.Context, known map[string]bool, emit func(exchange.Source) bool) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for over := false; !over; {
		select {
		case <-ctx.Done():
			return
		case <-s.c.Bootstrap.Done():
			over = true
		case <-tick.C:
			over = s.c.Bootstrap.IsOver()
		}
		for src := range s.peers.connected() {
			if known[src.Name()] {
				continue
			}
			if len(known) == maxConnected {
				return
			}
			if known[src.Name()] = true; !emit(src) {
				return
			}
		}
	}
}

// findProviders emits the providers of root that the router finds.
func (s *Sources) findProviders(ctx context.Context, root cid.Cid, single bool, emit func(exchange.Source) bool) {
	delivered := time.Unix(0, s.delivered.Load())
	if single && time.Since(delivered) < recent {
		timer := time.NewTimer(headStart)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
	emitted := 0
	emitSome := func(src exchange.Source) bool {
		emitted++
		return emitted <= maxFound && emit(src)
	}
	found := make(map[peer.ID]*foundPeer)
	defer func() {
		for _, p := range found {
			p.update(true)
		}
	}()
	for p, err := range s.c.Router.FindProviders(ctx, root) {
		if err != nil {
			s.c.Logger.Debug("finding providers", "cid", root, "error", err)
			return
		}
		urls, addrs := splitAddrs(p.Addrs, s.c.Local)
		for _, u := range urls {
			if !emitSome(&foundGateway{newGateway(u, s.untrusted), p}) {
				return
			}
		}
		if len(urls) > 0 && len(addrs) == 0 {
			continue
		}
		for _, a := range addrs {
			// An address that can't be kept can't be dialled either.
			_ = s.c.Swarm.AddAddr(p.ID, a, swarm.SourceRouting)
		}
		if known := found[p.ID]; known != nil {
			known.update(false)
			continue
		}
		fresh := &foundPeer{s: s, id: p.ID, changed: make(chan struct{})}
		found[p.ID] = fresh
		if !emitSome(s.peers.peer(p.ID, fresh.connect)) {
			return
		}
	}
}

// Learn reports to the router which of a session's sources delivered, and which
// failed. The provider of a single block isn't remembered: reading a file block
// by block would displace everything else.
func (s *Sources) Learn(root cid.Cid, sources []exchange.SourceProgress) {
	delivered := make(map[peer.ID]bool)
	var blocks int64
	for _, src := range sources {
		blocks += src.Blocks
	}
	for _, src := range sources {
		if p, ok := s.providerOf(src); ok && src.Blocks > 0 {
			delivered[p.ID] = true
			s.delivered.Store(time.Now().UnixNano())
			if blocks > 1 {
				s.c.Router.ReportSuccess(root, p)
			}
		}
	}
	for _, src := range sources {
		if p, ok := s.providerOf(src); ok && src.Err != nil && !delivered[p.ID] {
			s.c.Router.ReportFailure(root, p.ID)
		}
	}
}

// providerOf returns the provider behind a source. A configured gateway has none.
func (s *Sources) providerOf(src exchange.SourceProgress) (routing.Provider, bool) {
	if g, ok := src.Source.(*foundGateway); ok {
		return g.provider, true
	}
	id, err := peer.Decode(src.Name)
	if err != nil {
		return routing.Provider{}, false
	}
	p := routing.Provider{AddrInfo: peer.AddrInfo{ID: id}}
	for _, a := range s.c.Swarm.KnownAddrs(id) {
		p.Addrs = append(p.Addrs, a.Addr)
	}
	return p, true
}
