package routing

import (
	"context"
	"flag"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

var (
	simNodes  = flag.Int("nodes", 60, "number of servers in the simulated network")
	simSweep  = flag.Int("sweep", 200, "number of CIDs to sweep")
	simCIDs   = flag.Int("lookups", 20, "number of CIDs to look up")
	simReport = flag.String("report", "", "page whose last section the figures replace: docs/performance.md")
)

// A simTable is the table of figures: a column for the ordinary routing table,
// and one for the accelerated table.
type simTable struct {
	what  []string
	cells map[string]*[2]string
}

func (s *simTable) set(mode Mode, what, figure string, args ...any) {
	if s.cells == nil {
		s.cells = make(map[string]*[2]string)
	}
	if s.cells[what] == nil {
		s.what = append(s.what, what)
		s.cells[what] = new([2]string)
	}
	column := 0
	if mode == ModeAccelerated {
		column = 1
	}
	s.cells[what][column] = fmt.Sprintf(figure, args...)
}

// simHeading begins the section of docs/performance.md.
const simHeading = "## Lookups in a large network\n"

func (s *simTable) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, simHeading+`
Written by `+"`make bench-network`"+`: a simulated network of %d kad-dht servers like the Amino DHT (public addresses, %v round trips,
all filters on), and one node of ours in it. Time is simulated, so it is the same on every machine; CPU and memory are real.
Medians of %d lookups, one after another.

| | ordinary table | accelerated |
|---|---|---|
`, *simNodes, simRTT, *simCIDs)
	for _, what := range s.what {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", what, s.cells[what][0], s.cells[what][1])
	}
	return b.String()
}

