package routing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	record "github.com/libp2p/go-libp2p-record"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"google.golang.org/protobuf/proto"
)

// quick is for sources that never answer, patient for those that do.
var (
	quick   = Limits{Lookup: 300 * time.Millisecond, Delegated: 200 * time.Millisecond}
	patient = Limits{Lookup: time.Minute, Delegated: time.Minute}
)

func jsonLine(t testing.TB, id peer.ID, addrs ...string) string {
	t.Helper()
	b, err := json.Marshal(jsonRecord{Schema: "peer", ID: id.String(), Addrs: addrs})
	if err != nil {
		t.Fatal(err)
	}
	return string(b) + "\n"
}

// TestHostileRouters asks hostile and broken delegated routers. Beside a good
// router they do no harm; alone they cause an error, in time.
func TestHostileRouters(t *testing.T) {
	good := newID(t)
	lines := func(w http.ResponseWriter) { w.Header().Set("Content-Type", mediaLines) }
	hang := func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	goodURL := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lines(w)
		io.WriteString(w, jsonLine(t, good, "/ip4/127.0.0.1/tcp/1"))
	}))
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		fails   bool
	}{
		{"hangs", hang, true},
		{"hangs after the header", func(w http.ResponseWriter, r *http.Request) {
			lines(w)
			hang(w, r)
		}, true},
		{"a line of 10 MB", func(w http.ResponseWriter, r *http.Request) {
			lines(w)
			w.Write(bytes.Repeat([]byte{'['}, 10<<20))
		}, true},
		{"endless empty lines", func(w http.ResponseWriter, r *http.Request) {
			lines(w)
			for {
				if _, err := w.Write(bytes.Repeat([]byte{'\n'}, 1<<15)); err != nil {
					return
				}
			}
		}, true},
		{"endless invalid lines", func(w http.ResponseWriter, r *http.Request) {
			lines(w)
			for {
				if _, err := io.WriteString(w, "{\"Schema\":\"peer\",\"ID\":\"nobody\"}\n"); err != nil {
					return
				}
			}
		}, true},
		{"an error", func(w http.ResponseWriter, r *http.Request) { http.Error(w, strings.Repeat("no ", 1<<20), 500) }, true},
		{"another type", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>") }, true},
		{"an object of 10 MB", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", mediaObject)
			io.WriteString(w, `{"Providers":[`)
			w.Write(bytes.Repeat([]byte("{},"), 4<<20))
		}, true},
		{"an object cut short", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", mediaObject)
			io.WriteString(w, `{"Providers":[`)
		}, true},
		{"nothing", func(w http.ResponseWriter, r *http.Request) { lines(w) }, false},
		{"null", func(w http.ResponseWriter, r *http.Request) {
			lines(w)
			io.WriteString(w, "null\n{}\n[]\n\"\"\n")
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			u := serve(t, test.handler)
			hangs, limits := strings.HasPrefix(test.name, "hangs"), patient
			if hangs {
				limits = quick
			}
			single := newRouter(t, Config{Mode: ModeDelegated, Delegated: []*url.URL{u}, Limits: limits})
			all, err := collect(single.FindProviders(testContext(t), newCID(t)))
			if len(all) != 0 || (err != nil) != test.fails {
				t.Errorf("got %v, %v, want nothing, and an error: %v", all, err, test.fails)
			}
			both := newRouter(t, Config{Mode: ModeDelegated, Delegated: []*url.URL{u, goodURL}, Limits: patient})
			if hangs { // the good router's answer does not wait for it
				p, err := first(both.FindProviders(testContext(t), newCID(t)))
				if err != nil || p.ID != good {
					t.Errorf("got %v, %v, want the provider of the good router", p, err)
				}
				return
			}
			all, err = collect(both.FindProviders(testContext(t), newCID(t)))
			if err != nil || len(all) != 1 || all[0].ID != good {
				t.Errorf("got %v, %v, want the provider of the good router", all, err)
			}
		})
	}
}

