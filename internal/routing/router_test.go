package routing

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cairn-ipfs/cairn/internal/swarm"
	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/path"
	kbucket "github.com/libp2p/go-libp2p-kbucket"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

func TestFindsProviders(t *testing.T) {
	servers := newServers(t, 20)
	r := newRouter(t, Config{Mode: ModeClient, Bootstrap: bootstrapInfos(servers)})
	c := newCID(t)
	provider := servers[7]
	if err := provider.dht.Provide(testContext(t), c, true); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var traced []TraceEvent
	ctx := WithTrace(testContext(t), func(e TraceEvent) {
		mu.Lock()
		defer mu.Unlock()
		traced = append(traced, e)
	})
	began := time.Now()
	p, err := first(r.FindProviders(ctx, c))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("first provider after %v, with joining the DHT", time.Since(began))
	if p.ID != provider.host.ID() || len(p.Addrs) == 0 || p.Source != "dht" {
		t.Errorf("got %v of %s, want %v of dht", p.AddrInfo, p.Source, provider.host.ID())
	}
	// The trace shows which peer reported the provider, soon after the lookup does.
	reports := func(e TraceEvent) bool {
		return slices.ContainsFunc(e.Providers, func(p peer.AddrInfo) bool { return p.ID == provider.host.ID() })
	}
	eventually(t, "traced", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.ContainsFunc(traced, reports)
	})
	mu.Lock()
	events := slices.Clone(traced)
	mu.Unlock()
	if e := events[slices.IndexFunc(events, reports)]; e.Source != "dht" || e.Hop < 1 || e.Took <= 0 || e.Err != nil || len(e.Closer) == 0 {
		t.Errorf("got %+v, want its source, hop, time and closer peers", e)
	}
	for _, e := range events {
		want := kbucket.CommonPrefixLen(kbucket.ConvertKey(string(c.Hash())), kbucket.ConvertPeerID(e.Peer))
		if e.Err == nil && e.Prefix != want {
			t.Errorf("got a common prefix of %d bits with %v, want %d", e.Prefix, e.Peer, want)
		}
	}
	// The other calls, over the same network.
	t.Run("again", func(t *testing.T) {
		began := time.Now()
		p, err := first(r.FindProviders(testContext(t), c))
		if err != nil || p.ID != provider.host.ID() || p.Source != "cache" {
			t.Errorf("got %v of %q, %v, want the cached %v", p.ID, p.Source, err, provider.host.ID())
		}
		t.Logf("from the cache in %v", time.Since(began))
		all, err := collect(r.FindProviders(testContext(t), c))
		if err != nil || len(all) != 1 {
			t.Errorf("got %d providers, %v, want one", len(all), err)
		}
	})
	t.Run("no provider", func(t *testing.T) {
		all, err := collect(r.FindProviders(testContext(t), newCID(t)))
		if err != nil || len(all) != 0 {
			t.Errorf("got %v, %v, want no providers and no error", all, err)
		}
	})
	t.Run("peer", func(t *testing.T) {
		id := servers[13].host.ID()
		p, err := first(r.FindPeer(testContext(t), id))
		if err != nil || p.ID != id || !slices.ContainsFunc(p.Addrs, servers[13].host.Addrs()[0].Equal) {
			t.Errorf("got %v, %v, want %v at %v", p, err, id, servers[13].host.Addrs())
		}
	})
	t.Run("closest", func(t *testing.T) {
		all, err := collect(r.ClosestPeers(testContext(t), string(c.Hash())))
		if err != nil || len(all) != 20 {
			t.Errorf("got %d peers, %v, want 20", len(all), err)
		}
		for _, p := range all {
			if len(p.Addrs) == 0 || p.Source != "dht" {
				t.Errorf("got %v of %q, want addresses of dht", p.AddrInfo, p.Source)
			}
		}
	})
	t.Run("provide", func(t *testing.T) {
		c := newCID(t)
		if err := r.Provide(testContext(t), c); err != nil {
			t.Fatal(err)
		}
		found, err := servers[3].dht.FindProviders(testContext(t), c)
		if err != nil || len(found) == 0 || found[0].ID != r.config.Host.ID() {
			t.Errorf("got %v, %v, want this node", found, err)
		}
	})
}

func TestCancelled(t *testing.T) {
	servers := newServers(t, 5)
	r := newRouter(t, Config{Mode: ModeClient, Bootstrap: bootstrapInfos(servers)})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := collect(r.FindProviders(ctx, newCID(t))); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := collect(r.FindProviders(testContext(t), newCID(t))); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want %v", err, ErrClosed)
	}
	if err := r.Provide(testContext(t), newCID(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want %v", err, ErrClosed)
	}
}