// write replaces the last section of a page by the figures.
func (s *simTable) write(t *testing.T, path string) {
	t.Helper()
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(page), simHeading)
	if err := os.WriteFile(path, []byte(strings.TrimRight(head, "\n")+"\n\n"+s.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// simRTT is the round trip in the simulated network, typical of the Amino DHT.
const simRTT = 100 * time.Millisecond

// simServers makes a network of kad-dht servers with full routing tables. The
// servers count messages by type.
func simServers(t *testing.T, net *simNet, n int) (servers []simServer, count *[8]atomic.Int64) {
	t.Helper()
	count = new([8]atomic.Int64)
	servers = make([]simServer, n)
	for i := range servers {
		h := net.newHost(t)
		d, err := dht.New(h, dht.Mode(dht.ModeServer),
			dht.QueryFilter(dht.PublicQueryFilter), dht.RoutingTableFilter(dht.PublicRoutingTableFilter),
			dht.OnRequestHook(func(_ context.Context, _ network.Stream, m *pb.Message) {
				count[m.GetType()].Add(1)
			}))
		if err != nil {
			t.Fatal(err)
		}
		servers[i] = simServer{h, d}
	}
	ctx := t.Context()
	for i, s := range servers {
		for range min(i, 3) {
			other := servers[rand.IntN(i)].host
			if err := s.host.Connect(ctx, peer.AddrInfo{ID: other.id, Addrs: other.Addrs()}); err != nil {
				t.Fatal(err)
			}
		}
	}
	synctest.Wait()
	refreshing := make([]<-chan error, n)
	for i, s := range servers {
		refreshing[i] = s.dht.ForceRefresh()
	}
	for _, done := range refreshing {
		<-done
	}
	return servers, count
}

type simServer struct {
	host *simHost
	dht  *dht.IpfsDHT
}

func closeSim(t *testing.T, servers []simServer) {
	t.Helper()
	for _, s := range servers {
		if err := s.dht.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, s := range servers {
		if err := s.host.Close(); err != nil {
			t.Error(err)
		}
	}
}

// cpuTime returns the CPU time of the process, without garbage collection.
func cpuTime() time.Duration {
	runtime.GC() // updates the metric
	sample := []metrics.Sample{{Name: "/cpu/classes/user:cpu-seconds"}}
	metrics.Read(sample)
	return time.Duration(sample[0].Value.Float64() * float64(time.Second)).Round(time.Millisecond)
}

// heapInUse returns the bytes in use after a collection.
func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestSimulated measures lookups in a network that looks like the internet:
// public addresses, 100 ms round trips, all filters on. Time is simulated.
func TestSimulated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := &simNet{rtt: simRTT, hosts: make(map[peer.ID]*simHost)}
		nodes := *simNodes
		if testing.Short() {
			nodes = min(nodes, 25)
		}
		servers, count := simServers(t, net, nodes)
		defer closeSim(t, servers)
		var bootstrap []peer.AddrInfo
		for _, s := range servers[:2] {
			bootstrap = append(bootstrap, peer.AddrInfo{ID: s.host.id, Addrs: s.host.Addrs()})
		}
		cids := newCIDs(t, *simCIDs)
		figures := new(simTable)
		for i, c := range cids {
			if err := servers[(i*7+5)%len(servers)].dht.Provide(t.Context(), c, true); err != nil {
				t.Fatal(err)
			}
		}
		for _, mode := range []Mode{ModeClient, ModeAccelerated} {
			h := net.newHost(t)
			busy := cpuTime()
			r, err := New(t.Context(), Config{Host: h, Mode: mode, Bootstrap: bootstrap, Limits: Limits{Cache: -1}})
			if err != nil {
				t.Fatal(err)
			}
			// Until the routing tables are full.
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			figures.set(mode, "CPU while the table fills, of all nodes together", "%v", (cpuTime() - busy).Round(time.Millisecond))
			if mode == ModeAccelerated && !r.Ready() {
				t.Fatal("the accelerated table is not ready")
			}
			measureLookups(t, r, figures, servers, cids, count)
			if mode == ModeClient {
				measureSweep(t, r, figures, servers, count)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			all := heapInUse()
			if mode == ModeAccelerated {
				r.tables[0].accelerated = nil
			} else {
				r.tables = nil
			}
			figures.set(mode, "heap: of the DHT with its table; of the accelerated table", "%d KiB", (all-heapInUse())>>10)
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		}
		measureChurn(t, net, figures, servers, bootstrap, cids)
		t.Logf("\n%s", figures)
		if *simReport != "" && !t.Failed() {
			figures.write(t, *simReport)
		}
	})
}

// measureLookups looks up all the CIDs.
func measureLookups(t *testing.T, r *Router, figures *simTable, servers []simServer, cids []cid.Cid, count *[8]atomic.Int64) {
	t.Helper()
	wantSource := "dht"
	if r.Ready() {
		wantSource = "accelerated"
	}
	var firsts, wholes []time.Duration
	hops, asked := 0, 0
	messages := count[pb.Message_GET_PROVIDERS].Load()
	for i, c := range cids {
		provider := servers[(i*7+5)%len(servers)].host.id
		hop := make(map[peer.ID]int)
		ctx := WithTrace(t.Context(), func(e TraceEvent) {
			if e.Source != wantSource {
				return
			}
			asked++
			for range e.Providers {
				if hop[""] == 0 || e.Hop < hop[""] {
					hop[""] = e.Hop
				}
			}
		})
		began := time.Now()
		n := 0
		for p, err := range r.FindProviders(ctx, c) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n == 1 {
				firsts = append(firsts, time.Since(began))
			}
			if p.ID != provider || p.Source != wantSource {
				t.Errorf("got %v of %s, want %v of %s", p.ID, p.Source, provider, wantSource)
			}
		}
		if n != 1 {
			t.Errorf("got %d providers, want one", n)
		}
		wholes = append(wholes, time.Since(began))
		synctest.Wait()
		hops += hop[""]
	}
	messages = count[pb.Message_GET_PROVIDERS].Load() - messages
	n := len(cids)
	slices.Sort(firsts)
	slices.Sort(wholes)
	if len(firsts) == 0 {
		t.Fatal("no provider was found")
	}
	mode := r.config.Mode
	figures.set(mode, "lookup: time until the first provider", "%v", firsts[len(firsts)/2])
	figures.set(mode, "lookup: time until its end", "%v", wholes[len(wholes)/2])
	figures.set(mode, "lookup: hops until the first provider, mean", "%.1f", float64(hops)/float64(n))
	figures.set(mode, "lookup: messages, mean", "%.1f", float64(messages)/float64(n))
	figures.set(mode, "lookup: time until the first provider, if one is cached", "%v", measureCached(t, r, servers, cids[0]))
	if asked == 0 || int64(asked) > messages+int64(n)*20 {
		t.Errorf("got %d requests traced, want about the %d that were sent", asked, messages)
	}
}

// measureCached returns the time of a lookup whose provider is in the cache.
func measureCached(t *testing.T, r *Router, servers []simServer, c cid.Cid) time.Duration {
	t.Helper()
	provider := servers[5%len(servers)].host
	// The router under test has no cache, so that every lookup asks the network.
	with, err := New(t.Context(), Config{Host: r.config.Host, Mode: ModeNone, Finders: []Finder{slowFinder{}}})
	if err != nil {
		t.Fatal(err)
	}
	defer with.Close()
	with.ReportSuccess(c, Provider{AddrInfo: peer.AddrInfo{ID: provider.id, Addrs: provider.Addrs()}, Source: "dht"})
	began := time.Now()
	p, err := first(with.FindProviders(t.Context(), c))
	took := time.Since(began)
	if err != nil || p.ID != provider.id || took > simRTT {
		t.Errorf("got %v after %v, %v, want %v within a round trip", p.ID, took, err, provider.id)
	}
	return took
}

// A slowFinder finds nothing, after ten round trips.
type slowFinder struct{}

func (slowFinder) Name() string { return "slow" }