// TestEndlessRecords: the first thousand records of an endless answer are read.
func TestEndlessRecords(t *testing.T) {
	ids := make([]string, 1100)
	for i := range ids {
		ids[i] = jsonLine(t, newID(t), "/ip4/127.0.0.1/tcp/1")
	}
	u := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", mediaLines)
		for i := 0; ; i++ {
			if _, err := io.WriteString(w, ids[i%len(ids)]); err != nil {
				return
			}
		}
	}))
	r := newRouter(t, Config{Mode: ModeDelegated, Delegated: []*url.URL{u}})
	all, err := collect(r.FindProviders(testContext(t), newCID(t)))
	if err != nil || len(all) != maxRecords {
		t.Errorf("got %d providers, %v, want %d", len(all), err, maxRecords)
	}
}

// TestManyRecords: the first thousand records of an object are read. A record too
// large for a line is ignored in an object, too.
func TestManyRecords(t *testing.T) {
	good := strings.TrimSpace(jsonLine(t, newID(t), "/ip4/1.2.3.4/tcp/4001"))
	large := `{"Schema":"peer","Addrs":[` + strings.Repeat(`"",`, maxLine/3) + `""]}`
	body := `{"Providers":[` + large + "," + good + strings.Repeat(",{}", 1<<20) + `],"Peers":null}`
	var object struct{ Providers, Peers jsonRecords }
	if err := json.Unmarshal([]byte(body), &object); err != nil {
		t.Fatal(err)
	}
	if got := object.Providers; len(got) != maxRecords || len(got[0].Addrs) != 1 {
		t.Errorf("got %d records, want %d, the first with an address", len(got), maxRecords)
	}
	all, err := collect(readObject(strings.NewReader(body), scopePublic))
	if err != nil || len(all) != 1 {
		t.Errorf("got %v, %v, want the good record", all, err)
	}
	// Records of other shapes don't spoil the list, unless there are too many.
	odd := `1,"x",null,[],{"ID":5},{"Schema":"new","ID":{"a":1}},{"Addrs":"none"},`
	if all, err := collect(readObject(strings.NewReader(`{"Providers":[`+odd+good+`,{"Protocols":7}]}`), scopePublic)); err != nil || len(all) != 1 {
		t.Errorf("beside odd records: got %v, %v, want the good record", all, err)
	}
	for _, body := range []string{`{"Providers":"none"}`, `{"Providers":[` + strings.Repeat("1,", maxBadLines) + `1]}`, `{"Providers":[{]}`} {
		if all, err := collect(readObject(strings.NewReader(body), scopePublic)); err == nil {
			t.Errorf("%s: got %v, want an error", body, all)
		}
	}
}