func TestAccelerated(t *testing.T) {
	servers := newServers(t, 20)
	r := newRouter(t, Config{Mode: ModeAccelerated, Bootstrap: bootstrapInfos(servers)})
	c := newCID(t)
	provider := servers[7]
	if err := provider.dht.Provide(testContext(t), c, true); err != nil {
		t.Fatal(err)
	}
	// First before the accelerated table is ready, then from it.
	if p, err := first(r.FindProviders(testContext(t), c)); err != nil || p.ID != provider.host.ID() {
		t.Errorf("got %v, %v, want %v", p, err, provider.host.ID())
	}
	eventually(t, "ready", r.Ready)
	if s := r.Status(); !s.Ready || s.AllPeers != len(servers) || s.Mode != ModeAccelerated {
		t.Errorf("got %+v, want %d peers", s, len(servers))
	}
	r.ReportFailure(c, provider.host.ID()) // so that the cache doesn't answer
	began := time.Now()
	p, err := first(r.FindProviders(testContext(t), c))
	if err != nil || p.ID != provider.host.ID() || p.Source != "accelerated" {
		t.Errorf("got %v of %q, %v, want %v of accelerated", p.AddrInfo, p.Source, err, provider.host.ID())
	}
	t.Logf("from the accelerated table in %v", time.Since(began))
	id := servers[11].host.ID()
	found, err := first(r.FindPeer(testContext(t), id))
	if err != nil || found.ID != id {
		t.Errorf("got %v, %v, want %v", found, err, id)
	}
	for _, a := range found.Addrs {
		if a.String() == placeholderAddr {
			t.Errorf("got %v, want real addresses only", a)
		}
	}
	closest, err := collect(r.ClosestPeers(testContext(t), string(c.Hash())))
	if err != nil || len(closest) != 20 {
		t.Errorf("got %d peers, %v, want 20", len(closest), err)
	}
	mine := newCID(t)
	if err := r.Provide(testContext(t), mine); err != nil {
		t.Fatal(err)
	}
	got, err := servers[3].dht.FindProviders(testContext(t), mine)
	if err != nil || len(got) == 0 || got[0].ID != r.config.Host.ID() {
		t.Errorf("got %v, %v, want this node", got, err)
	}
}

// TestLAN has two nodes that know only each other.
func TestLAN(t *testing.T) {
	a := newRouter(t, Config{Mode: ModeLAN})
	b := newRouter(t, Config{Mode: ModeLAN, Bootstrap: []peer.AddrInfo{{ID: a.config.Host.ID(), Addrs: a.config.Host.Addrs()}}})
	c := newCID(t)
	if err := b.Provide(testContext(t), c); err != nil {
		t.Fatal(err)
	}
	eventually(t, "they know each other", func() bool { return a.tables[0].dht.RoutingTable().Size() > 0 })
	if p, err := first(a.FindProviders(testContext(t), c)); err != nil || p.ID != b.config.Host.ID() || p.Source != "lan" {
		t.Errorf("got %v of %q, %v, want the other of lan", p.AddrInfo, p.Source, err)
	}
}

// TestServer: in ModeAuto, a node is a server only while it can be reached from
// outside.
func TestServer(t *testing.T) {
	for _, c := range []struct {
		mode          Mode
		before, after bool
	}{{ModeAuto, false, true}, {ModeClient, false, false}, {ModeServer, true, true}} {
		r := newRouter(t, Config{Mode: c.mode})
		if got := r.Status().Server; got != c.before {
			t.Errorf("%s: got server %v at first, want %v", c.mode, got, c.before)
		}
		emitter, err := r.config.Host.EventBus().Emitter(new(event.EvtLocalReachabilityChanged))
		if err != nil {
			t.Fatal(err)
		}
		if err := emitter.Emit(event.EvtLocalReachabilityChanged{Reachability: network.ReachabilityPublic}); err != nil {
			t.Fatal(err)
		}
		emitter.Close()
		if c.before != c.after {
			eventually(t, "server", func() bool { return r.Status().Server })
		} else if got := r.Status().Server; got != c.after {
			t.Errorf("%s: got server %v, want %v", c.mode, got, c.after)
		}
	}
}