func (slowFinder) FindProviders(ctx context.Context, _ cid.Cid) iter.Seq2[Provider, error] {
	return func(func(Provider, error) bool) {
		select {
		case <-time.After(10 * simRTT):
		case <-ctx.Done():
		}
	}
}

// measureSweep announces many CIDs by regions.
func measureSweep(t *testing.T, r *Router, figures *simTable, servers []simServer, count *[8]atomic.Int64) {
	t.Helper()
	cids := newCIDs(t, *simSweep)
	l := &listing{}
	l.set(cids, nil)
	r.announcer.list = l.all
	found, sent := count[pb.Message_FIND_NODE].Load(), count[pb.Message_ADD_PROVIDER].Load()
	began := time.Now()
	if err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	for stats(t, r).Announced < int64(len(cids)) {
		if time.Since(began) > 3*time.Hour {
			t.Fatalf("got %+v after three hours, want %d announced", stats(t, r), len(cids))
		}
		time.Sleep(time.Second)
	}
	figures.set(r.config.Mode, fmt.Sprintf("sweep of %d CIDs", len(cids)), "%v, %d messages to find peers, %d records sent",
		time.Since(began), count[pb.Message_FIND_NODE].Load()-found, count[pb.Message_ADD_PROVIDER].Load()-sent)
	const sample = 50
	good := 0
	for _, c := range cids[:sample] {
		found, err := servers[3].dht.FindProviders(t.Context(), c)
		if err == nil && len(found) == 1 && found[0].ID == r.config.Host.ID() {
			good++
		}
	}
	figures.set(r.config.Mode, "swept CIDs that another node finds", "%d of %d", good, sample)
	if good < sample*9/10 {
		t.Errorf("another node found %d of %d swept CIDs, want nine of ten", good, sample)
	}
}

// measureChurn takes a fifth of the servers offline, and looks up the CIDs.
func measureChurn(t *testing.T, net *simNet, figures *simTable, servers []simServer, bootstrap []peer.AddrInfo, cids []cid.Cid) {
	t.Helper()
	h := net.newHost(t)
	r, err := New(t.Context(), Config{Host: h, Mode: ModeClient, Bootstrap: bootstrap, Limits: Limits{Cache: -1}})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Minute)
	gone := 0
	for i, s := range servers[2:] {
		if i%5 == 0 {
			s.host.goOffline()
			gone++
		}
	}
	found := 0
	for _, c := range cids {
		if _, err := first(r.FindProviders(t.Context(), c)); err == nil {
			found++
		}
	}
	figures.set(ModeClient, fmt.Sprintf("CIDs found after %d servers went offline", gone), "%d of %d", found, len(cids))
	if found < len(cids)*9/10 {
		t.Errorf("got %d of %d CIDs, want nine of ten", found, len(cids))
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}

// TestSimulatedLiars has providers whose addresses must not be dialled.
func TestSimulatedLiars(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := &simNet{rtt: simRTT, hosts: make(map[peer.ID]*simHost)}
		servers, _ := simServers(t, net, 8)
		c := newCID(t)
		for _, addr := range []string{"/ip4/192.168.1.9/tcp/4001", "/ip4/127.0.0.1/tcp/5001", "/ip4/20.200.0.1/tcp/0"} {
			liar := net.newHost(t)
			liar.addr = ma.StringCast(addr)
			d, err := dht.New(liar, dht.Mode(dht.ModeClient))
			if err != nil {
				t.Fatal(err)
			}
			servers = append(servers, simServer{liar, d})
			if err := liar.Connect(t.Context(), peer.AddrInfo{ID: servers[0].host.id, Addrs: servers[0].host.Addrs()}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			time.Sleep(time.Minute)
			if err := d.Provide(t.Context(), c, true); err != nil {
				t.Fatal(err)
			}
		}
		defer closeSim(t, servers)
		if err := servers[5].dht.Provide(t.Context(), c, true); err != nil {
			t.Fatal(err)
		}
		h := net.newHost(t)
		defer h.Close()
		r, err := New(t.Context(), Config{Host: h, Mode: ModeClient, Bootstrap: []peer.AddrInfo{{ID: servers[0].host.id, Addrs: servers[0].host.Addrs()}}})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		time.Sleep(time.Minute) // kad-dht's sweep can't be closed while it measures the network, in simulated time
		reported := 0
		all, err := collect(r.FindProviders(WithTrace(t.Context(), func(e TraceEvent) { reported = max(reported, len(e.Providers)) }), c))
		if err != nil || len(all) != 1 || all[0].ID != servers[5].host.id {
			t.Errorf("got %v, %v, want only the honest one", all, err)
		}
		if reported != 4 {
			t.Errorf("a peer reported %d providers, want 4, with the liars", reported)
		}
		for _, s := range servers[8:] {
			for _, a := range h.Peerstore().Addrs(s.host.id) {
				if !scopePublic.allows(a) {
					t.Errorf("got %v in the address book, want public addresses", a)
				}
			}
		}
	})
}