// TestAddresses checks which addresses each scope allows.
func TestAddresses(t *testing.T) {
	id, other := newID(t), newID(t)
	const public = "/ip4/1.2.3.4/tcp/4001"
	for _, test := range []struct {
		addr              string
		public, near, any bool
	}{
		{public, true, true, true},
		{public + "/p2p/" + id.String(), true, true, true},
		{public + "/p2p/" + other.String(), false, false, false},
		{public + "/p2p/" + other.String() + "/p2p-circuit/p2p/" + id.String(), true, true, true},
		{"/dns4/example.com/tcp/443/wss", true, true, true},
		{"/dns4/localhost/tcp/443", false, true, true},
		{"/ip4/192.168.1.1/tcp/4001", false, true, true},
		{"/ip4/10.0.0.1/udp/4001/quic-v1", false, true, true},
		{"/ip6/fd00::1/tcp/1", false, true, true},
		{"/ip4/127.0.0.1/tcp/4001", false, false, true},
		{"/ip6/::1/tcp/4001", false, false, true},
		{"/ip6/::ffff:127.0.0.1/tcp/4001", false, false, true},
		{"/ip4/0.0.0.0/tcp/4001", false, false, false},
		{"/ip4/224.0.0.1/udp/4001", false, false, false},
		{"/ip4/1.2.3.4/tcp/0", false, false, false},
		{"/ip4/1.2.3.4/udp/0/quic-v1", false, false, false},
		{"/dns4/" + strings.Repeat("a", maxAddr) + "/tcp/1", false, false, false},
	} {
		addr := ma.StringCast(test.addr)
		for s, want := range map[scope]bool{scopePublic: test.public, scopeNear: test.near, scopeAny: test.any} {
			if got := len(s.clean(id, []ma.Multiaddr{addr})) == 1; got != want {
				t.Errorf("%.60s in scope %d: got %v, want %v", addr, s, got, want)
			}
		}
	}
	var many []ma.Multiaddr
	for i := range 100 {
		many = append(many, ma.StringCast(fmt.Sprintf("/ip4/1.2.3.4/tcp/%d", 1+i/2)))
	}
	if got := scopePublic.clean(id, many); len(got) != maxAddrs || got[0].Equal(got[1]) {
		t.Errorf("got %v, want %d different ones", got, maxAddrs)
	}
	if got := scopePublic.clean(id, []ma.Multiaddr{nil, {}}); len(got) != 0 {
		t.Errorf("got %v for empty addresses, want none", got)
	}
}

