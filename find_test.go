package cairn_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

// dhtOf opens a bootstrap node of a DHT.
func dhtOf(t *testing.T) (hub *cairn.Node, addr string) {
	t.Helper()
	return listening(t, cairn.Config{Routing: cairn.RoutingServer})
}

// eventually waits until a condition holds, or the test ends.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("%s: it never came to be", what)
		}
	}
}

func providers(t *testing.T, n *cairn.Node, c cid.Cid) ([]cairn.Provider, error) {
	t.Helper()
	var all []cairn.Provider
	for p, err := range n.FindProviders(t.Context(), c) {
		if err != nil {
			return all, err
		}
		all = append(all, p)
	}
	return all, nil
}

func randomBytes(size int, seed byte) []byte {
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

// A node finds what another one has, while both know only the bootstrap node. The
// content has an alias, and so is announced without a call of Provide.
func TestSyncThroughTheDHT(t *testing.T) {
	ctx := t.Context()
	_, hub := dhtOf(t)
	theirs, _ := listening(t, cairn.Config{Bootstrap: []string{hub}})
	data := randomBytes(5<<20, 7)
	added, err := theirs.Add(ctx, bytes.NewReader(data), cairn.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ours := calling(t, cairn.Config{Bootstrap: []string{hub}})
	want, err := theirs.ID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "its provider is found", func() bool {
		found, _ := providers(t, ours, added.CID)
		return len(found) > 0 && found[0].ID == want
	})
	p, err := syncDAG(t, ours, added.CID, cairn.SyncOptions{})
	if err != nil || !p.Done || p.Blocks != 6 {
		t.Fatalf("sync: got %+v, %v, want 6 blocks", p, err)
	}
	// The provider that delivered is cached.
	found, err := providers(t, ours, added.CID)
	if err != nil || len(found) == 0 || found[0].ID != want || found[0].Source != "cache" {
		t.Errorf("providers afterwards: got %v, %v, want %s from the cache first", found, err, want)
	}
}

func TestFindPeers(t *testing.T) {
	ctx := t.Context()
	hub, at := dhtOf(t)
	theirs, _ := listening(t, cairn.Config{Bootstrap: []string{at}})
	ours := calling(t, cairn.Config{Bootstrap: []string{at}})
	id, err := theirs.ID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	hubID, err := hub.ID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a peer is found", func() bool {
		for p, err := range ours.FindPeer(ctx, id) {
			return err == nil && p.ID == id && len(p.Addrs) > 0
		}
		return false
	})
	asked := 0
	traced := cairn.WithTrace(ctx, func(e cairn.TraceEvent) {
		if asked++; e.Hop == 0 || e.Peer == "" {
			t.Errorf("a question: got %+v", e)
		}
	})
	closest := make(map[peer.ID]bool)
	for p, err := range ours.ClosestPeers(traced, []byte(id)) {
		if err != nil {
			t.Fatal(err)
		}
		closest[p.ID] = true
	}
	if !closest[hubID] || asked == 0 {
		t.Errorf("the closest peers: got %v after %d questions, want %s among them", closest, asked, hubID)
	}
	s, err := ours.RoutingStatus(ctx)
	if err != nil || s.Mode != cairn.RoutingAuto || s.Peers == 0 || s.Server {
		t.Errorf("status: got %+v, %v", s, err)
	}
	if s, err := hub.RoutingStatus(ctx); err != nil || s.Mode != cairn.RoutingServer || !s.Server {
		t.Errorf("status of the server: got %+v, %v", s, err)
	}
}

