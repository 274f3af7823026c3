package swarm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	onTCP  = "/ip4/127.0.0.1/tcp/0"
	onQUIC = "/ip4/127.0.0.1/udp/0/quic-v1"
)

// newLocal makes a swarm on loopback, which the test closes.
func newLocal(t testing.TB, c Config) *Swarm {
	t.Helper()
	c.Local = true
	return newSwarm(t, c)
}

// newSwarm makes a swarm that listens, which the test closes.
func newSwarm(t testing.TB, c Config) *Swarm {
	t.Helper()
	if c.Listen == nil {
		c.Listen = []string{onTCP}
	}
	s, err := New(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// testContext returns a context that ends in five minutes, so that a test that hangs
// fails.
func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func connect(t testing.TB, from, to *Swarm) {
	t.Helper()
	if err := from.Connect(testContext(t), to.AddrInfo()); err != nil {
		t.Fatal(err)
	}
}

// watch returns a function that waits for an event of a kind and a peer. It
// subscribes at once.
func watch(t testing.TB, s *Swarm) (await func(EventKind, peer.ID) Event) {
	t.Helper()
	next := make(chan Event)
	ctx := testContext(t)
	events := s.Events(ctx)
	go func() {
		defer close(next)
		for e, err := range events {
			if err != nil {
				return
			}
			select {
			case next <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func(kind EventKind, id peer.ID) Event {
		t.Helper()
		for e := range next {
			if e.Kind == kind && e.Peer == id {
				return e
			}
		}
		t.Fatalf("got no event %v of %s", kind, id)
		return Event{}
	}
}

// eventually polls until f returns true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	ctx := testContext(t)
	for !f() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("%s: still false after five minutes", what)
		}
	}
}

func TestConnect(t *testing.T) {
	transports := map[string]string{
		"tcp":          onTCP,
		"websocket":    onTCP + "/ws",
		"quic":         onQUIC,
		"webtransport": onQUIC + "/webtransport",
	}
	for name, listen := range transports {
		t.Run(name, func(t *testing.T) {
			a, b := newLocal(t, Config{Listen: []string{}}), newLocal(t, Config{Listen: []string{listen}, UserAgent: "tester/1"})
			seen, other := watch(t, a), watch(t, b)
			connect(t, a, b)
			connect(t, a, b) // the second time does nothing
			seen(EventConnected, b.ID())
			other(EventConnected, a.ID())

			info := a.Peer(b.ID())
			if info.Agent != "tester/1" || info.Direction != network.DirOutbound || info.Connections != 1 || info.Relayed {
				t.Errorf("peer: got %+v, want one outbound connection with tester/1", info)
			}
			if want := b.AddrInfo().Addrs[0]; !strings.HasPrefix(want.String(), info.Addr.String()) && !info.Addr.Equal(want) {
				t.Errorf("remote address: got %s, want %s", info.Addr, want)
			}
			// A protocol that the peer added a moment ago comes in another message.
			eventually(t, "the peer's protocols are known", func() bool {
				return slices.Contains(a.Peer(b.ID()).Protocols, broadcastProtocol)
			})
			if time.Since(info.Since) > time.Minute {
				t.Errorf("since: got %v, want just now", info.Since)
			}
			if peers := b.Peers(); len(peers) != 1 || peers[0].ID != a.ID() || peers[0].Direction != network.DirInbound {
				t.Errorf("the other side's peers: got %+v, want %s, inbound", peers, a.ID())
			}
			if known := a.KnownAddrs(b.ID()); len(known) == 0 || known[0].Confirmed.IsZero() {
				t.Errorf("address book: got %+v, want a confirmed address first", known)
			}

			if err := a.Disconnect(b.ID()); err != nil {
				t.Fatal(err)
			}
			seen(EventDisconnected, b.ID())
			other(EventDisconnected, a.ID())
			if info := a.Peer(b.ID()); info.Connections != 0 || info.Addr != nil {
				t.Errorf("after disconnecting: got %+v, want no connection", info)
			}
			// The book has the dialled address, which is enough.
			if known := a.KnownAddrs(b.ID())[0].Addr; !known.Equal(b.AddrInfo().Addrs[0]) {
				t.Errorf("address book: got %s, want %s", known, b.AddrInfo().Addrs[0])
			}
			if err := a.Connect(testContext(t), peer.AddrInfo{ID: b.ID()}); err != nil {
				t.Errorf("connect with addresses from the book: %v", err)
			}
		})
	}
}

// TestSharedPort listens with TCP and WebSocket on one port, and QUIC and
// WebTransport on another, as the defaults do.
func TestSharedPort(t *testing.T) {
	port := freePort(t)
	listen := []string{
		fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", port), fmt.Sprintf("/ip4/127.0.0.1/tcp/%d/ws", port),
		fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1", port), fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1/webtransport", port),
	}
	b := newLocal(t, Config{Listen: listen})
	for _, addr := range b.AddrInfo().Addrs {
		a := newLocal(t, Config{Listen: []string{}})
		if err := a.Connect(testContext(t), peer.AddrInfo{ID: b.ID(), Addrs: []ma.Multiaddr{addr}}); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
	if got := len(b.AddrInfo().Addrs); got != len(listen) {
		t.Errorf("addresses: got %d, want %d", got, len(listen))
	}
}

// freePort returns a port that is free for TCP and for UDP.
func freePort(t testing.TB) int {
	t.Helper()
	for {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		port := l.Addr().(*net.TCPAddr).Port
		u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err == nil {
			u.Close()
			return port
		}
	}
}

func TestListenErrorNamesTheAddress(t *testing.T) {
	busy, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	other := newLocal(t, Config{Listen: []string{onTCP, onQUIC}})
	taken := other.net.ListenAddresses()
	for _, addr := range []string{
		fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", busy.Addr().(*net.TCPAddr).Port),
		taken[0].String(), taken[1].String(), // another swarm listens on them
		"/ip4/127.0.0.1/udp/0",
		"/ip4/127.0.0.1/tpc/4001",
		"",
	} {
		s, err := New(context.Background(), Config{Local: true, Listen: []string{onTCP, addr}})
		if err == nil {
			s.Close()
			t.Errorf("%q: got no error", addr)
		} else if !strings.Contains(err.Error(), "listen on "+addr+":") {
			t.Errorf("%q: got %q, want the address in it", addr, err)
		}
	}
}

func TestListenOnAndAddrs(t *testing.T) {
	s := newLocal(t, Config{Listen: []string{}})
	if got := s.Addrs(); len(got) != 0 {
		t.Errorf("addresses before: got %v, want none", got)
	}
	events := watch(t, s)
	if err := s.ListenOn("/ip4/0.0.0.0/tcp/0"); err != nil {
		t.Fatal(err)
	}
	events(EventListening, "")
	addrs := s.Addrs()
	for _, addr := range addrs {
		text := addr.String()
		if !strings.HasSuffix(text, "/p2p/"+s.ID().String()) || strings.Contains(text, "0.0.0.0") {
			t.Errorf("address %s: want one of an interface, with the id", text)
		}
	}
	if !slices.ContainsFunc(addrs, func(a ma.Multiaddr) bool { return strings.HasPrefix(a.String(), "/ip4/127.0.0.1/tcp/") }) {
		t.Errorf("addresses: got %v, want loopback among them", addrs)
	}

	const external = "/ip4/203.0.113.5/tcp/4001"
	if err := s.AddExternal(external); err != nil {
		t.Fatal(err)
	}
	if e := events(EventExternal, ""); e.Addr.String() != external {
		t.Errorf("event: got %s, want %s", e.Addr, external)
	}
	if got, want := s.Addrs(), ma.StringCast(external+"/p2p/"+s.ID().String()); !slices.ContainsFunc(got, want.Equal) {
		t.Errorf("addresses: got %v, want %s among them", got, want)
	}
	for _, bad := range []string{"", "/ip4/1.2.3", "/ip4/203.0.113.5/tcp/4001/p2p/12D3KooWJ6MeKyZHyuBJMBTkXrMAfHAiE5uGwEgQxuBjWEeWNzFA"} {
		if s.AddExternal(bad) == nil || s.RemoveExternal(bad) == nil {
			t.Errorf("external address %q: got no error", bad)
		}
	}

	// An address that AutoNAT found and AddExternal set is external until both end.
	s.setReachable([]ma.Multiaddr{ma.StringCast(external), ma.StringCast("/ip4/203.0.113.6/tcp/4001")})
	if e := events(EventExternal, ""); e.Addr.String() == external {
		t.Errorf("event: got %s a second time", e.Addr)
	}
	s.setReachable(nil)
	if e := events(EventNotExternal, ""); e.Addr.String() == external {
		t.Errorf("event: got %v for %s, which AddExternal set", e.Kind, e.Addr)
	}
	for range 2 {
		if err := s.RemoveExternal(external + "/p2p/" + s.ID().String()); err != nil {
			t.Fatal(err)
		}
	}
	if e := events(EventNotExternal, ""); e.Addr.String() != external {
		t.Errorf("event: got %s, want %s", e.Addr, external)
	}
	if got := s.Addrs(); slices.ContainsFunc(got, func(a ma.Multiaddr) bool { return strings.HasPrefix(a.String(), external) }) {
		t.Errorf("addresses after RemoveExternal: got %v", got)
	}
}

// TestAddAddrRefuses addresses of another peer, of this node, and invalid ones.
func TestAddAddrRefuses(t *testing.T) {
	s, other := newLocal(t, Config{}), newLocal(t, Config{})
	addr := ma.StringCast("/ip4/127.0.0.1/tcp/1")
	for name, err := range map[string]error{
		"ours":       s.AddAddr(s.ID(), addr, SourceUser),
		"another's":  s.AddAddr(other.ID(), ma.StringCast("/ip4/127.0.0.1/tcp/1/p2p/"+s.ID().String()), SourceUser),
		"no id":      s.AddAddr("", addr, SourceUser),
		"no address": s.AddAddr(other.ID(), ma.StringCast("/p2p/"+other.ID().String()), SourceUser),
		"too long":   s.AddAddr(other.ID(), ma.StringCast("/dns4/"+strings.Repeat("a", maxAddress)+"/tcp/1"), SourceUser),
	} {
		if err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	if got := s.Known(); len(got) != 0 {
		t.Errorf("known: got %v, want none", got)
	}
}

func TestBan(t *testing.T) {
	a, b := newLocal(t, Config{}), newLocal(t, Config{})
	await := watch(t, a)
	connect(t, a, b)
	if err := a.Ban(b.ID()); err != nil {
		t.Fatal(err)
	}
	await(EventDisconnected, b.ID())
	if err := a.Connect(testContext(t), b.AddrInfo()); !errors.Is(err, ErrBanned) {
		t.Errorf("dial a banned peer: got %v, want %v", err, ErrBanned)
	}
	if err := a.host.Connect(testContext(t), b.AddrInfo()); err == nil {
		t.Error("dial a banned peer through the host: got no error")
	}
	// The dialler may look connected for a moment.
	b.Connect(testContext(t), a.AddrInfo())
	eventually(t, "the banned peer is disconnected", func() bool { return b.net.Connectedness(a.ID()) == network.NotConnected })
	if got := a.Peer(b.ID()).Connections; got != 0 {
		t.Errorf("connections to a banned peer: got %d, want 0", got)
	}
	if err := a.Unban(b.ID()); err != nil {
		t.Fatal(err)
	}
	connect(t, b, a)
}

// TestConnectionLimit fills one swarm with inbound and outbound connections.
func TestConnectionLimit(t *testing.T) {
	// One address each: a swarm with several is dialled twice, and one is closed.
	for _, listen := range []string{onTCP, onQUIC} {
		t.Run(listen, func(t *testing.T) { testConnectionLimit(t, 4, Config{Listen: []string{listen}}) })
	}
}

func testConnectionLimit(t *testing.T, limit int, c Config) {
	var others []*Swarm
	for range 2 * limit {
		others = append(others, newLocal(t, c))
	}
	last := newLocal(t, c)
	c.Connections = limit
	hub := newLocal(t, c)
	failed := make(chan error)
	for i, other := range others {
		go func() {
			if i%2 == 0 {
				failed <- hub.Connect(testContext(t), other.AddrInfo())
				return
			}
			other.Connect(testContext(t), hub.AddrInfo())
			failed <- nil
		}()
	}
	for range others {
		if err := <-failed; err != nil && !errors.Is(err, ErrFull) {
			t.Errorf("got %v, want %v", err, ErrFull)
		}
		if got := len(hub.net.Conns()); got > limit {
			t.Errorf("connections: got %d, want at most %d", got, limit)
		}
	}
	// Some may have disconnected already after others were refused.
	eventually(t, "full", func() bool {
		for _, other := range others {
			other.Connect(testContext(t), hub.AddrInfo())
		}
		return len(hub.net.Conns()) == limit
	})
	if err := hub.Connect(testContext(t), last.AddrInfo()); !errors.Is(err, ErrFull) {
		t.Errorf("one more: got %v, want %v", err, ErrFull)
	}
	// After one disconnects, another can connect.
	hub.Disconnect(hub.net.Peers()[0])
	eventually(t, "another connects", func() bool {
		return hub.Connect(testContext(t), others[0].AddrInfo()) == nil || len(hub.net.Conns()) == limit
	})
}

func TestPSK(t *testing.T) {
	one, two := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	a := newLocal(t, Config{PSK: one, Listen: []string{onTCP, onTCP + "/ws"}})
	for _, addr := range a.AddrInfo().Addrs {
		same := newLocal(t, Config{PSK: one})
		if err := same.Connect(testContext(t), peer.AddrInfo{ID: a.ID(), Addrs: []ma.Multiaddr{addr}}); err != nil {
			t.Errorf("with the key, %s: %v", addr, err)
		}
		// Both sides wait for a message that they can decrypt, until the timeout.
		var others sync.WaitGroup
		for name, c := range map[string]Config{"another key": {PSK: two}, "no key": {}} {
			other := newLocal(t, c)
			others.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
				defer cancel()
				if err := other.Connect(ctx, peer.AddrInfo{ID: a.ID(), Addrs: []ma.Multiaddr{addr}}); err == nil {
					t.Errorf("%s, %s: connected", name, addr)
				}
			})
		}
		others.Wait()
	}
	if _, err := New(context.Background(), Config{PSK: one, Local: true, Listen: []string{onQUIC}}); err == nil {
		t.Error("QUIC in a private network: got no error")
	}
	if _, err := New(context.Background(), Config{PSK: one[:31], Local: true}); err == nil {
		t.Error("a key of 31 bytes: got no error")
	}
	for _, addr := range defaultListen(true) {
		if strings.Contains(addr, "quic") {
			t.Errorf("default of a private network: %s", addr)
		}
	}
}

func TestPing(t *testing.T) {
	a, b := newLocal(t, Config{}), newLocal(t, Config{})
	if err := a.AddAddr(b.ID(), b.AddrInfo().Addrs[0], SourceUser); err != nil {
		t.Fatal(err)
	}
	n := 0
	for rtt, err := range a.Ping(testContext(t), b.ID()) {
		if err != nil || rtt <= 0 {
			t.Fatalf("got %v, %v, want a round trip", rtt, err)
		}
		if n++; n == 3 {
			break
		}
	}
	if got := a.Peer(b.ID()).RTT; got <= 0 {
		t.Errorf("mean round trip: got %v, want one", got)
	}
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	var last error
	for _, err := range a.Ping(ctx, b.ID()) {
		cancel()
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("after cancelling: got %v, want %v", last, context.Canceled)
	}
	silent := newLocal(t, Config{Listen: []string{}}).ID()
	for _, err := range a.Ping(testContext(t), silent) {
		if err == nil {
			t.Fatal("a peer without addresses answered")
		}
	}
	b.Close()
	for _, err := range a.Ping(testContext(t), b.ID()) {
		if err == nil {
			t.Fatal("a closed peer answered")
		}
	}
}

func TestEvents(t *testing.T) {
	s := newLocal(t, Config{Listen: []string{}})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events := s.Events(ctx)
	for range maxEvents + 7 {
		s.events.Send(Event{Kind: EventDiscovered})
	}
	n := 0
	for e, err := range events {
		if err != nil {
			t.Fatal(err)
		}
		n++
		if n <= maxEvents && e.Lost != 0 {
			t.Fatalf("event %d: got %d lost, want 0", n, e.Lost)
		}
		if n == maxEvents {
			s.events.Send(Event{Kind: EventDiscovered})
		}
		if n == maxEvents+1 {
			if e.Lost != 7 {
				t.Errorf("lost: got %d, want 7", e.Lost)
			}
			break
		}
	}
	unused := s.Events(ctx)
	cancel()
	for e, err := range unused {
		if err != context.Canceled {
			t.Errorf("after the context ended: got %v, %v, want its error", e, err)
		}
	}
	last := s.Events(context.Background())
	s.Close()
	for _, events := range []iter.Seq2[Event, error]{last, s.Events(context.Background())} {
		var err error
		for _, err = range events { // ends
		}
		if err != ErrClosed {
			t.Errorf("after Close: got %v at the end, want ErrClosed", err)
		}
	}
}

func TestClosed(t *testing.T) {
	s := newLocal(t, Config{})
	topic, err := s.Topic("t", TopicOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	ctx := testContext(t)
	other := newLocal(t, Config{})
	for range topic.Messages(ctx) {
		t.Error("a message after Close")
	}
	_, broadcast := s.Broadcast(ctx, "t", nil)
	_, open := s.Topic("u", TopicOptions{})
	for name, err := range map[string]error{
		"connect": s.Connect(ctx, other.AddrInfo()), "protect": s.Protect(other.ID()),
		"publish": topic.Publish(ctx, nil), "broadcast": broadcast, "topic": open,
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: got %v, want %v", name, err, ErrClosed)
		}
	}
	if err := s.ListenOn(onTCP); err == nil {
		t.Error("listen: got no error")
	}
	if err := topic.Close(); err != nil {
		t.Errorf("close the topic: %v", err)
	}
}

func TestIdentity(t *testing.T) {
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	data, err := MarshalKey(key)
	if err != nil {
		t.Fatal(err)
	}
	// The protobuf: field 1, type 1 (Ed25519); field 2, 64 bytes.
	if want := []byte{8, 1, 18, 64}; !bytes.HasPrefix(data, want) || len(data) != 68 {
		t.Errorf("got %x, want 68 bytes that begin with %x", data, want)
	}
	back, err := UnmarshalKey(data)
	if err != nil || !back.Equals(key) {
		t.Fatalf("got %v, %v, want the key", back, err)
	}
	id, _ := peer.IDFromPrivateKey(key)
	if got := newLocal(t, Config{Identity: back, Listen: []string{}}).ID(); got != id {
		t.Errorf("id: got %s, want %s", got, id)
	}
	for _, bad := range [][]byte{nil, {}, data[:20], make([]byte, maxKey+1)} {
		if _, err := UnmarshalKey(bad); err == nil {
			t.Errorf("%d invalid bytes: got no error", len(bad))
		}
	}
}

// counts returns the numbers of goroutines and of open files.
func counts(t testing.TB) (goroutines, files int) {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil && runtime.GOOS == "linux" {
		t.Fatal(err)
	}
	return runtime.NumGoroutine(), len(list)
}

// TestNoLeaks opens, uses and closes many swarms.
func TestNoLeaks(t *testing.T) {
	cycle := func() {
		a, err := New(testContext(t), Config{Local: true, Listen: []string{onTCP, onQUIC, onQUIC + "/webtransport", onTCP + "/ws"}})
		if err != nil {
			t.Fatal(err)
		}
		b, err := New(testContext(t), Config{Local: true, Listen: []string{onTCP}, State: new(testRows)})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Connect(testContext(t), a.AddrInfo()); err != nil {
			t.Fatal(err)
		}
		if err := a.Protect(b.ID()); err != nil {
			t.Fatal(err)
		}
		for _, s := range []*Swarm{a, b} {
			if _, err := s.Topic("left", TopicOptions{}); err != nil {
				t.Fatal(err)
			}
			s.Events(context.Background())
		}
		for _, s := range []*Swarm{a, b} {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	cycle() // starts what runs once for the whole process
	goroutines, files := counts(t)
	rounds := 64
	if testing.Short() {
		rounds = 8
	}
	for range rounds {
		cycle()
	}
	eventually(t, fmt.Sprintf("at most %d goroutines and %d files", goroutines, files), func() bool {
		g, f := counts(t)
		return g <= goroutines && f <= files
	})
}