func TestValues(t *testing.T) {
	servers := newServers(t, 8)
	r := newRouter(t, Config{Mode: ModeClient, Bootstrap: bootstrapInfos(servers)})
	key, records := newRecords(t, 3)
	if _, err := r.GetValue(testContext(t), key); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want %v", err, ErrNotFound)
	}
	if err := r.PutValue(testContext(t), key, []byte("not a record")); err == nil {
		t.Error("got no error for an invalid record, want one")
	}
	if err := r.PutValue(testContext(t), key, records[1]); err != nil {
		t.Fatal(err)
	}
	got, err := servers[2].dht.GetValue(testContext(t), key)
	if err != nil || !bytes.Equal(got, records[1]) {
		t.Errorf("got %d bytes, %v, want the record that was put", len(got), err)
	}
	if err := servers[5].dht.PutValue(testContext(t), key, records[2]); err != nil {
		t.Fatal(err)
	}
	var sequence []uint64
	for v, err := range r.SearchValue(testContext(t), key) {
		if err != nil {
			t.Fatal(err)
		}
		rec, err := ipns.UnmarshalRecord(v.Data)
		if err != nil {
			t.Fatal(err)
		}
		n, _ := rec.Sequence()
		sequence = append(sequence, n)
	}
	if !slices.IsSorted(sequence) || len(sequence) == 0 || sequence[len(sequence)-1] != 2 {
		t.Errorf("got sequence %v, want it to rise to 2", sequence)
	}
	got, err = r.GetValue(testContext(t), key)
	if err != nil || !bytes.Equal(got, records[2]) {
		t.Errorf("got %d bytes, %v, want the newest", len(got), err)
	}
}

// newRecords returns the routing key of a new name, and records with sequence
// numbers from 0 on.
func newRecords(t testing.TB, n int) (key string, records [][]byte) {
	t.Helper()
	private, err := swarm.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		value, err := path.NewPath("/ipfs/" + newCID(t).String())
		if err != nil {
			t.Fatal(err)
		}
		rec, err := ipns.NewRecord(private, value, uint64(i), time.Now().Add(time.Hour), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		data, err := ipns.MarshalRecord(rec)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, data)
	}
	return "/ipns/" + string(id), records
}

// TestCloseEndsAll: no goroutine outlives Close.
func TestCloseEndsAll(t *testing.T) {
	parts := []string{"internal/routing.", "go-libp2p-kad-dht"}
	servers := newServers(t, 4)
	before, _ := goroutinesOf(parts...)
	for _, mode := range []Mode{ModeAuto, ModeServer, ModeAccelerated, ModeLAN, ModeDelegated, ModeNone} {
		s := newSwarm(t)
		c := Config{Host: s.Host(), Local: true, Mode: mode}
		if mode.hasWAN() {
			c.Bootstrap = bootstrapInfos(servers)
		}
		r, err := New(testContext(t), c)
		if err != nil {
			t.Fatal(err)
		}
		// One lookup still runs at Close, one was broken off.
		go collect(r.FindProviders(context.Background(), newCID(t)))
		for range r.ClosestPeers(testContext(t), "key") {
			break
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Errorf("%s: second Close: got %v, want nil", mode, err)
		}
		s.Close()
		eventually(t, "goroutines of "+mode.String()+" ended", func() bool {
			n, _ := goroutinesOf(parts...)
			return n <= before
		})
	}
}

// TestCrawlHost closes what a crawl opened, and nothing else.
func TestCrawlHost(t *testing.T) {
	servers := newServers(t, 3)
	ours := newSwarm(t).Host()
	h := &crawlHost{Host: ours, opened: make(map[peer.ID]bool)}
	before, used, idle := servers[0].host, servers[1].host, servers[2].host
	if err := ours.Connect(testContext(t), peer.AddrInfo{ID: before.ID(), Addrs: before.Addrs()}); err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		if err := h.Connect(testContext(t), peer.AddrInfo{ID: s.host.ID(), Addrs: s.host.Addrs()}); err != nil {
			t.Fatal(err)
		}
	}
	used.SetStreamHandler("/use", func(s network.Stream) { io.Copy(io.Discard, s) })
	stream, err := ours.NewStream(testContext(t), used.ID(), "/use")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Reset()
	eventually(t, "what peers say when they meet is said", func() bool {
		theirs, err := idle.Peerstore().GetProtocols(ours.ID())
		return err == nil && len(theirs) > 0 && !slices.ContainsFunc(ours.Network().ConnsToPeer(idle.ID()), func(c network.Conn) bool { return len(c.GetStreams()) > 0 })
	})
	for _, s := range servers {
		h.release(s.host.ID())
		h.release(s.host.ID()) // and once more, as it's known by several ways
	}
	for _, c := range []struct {
		what string
		id   peer.ID
		want network.Connectedness
	}{{"opened before", before.ID(), network.Connected}, {"used", used.ID(), network.Connected}, {"idle", idle.ID(), network.NotConnected}} {
		if got := ours.Network().Connectedness(c.id); got != c.want {
			t.Errorf("%s: got %v, want %v", c.what, got, c.want)
		}
	}
}