func TestRecords(t *testing.T) {
	ctx := t.Context()
	_, hub := dhtOf(t)
	theirs := calling(t, cairn.Config{Bootstrap: []string{hub}})
	ours := calling(t, cairn.Config{Bootstrap: []string{hub}})
	_, public, err := crypto.GenerateEd25519Key(nil)
	if err != nil {
		t.Fatal(err)
	}
	value, err := crypto.MarshalPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	key := "/pk/" + id.String()
	if _, err := ours.GetRecord(ctx, key); !errors.Is(err, cairn.ErrNoRecord) {
		t.Errorf("get a record never put: got %v, want ErrNoRecord", err)
	}
	if err := theirs.PutRecord(ctx, key, []byte("forged")); err == nil {
		t.Error("put a record that isn't valid: got no error")
	}
	if err := theirs.PutRecord(ctx, key, value); err != nil {
		t.Fatal(err)
	}
	if got, err := ours.GetRecord(ctx, key); err != nil || !bytes.Equal(got, value) {
		t.Errorf("get: got %x, %v, want %x", got, err, value)
	}
	for _, bad := range []string{"", "/x/y", "/ipns/x", "/pk/"} {
		if _, err := ours.GetRecord(ctx, bad); !errors.Is(err, cairn.ErrAddress) {
			t.Errorf("get %q: got %v, want ErrAddress", bad, err)
		}
	}
}

// A node that has just started asks its bootstrap peers.
func TestFetchOnEntry(t *testing.T) {
	ctx := t.Context()
	theirs, addr := listening(t, cairn.Config{Routing: cairn.RoutingNone})
	b, err := block.New(block.Raw, []byte("entry"))
	if err != nil {
		t.Fatal(err)
	}
	if err := theirs.Put(ctx, b); err != nil {
		t.Fatal(err)
	}
	ours := calling(t, cairn.Config{Routing: cairn.RoutingNone, Bootstrap: []string{addr}})
	if _, err := ours.Fetch(ctx, b.CID()); err != nil {
		t.Error(err)
	}
}

// Fetching block by block from a peer that delivers starts no lookups. A block that
// the peer lacks starts one.
func TestHeadStart(t *testing.T) {
	ctx := t.Context()
	theirs, addr := listening(t, cairn.Config{Routing: cairn.RoutingNone})
	other, there := listening(t, cairn.Config{Routing: cairn.RoutingNone})
	var lookups atomic.Int64
	table := mapFinder{"table", func(ctx context.Context, _ cid.Cid, yield func(cairn.Provider, error) bool) {
		lookups.Add(1)
		yield(providerAt(t, there), nil)
	}}
	n := calling(t, cairn.Config{Routing: cairn.RoutingNone, Finders: []cairn.Finder{table}})
	if _, err := n.Connect(ctx, addr); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		b, err := block.New(block.Raw, []byte{byte(i)})
		if err != nil {
			t.Fatal(err)
		}
		if err := theirs.Put(ctx, b); err != nil {
			t.Fatal(err)
		}
		if _, err := n.Fetch(ctx, b.CID()); err != nil {
			t.Fatal(err)
		}
	}
	if got := lookups.Load(); got >= 50 {
		t.Errorf("got %d lookups for 50 blocks of one peer, want a few", got)
	}
	b, err := block.New(block.Raw, []byte("elsewhere"))
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Put(ctx, b); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Fetch(ctx, b.CID()); err != nil {
		t.Errorf("what another has: %v", err)
	}
}

// A mapFinder is a Finder with a fixed table.
type mapFinder struct {
	name  string
	finds func(ctx context.Context, c cid.Cid, yield func(cairn.Provider, error) bool)
}

func (f mapFinder) Name() string { return f.name }

func (f mapFinder) FindProviders(ctx context.Context, c cid.Cid) iter.Seq2[cairn.Provider, error] {
	return func(yield func(cairn.Provider, error) bool) { f.finds(ctx, c, yield) }
}

// A hanging Finder never answers.
var hanging = mapFinder{"hanging", func(ctx context.Context, _ cid.Cid, _ func(cairn.Provider, error) bool) { <-ctx.Done() }}

