package sources

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-ipfs/cairn/internal/exchange"
	"github.com/cairn-ipfs/cairn/internal/routing"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/test"
	"github.com/multiformats/go-multiaddr"
)

var testRoot = cid.MustParse("bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy")

// A fakeRouter reports so many gateways, and records what it learns.
type fakeRouter struct {
	t              *testing.T
	gateways       int
	asked          time.Time
	worked, failed []peer.ID
}

func (r *fakeRouter) FindProviders(context.Context, cid.Cid) iter.Seq2[routing.Provider, error] {
	r.asked = time.Now()
	return func(yield func(routing.Provider, error) bool) {
		for i := range r.gateways {
			a := multiaddr.StringCast(fmt.Sprintf("/dns4/g%d.example/tcp/443/https", i))
			p := peer.AddrInfo{ID: randomPeer(r.t), Addrs: []multiaddr.Multiaddr{a}}
			if !yield(routing.Provider{AddrInfo: p}, nil) {
				return
			}
		}
	}
}

func (r *fakeRouter) FindPeer(context.Context, peer.ID) iter.Seq2[routing.Peer, error] {
	return func(func(routing.Peer, error) bool) {}
}

func (r *fakeRouter) ReportSuccess(_ cid.Cid, p routing.Provider) { r.worked = append(r.worked, p.ID) }
func (r *fakeRouter) ReportFailure(_ cid.Cid, id peer.ID)         { r.failed = append(r.failed, id) }

func randomPeer(t *testing.T) peer.ID {
	t.Helper()
	id, err := test.RandPeerID()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// A hostile router reports more gateways than a session could ask.
func TestFoundAreBounded(t *testing.T) {
	s := &Sources{c: Config{Router: &fakeRouter{t: t, gateways: 20 * maxFound}, Logger: slog.New(slog.DiscardHandler)}}
	n := 0
	s.findProviders(t.Context(), testRoot, false, func(exchange.Source) bool {
		n++
		return true
	})
	if n != maxFound {
		t.Errorf("got %d sources, want %d", n, maxFound)
	}
}

// Peers that connect while the node bootstraps leave room for providers.
func TestConnectedAreBounded(t *testing.T) {
	f := newFixture(t)
	us := f.host()
	f.bitswap(us)
	for range 2 {
		h := f.host()
		f.bitswap(h)
		f.check(us.Connect(t.Context(), peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()}))
	}
	s := &Sources{c: Config{Bootstrap: routing.NewBootstrap(0, 0)}, peers: &peers{host: us}}
	for _, c := range []struct{ before, want int }{{0, 2}, {maxConnected - 1, 1}, {maxConnected, 0}} {
		known := make(map[string]bool)
		for i := range c.before {
			known[fmt.Sprint(i)] = true
		}
		got := 0
		s.watchConnected(t.Context(), known, func(exchange.Source) bool {
			got++
			return true
		})
		if got != c.want {
			t.Errorf("behind %d: got %d sources, want %d", c.before, got, c.want)
		}
	}
}

// The router learns which providers delivered a DAG, and which failed. After a
// delivery the next single block is looked up later.
func TestLearn(t *testing.T) {
	good, bad := randomPeer(t), randomPeer(t)
	for _, c := range []struct {
		blocks int64
		worked []peer.ID
		wait   time.Duration
	}{
		{blocks: 2, worked: []peer.ID{good}, wait: headStart},
		{blocks: 1, wait: headStart},
		{blocks: 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := &fakeRouter{t: t}
			s := &Sources{c: Config{Router: r, Logger: slog.New(slog.DiscardHandler)}}
			s.Learn(testRoot, []exchange.SourceProgress{
				{Source: &foundGateway{provider: routing.Provider{AddrInfo: peer.AddrInfo{ID: good}}}, Blocks: c.blocks},
				{Source: &foundGateway{provider: routing.Provider{AddrInfo: peer.AddrInfo{ID: bad}}}, Err: exchange.ErrStalled},
				{Name: "https://configured.example/", Err: exchange.ErrStalled},
			})
			if !slices.Equal(r.worked, c.worked) || !slices.Equal(r.failed, []peer.ID{bad}) {
				t.Errorf("%d blocks: got %v worked and %v failed, want %v and %v", c.blocks, r.worked, r.failed, c.worked, bad)
			}
			begin := time.Now()
			s.findProviders(t.Context(), testRoot, true, nil)
			if wait := r.asked.Sub(begin); wait != c.wait {
				t.Errorf("%d blocks: the next single block was looked up after %v, want %v", c.blocks, wait, c.wait)
			}
		})
	}
}