// TestPrivateAddresses: a node on the internet drops private addresses.
func TestPrivateAddresses(t *testing.T) {
	liar, honest, shy := newID(t), newID(t), newID(t)
	u := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", mediaLines)
		io.WriteString(w, jsonLine(t, liar, "/ip4/127.0.0.1/tcp/5001", "/ip4/192.168.0.1/tcp/80"))
		io.WriteString(w, jsonLine(t, honest, "/ip4/127.0.0.1/tcp/4001", "no address", "/ip4/1.2.3.4/tcp/4001"))
		io.WriteString(w, jsonLine(t, shy))
	}))
	h := newSwarm(t).Host()
	r, err := New(testContext(t), Config{Host: h, Mode: ModeDelegated, Delegated: []*url.URL{u}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := newCID(t)
	all, err := collect(r.FindProviders(testContext(t), c))
	if err != nil || len(all) != 2 || all[0].ID != honest || len(all[0].Addrs) != 1 || all[1].ID != shy {
		t.Errorf("got %v, %v, want %v at its public address, and %v", all, err, honest, shy)
	}
	for _, id := range []peer.ID{liar, honest} {
		if got := h.Peerstore().Addrs(id); len(got) != 0 {
			t.Errorf("got %v in the host's address book, want nothing", got)
		}
	}
	if known := r.cache.get(c, time.Now()); len(known) != 1 || known[0].ID != honest {
		t.Errorf("got %v in the cache, want %v alone", known, honest)
	}
}

// misbehave replaces the server's answers.
func misbehave(s server, answer func(request *pb.Message) *pb.Message) {
	s.host.SetStreamHandler("/ipfs/kad/1.0.0", func(stream network.Stream) {
		defer stream.Close()
		request, _, err := readMessage(stream)
		if err != nil {
			stream.Reset()
			return
		}
		_ = writeMessage(stream, answer(request))
	})
}

// TestHostilePeers has a DHT in which some peers lie.
func TestHostilePeers(t *testing.T) {
	servers := newServers(t, 12)
	c, provider, liar := newCID(t), servers[5], newID(t)
	if err := provider.dht.Provide(testContext(t), c, true); err != nil {
		t.Fatal(err)
	}
	key, records := newRecords(t, 3)
	if err := servers[1].dht.PutValue(testContext(t), key, records[1]); err != nil {
		t.Fatal(err)
	}
	r := newRouter(t, Config{Mode: ModeClient, Bootstrap: bootstrapInfos(servers)})
	eventually(t, "the routing table is full", func() bool { return r.tables[0].dht.RoutingTable().Size() >= len(servers) })
	for i, s := range servers[8:] {
		misbehave(s, func(request *pb.Message) *pb.Message {
			m := pb.NewMessage(request.GetType(), request.GetKey(), 0)
			switch i {
			case 0: // providers with invalid ids and addresses, and an invalid record
				m.ProviderPeers = []*pb.Message_Peer{
					{Id: []byte(liar), Addrs: [][]byte{ma.StringCast("/ip4/0.0.0.0/tcp/1").Bytes(), []byte("no address")}},
					{Id: []byte("nobody"), Addrs: [][]byte{{1, 2, 3}}},
					nil,
				}
				m.Record = record.MakePutRecord(key, []byte("not a record"))
			case 1: // thousands of closer peers
				for j := range 5000 {
					m.CloserPeers = append(m.CloserPeers, &pb.Message_Peer{Id: fmt.Append(nil, "peer", j)})
				}
			case 2: // the answer to another request
				m = pb.NewMessage(pb.Message_PUT_VALUE, []byte("other"), 0)
				m.Record = record.MakePutRecord("/ipns/other", records[2])
			case 3:
				m.Key = bytes.Repeat([]byte{1}, maxAnswer+1)
			}
			return m
		})
	}
	all, err := collect(r.FindProviders(testContext(t), c))
	if err != nil || len(all) != 1 || all[0].ID != provider.host.ID() {
		t.Errorf("got %v, %v, want %v alone", all, err, provider.host.ID())
	}
	if got := r.config.Host.Peerstore().Addrs(liar); len(got) != 0 {
		t.Errorf("got %v in the host's address book, want nothing", got)
	}
	if got, err := r.GetValue(testContext(t), key); err != nil || !bytes.Equal(got, records[1]) {
		t.Errorf("got %d bytes, %v, want the record", len(got), err)
	}
	// Answers to PutValue lack the record that kad-dht expects.
	if err := r.PutValue(testContext(t), key, records[2]); err != nil {
		t.Errorf("got %v, want nil", err)
	}
}

// TestNoAnswer: when no peer answers, a lookup fails in time, and says why.
func TestNoAnswer(t *testing.T) {
	servers := newServers(t, 4)
	join := func(limits Limits) *Router {
		r := newRouter(t, Config{Mode: ModeClient, Bootstrap: bootstrapInfos(servers), Limits: limits})
		eventually(t, "the routing table is full", func() bool { return r.tables[0].dht.RoutingTable().Size() >= len(servers) })
		return r
	}
	impatient, r := join(Limits{Lookup: 500 * time.Millisecond}), join(patient)
	for _, s := range servers {
		s.host.SetStreamHandler("/ipfs/kad/1.0.0", func(stream network.Stream) { io.Copy(io.Discard, stream) })
	}
	began := time.Now()
	all, err := collect(impatient.FindProviders(testContext(t), newCID(t)))
	if len(all) != 0 || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hanging: got %v, %v, want no providers and %v", all, err, context.DeadlineExceeded)
	}
	t.Logf("failed after %v", time.Since(began))
	for _, s := range servers {
		s.host.SetStreamHandler("/ipfs/kad/1.0.0", func(stream network.Stream) { stream.Reset() })
	}
	if _, err := collect(r.FindProviders(testContext(t), newCID(t))); !errors.Is(err, ErrNoAnswer) && !errors.Is(err, ErrNoPeers) {
		t.Errorf("refusing: got %v, want %v", err, ErrNoAnswer)
	}
}