// providerAt returns a provider with these addresses.
func providerAt(t *testing.T, addrs ...string) cairn.Provider {
	t.Helper()
	var p cairn.Provider
	for _, a := range addrs {
		m, err := multiaddr.NewMultiaddr(a)
		if err != nil {
			t.Fatal(err)
		}
		at, id := peer.SplitAddr(m)
		if id != "" {
			p.ID = id
		}
		p.Addrs = append(p.Addrs, at)
	}
	if p.ID == "" {
		_, public, err := crypto.GenerateEd25519Key(nil)
		if err != nil {
			t.Fatal(err)
		}
		if p.ID, err = peer.IDFromPublicKey(public); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// httpAddr returns the multiaddr of a test's server.
func httpAddr(t *testing.T, s *httptest.Server) string {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("/ip4/%s/tcp/%s/http", u.Hostname(), u.Port())
}

// Sessions use the providers that are found: peers and gateways, also if the first
// address is stale, if one lacks the block, and while other finders hang or fail.
func TestSyncFromFound(t *testing.T) {
	ctx := t.Context()
	theirs, addr := listening(t, cairn.Config{Routing: cairn.RoutingNone})
	added, err := theirs.Add(ctx, bytes.NewReader(randomBytes(3<<20, 2)), cairn.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	gateway := httptest.NewServer(theirs.Gateway())
	defer gateway.Close()
	_, empty := listening(t, cairn.Config{Routing: cairn.RoutingNone})
	id, _ := theirs.ID(ctx)
	old := providerAt(t, "/ip4/127.0.0.1/tcp/1/p2p/"+id.String())
	broken := mapFinder{"broken", func(_ context.Context, _ cid.Cid, yield func(cairn.Provider, error) bool) {
		yield(cairn.Provider{}, errors.New("the database is down"))
	}}
	for _, c := range []struct {
		name  string
		tells []cairn.Provider
	}{
		{"a peer", []cairn.Provider{providerAt(t, addr)}},
		{"an old address first", []cairn.Provider{old, providerAt(t, addr)}},
		{"a gateway", []cairn.Provider{providerAt(t, httpAddr(t, gateway))}},
		{"one that hasn't got it", []cairn.Provider{providerAt(t, empty), providerAt(t, addr)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := mapFinder{"table", func(ctx context.Context, _ cid.Cid, yield func(cairn.Provider, error) bool) {
				for _, p := range c.tells {
					if !yield(p, nil) {
						return
					}
				}
				<-ctx.Done()
			}}
			n := calling(t, cairn.Config{Routing: cairn.RoutingNone, Finders: []cairn.Finder{broken, hanging, table}})
			p, err := syncDAG(t, n, added.CID, cairn.SyncOptions{})
			if err != nil || !p.Done || p.Blocks != 4 {
				t.Fatalf("sync: got %+v, %v, want 4 blocks", p, err)
			}
			last := c.tells[len(c.tells)-1]
			for found, err := range n.FindProviders(ctx, added.CID) {
				if err != nil || found.Source != "cache" || found.ID != last.ID {
					t.Errorf("afterwards: got %v, %v, want %s from the cache", found, err, last.ID)
				}
				break
			}
		})
	}
}

// Delegated routers are queried over HTTP.
func TestSyncByDelegatedRouter(t *testing.T) {
	ctx := t.Context()
	theirs, addr := listening(t, cairn.Config{Routing: cairn.RoutingNone})
	added, err := theirs.Add(ctx, bytes.NewReader(randomBytes(3<<20, 2)), cairn.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := providerAt(t, addr)
	router := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/routing/v1/providers/"+added.CID.String() {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		fmt.Fprintf(w, "{\"Schema\":\"peer\",\"ID\":%q,\"Addrs\":[%q],\"Protocols\":[\"transport-bitswap\"]}\n", p.ID, p.Addrs[0])
	}))
	defer router.Close()
	n := calling(t, cairn.Config{Routing: cairn.RoutingDelegated, Delegated: []string{router.URL}})
	if p, err := syncDAG(t, n, added.CID, cairn.SyncOptions{}); err != nil || !p.Done || p.Blocks != 4 {
		t.Errorf("sync: got %+v, %v, want 4 blocks", p, err)
	}
}

func TestAccelerated(t *testing.T) {
	_, hub := dhtOf(t)
	for range 3 {
		listening(t, cairn.Config{Routing: cairn.RoutingServer, Bootstrap: []string{hub}})
	}
	n := calling(t, cairn.Config{Routing: cairn.RoutingAccelerated, Bootstrap: []string{hub}})
	eventually(t, "the table is filled", func() bool {
		s, err := n.RoutingStatus(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.Ready && s.AllPeers > 0
	})
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

// Lookups fail soon if there is no peer to query, or if none answers.
func TestNobodyToAsk(t *testing.T) {
	k, err := block.New(block.Raw, []byte("nowhere"))
	if err != nil {
		t.Fatal(err)
	}
	offline, err := cairn.Open(t.Context(), cairn.Config{Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	defer offline.Close()
	stuck := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer stuck.Close()
	failing := httptest.NewServer(http.NotFoundHandler())
	defer failing.Close()
	for _, c := range []struct {
		name          string
		n             *cairn.Node
		find, provide error
	}{
		{"offline", offline, cairn.ErrOffline, cairn.ErrOffline},
		{"none", calling(t, cairn.Config{Routing: cairn.RoutingNone}), cairn.ErrNoRouting, cairn.ErrNoRouting},
		{"delegated without a router", calling(t, cairn.Config{Routing: cairn.RoutingDelegated}), cairn.ErrNoRouting, cairn.ErrNoRouting},
		{"an empty table", calling(t, cairn.Config{}), cairn.ErrNoPeers, cairn.ErrNoPeers},
		{"a router that knows nothing", calling(t, cairn.Config{Routing: cairn.RoutingDelegated, Delegated: []string{failing.URL}}), nil, cairn.ErrNoRouting},
		{"a hanging router", calling(t, cairn.Config{Routing: cairn.RoutingDelegated, Delegated: []string{stuck.URL}}), context.DeadlineExceeded, cairn.ErrNoRouting},
		{"a hanging finder", calling(t, cairn.Config{Routing: cairn.RoutingNone, Finders: []cairn.Finder{hanging}}), context.DeadlineExceeded, cairn.ErrNoRouting},
	} {
		t.Run(c.name, func(t *testing.T) {
			patience := time.Minute
			if c.find == context.DeadlineExceeded {
				patience = 500 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			var got error
			for p, err := range c.n.FindProviders(ctx, k.CID()) {
				if got = err; err == nil {
					t.Errorf("found %v", p)
				}
			}
			if !errors.Is(got, c.find) {
				t.Errorf("find: got %v, want %v", got, c.find)
			}
			want := cairn.ErrNoSource
			if c.find == cairn.ErrOffline || c.find == context.DeadlineExceeded {
				want = c.find
			}
			soon, stop := context.WithTimeout(t.Context(), patience)
			defer stop()
			if _, err := c.n.Fetch(soon, k.CID()); !errors.Is(err, want) {
				t.Errorf("fetch: got %v, want %v", err, want)
			}
			if err := c.n.Provide(t.Context(), k.CID()); !errors.Is(err, c.provide) {
				t.Errorf("provide: got %v, want %v", err, c.provide)
			}
			if _, err := c.n.ProvideStats(t.Context()); c.provide != cairn.ErrNoPeers && !errors.Is(err, c.provide) {
				t.Errorf("stats: got %v, want %v", err, c.provide)
			}
		})
	}
}

func TestBadRouting(t *testing.T) {
	for _, bad := range []cairn.Config{{Routing: "psychic"}, {Delegated: []string{"ftp://x"}}, {Delegated: []string{"x"}}} {
		bad.Local, bad.Listen = true, loopback
		if n, err := cairn.Open(t.Context(), bad); err == nil {
			n.Close()
			t.Errorf("%+v: got no error", bad)
		}
	}
	for _, name := range []string{"auto", "client", "server", "accelerated", "delegated", "lan", "none"} {
		if m, err := cairn.ParseRoutingMode(name); err != nil || string(m) != name {
			t.Errorf("the mode %s: got %q, %v", name, m, err)
		}
	}
	if m, err := cairn.ParseRoutingMode(""); err != nil || m != cairn.RoutingAuto {
		t.Errorf("no mode: got %q, %v, want auto", m, err)
	}
	if _, err := cairn.ParseRoutingMode("psychic"); err == nil {
		t.Error("the mode psychic: got no error")
	}
	for _, a := range cairn.DefaultBootstrap() {
		if _, err := peer.AddrInfoFromString(a); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
}