// TestNoBootstrap stops waiting when all bootstrap peers have failed or the time
// is up, and says why.
func TestNoBootstrap(t *testing.T) {
	day := 24 * time.Hour
	failed, waiting := NewBootstrap(1, day), NewBootstrap(1, day)
	failed.Tried(errors.New("refused"))
	for what, c := range map[string]struct {
		bootstrap *Bootstrap
		left      time.Duration
		why       string
	}{
		"all have failed": {failed, day, "refused"},
		"out of time":     {waiting, -time.Second, noAnswer},
	} {
		gone := peer.AddrInfo{ID: newSwarm(t).ID()} // nowhere
		r := newRouter(t, Config{Mode: ModeClient, Bootstrap: []peer.AddrInfo{gone}, Connecting: c.bootstrap, Limits: Limits{Lookup: day}})
		for _, table := range r.tables {
			table.waitUntil = time.Now().Add(c.left)
		}
		for name, err := range map[string]error{
			"find":    second(first(r.FindProviders(testContext(t), newCID(t)))),
			"get":     second(r.GetValue(testContext(t), "/pk/x")),
			"provide": r.Provide(testContext(t), newCID(t)),
		} {
			if !errors.Is(err, ErrNoPeers) || !strings.Contains(err.Error(), c.why) {
				t.Errorf("%s, %s: got %v, want %v and %q", what, name, err, ErrNoPeers, c.why)
			}
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestNoNetwork: without a network, each mode fails with the right error.
func TestNoNetwork(t *testing.T) {
	for mode := ModeAuto; mode <= ModeNone; mode++ {
		r := newRouter(t, Config{Mode: mode})
		_, err := collect(r.FindProviders(testContext(t), newCID(t)))
		hasDHT := mode.hasWAN() || mode.hasLAN()
		if hasDHT && !errors.Is(err, ErrNoPeers) || !hasDHT && !errors.Is(err, ErrNoSource) {
			t.Errorf("%s: got %v, want %v if there is a DHT, else %v", mode, err, ErrNoPeers, ErrNoSource)
		}
		if err := r.Provide(testContext(t), newCID(t)); !errors.Is(err, ErrNoPeers) && !errors.Is(err, ErrNoSource) {
			t.Errorf("%s: got %v, want %v or %v", mode, err, ErrNoPeers, ErrNoSource)
		}
		if _, err := r.GetValue(testContext(t), "/pk/x"); !errors.Is(err, ErrNoPeers) && !errors.Is(err, ErrNoSource) {
			t.Errorf("%s: got %v, want %v or %v", mode, err, ErrNoPeers, ErrNoSource)
		}
	}
}

// A finder yields its providers and then its error, or hangs.
type finder struct {
	name  string
	found []Provider
	hangs bool
	err   error
}

func (f finder) Name() string { return f.name }

func (f finder) FindProviders(ctx context.Context, _ cid.Cid) iter.Seq2[Provider, error] {
	return func(yield func(Provider, error) bool) {
		if f.hangs {
			<-ctx.Done()
		}
		for _, p := range f.found {
			if !yield(p, nil) {
				return
			}
		}
		if f.err != nil {
			yield(Provider{}, f.err)
		}
	}
}

func (f finder) FindPeer(ctx context.Context, id peer.ID) iter.Seq2[peer.AddrInfo, error] {
	return func(yield func(peer.AddrInfo, error) bool) {
		for p, err := range f.FindProviders(ctx, cid.Undef) {
			if p.ID == id && !yield(p.AddrInfo, err) {
				return
			}
		}
	}
}

var _ PeerFinder = finder{}

func TestFinders(t *testing.T) {
	t.Parallel() // mostly waits
	id := newID(t)
	at := func(addr string) Provider {
		return Provider{AddrInfo: peer.AddrInfo{ID: id, Addrs: []ma.Multiaddr{ma.StringCast(addr)}}}
	}
	bad := errors.New("broken")
	r := newRouter(t, Config{Mode: ModeNone, Limits: Limits{Lookup: 2 * time.Second}, Finders: []Finder{
		finder{name: "slow", hangs: true},
		finder{name: "broken", err: bad},
		finder{name: "good", found: []Provider{
			{AddrInfo: peer.AddrInfo{ID: id}}, at("/ip4/127.0.0.1/tcp/1"), at("/ip4/127.0.0.1/tcp/1"), {AddrInfo: peer.AddrInfo{ID: id}},
			at("/ip4/127.0.0.1/tcp/2"), at("/ip4/127.0.0.1/tcp/3"),
		}},
	}})
	all, err := collect(r.FindProviders(testContext(t), newCID(t)))
	if err != nil || len(all) != maxReports || len(all[0].Addrs) != 0 || len(all[1].Addrs) != 1 || all[0].Source != "good" {
		t.Errorf("got %v, %v, want the provider %d times, each time with a new address", all, err, maxReports)
	}
	peers, err := collect(r.FindPeer(testContext(t), id))
	if err != nil || len(peers) != 3 {
		t.Errorf("got %v, %v, want three addresses", peers, err)
	}
	r = newRouter(t, Config{Mode: ModeNone, Finders: []Finder{finder{name: "broken", err: bad}}})
	if _, err := collect(r.FindProviders(testContext(t), newCID(t))); !errors.Is(err, bad) {
		t.Errorf("got %v, want %v", err, bad)
	}
}

func FuzzReadRecords(f *testing.F) {
	key, _ := newRecords(f, 0)
	id, _ := isIPNS(key)
	good := jsonLine(f, id, "/ip4/1.2.3.4/tcp/4001", "/ip4/127.0.0.1/tcp/1")
	f.Add([]byte(good), true)
	f.Add([]byte("\n\r\n{}\nnull\n"+good+good[:20]), true)
	f.Add([]byte(`{"Schema":"bitswap","Protocol":"transport-bitswap","ID":"`+id.String()+`","Addrs":null}`), true)
	f.Add([]byte(`{"Providers":[`+strings.TrimSpace(good)+`],"Peers":[null]}`), false)
	f.Fuzz(func(t *testing.T, b []byte, lines bool) {
		media := mediaObject
		if lines {
			media = mediaLines
		}
		n := 0
		for p, err := range readRecords(media, bytes.NewReader(b), scopePublic) {
			if err != nil {
				break
			}
			n++
			if !validID(p.ID) || len(p.Addrs) > maxAddrs || len(p.Protocols) > maxProtocols {
				t.Fatalf("got %+v, want a valid id and bounded lists", p)
			}
			if slices.ContainsFunc(p.Addrs, func(a ma.Multiaddr) bool { return !scopePublic.allows(a) }) {
				t.Fatalf("got %v, want public addresses", p.Addrs)
			}
			// The cache can save each provider.
			if _, err := decodeRow(encodeRow([]cachedProvider{{Provider: p, until: time.Unix(1, 0)}})); err != nil {
				t.Fatalf("got %v for %+v, want a row", err, p)
			}
		}
		if n > maxRecords {
			t.Fatalf("got %d records, want at most %d", n, maxRecords)
		}
	})
}

func FuzzReadMessage(f *testing.F) {
	m := pb.NewMessage(pb.Message_GET_PROVIDERS, []byte("key"), 0)
	m.CloserPeers = []*pb.Message_Peer{{Id: []byte("id"), Addrs: [][]byte{{4, 1, 2, 3, 4}}}}
	b, err := proto.Marshal(m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append([]byte{byte(len(b))}, b...))
	f.Add([]byte{0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, _, err := readMessage(bytes.NewReader(b))
		if err != nil {
			return
		}
		if got := addrInfos(m.GetCloserPeers()); len(got) > maxTraced {
			t.Fatalf("got %d peers, want at most %d", len(got), maxTraced)
		}
		for _, p := range slices.Concat(m.GetCloserPeers(), m.GetProviderPeers()) {
			if len(p.GetAddrs()) > maxPeerAddrs {
				t.Fatalf("got a peer with %d addresses, want at most %d", len(p.GetAddrs()), maxPeerAddrs)
			}
		}
	})
}
