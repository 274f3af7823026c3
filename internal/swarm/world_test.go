package swarm

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/autonatv2"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	ma "github.com/multiformats/go-multiaddr"
)

// newWorld makes a swarm with everything for the world outside except UPnP, which
// would ask the local network.
func newWorld(t testing.TB, c Config) *Swarm {
	t.Helper()
	c.noPortMap = true
	c.relaysEvery = time.Hour // tests must not depend on it
	return newSwarm(t, c)
}

// newPlainHost makes a plain libp2p host on loopback.
func newPlainHost(t testing.TB, options ...libp2p.Option) host.Host {
	t.Helper()
	options = append(options, libp2p.ListenAddrStrings(onTCP), libp2p.DisableMetrics(),
		libp2p.ResourceManager(&network.NullResourceManager{}))
	h, err := libp2p.New(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// hide makes a swarm believe that it is behind a router.
func hide(t testing.TB, s *Swarm) {
	t.Helper()
	emitter, err := s.host.EventBus().Emitter(new(event.EvtLocalReachabilityChanged))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { emitter.Close() })
	if err := emitter.Emit(event.EvtLocalReachabilityChanged{Reachability: network.ReachabilityPrivate}); err != nil {
		t.Fatal(err)
	}
}

func infoOf(h host.Host) peer.AddrInfo { return peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()} }

// TestLocalOption: everything that a node behind a router needs is on, and off if
// Local is set.
func TestLocalOption(t *testing.T) {
	for _, isLocal := range []bool{false, true} {
		s := newLocal(t, Config{Listen: []string{}})
		s.config.Local = isLocal
		options, err := s.options()
		if err != nil {
			t.Fatal(err)
		}
		var made libp2p.Config
		if err := made.Apply(options...); err != nil {
			t.Fatal(err)
		}
		defer made.ConnManager.Close()
		defer made.ResourceManager.Close()
		for what, on := range map[string]bool{
			"UPnP": made.NATManager != nil, "hole punching": made.EnableHolePunching, "AutoNAT v2": made.EnableAutoNATv2,
			"relay client": made.Relay, "AutoRelay": made.EnableAutoRelay, "address discovery": !made.DisableIdentifyAddressDiscovery,
		} {
			if on == isLocal {
				t.Errorf("%s with Local %v: got %v, want %v", what, isLocal, on, !isLocal)
			}
		}
	}
	s := newWorld(t, Config{})
	other := newPlainHost(t)
	if err := other.Connect(testContext(t), peer.AddrInfo{ID: s.ID(), Addrs: s.host.Addrs()}); err != nil {
		t.Fatal(err)
	}
	want := []protocol.ID{proto.ProtoIDv2Stop, autonatv2.DialProtocol, autonatv2.DialBackProtocol}
	got, err := other.Peerstore().SupportsProtocols(s.ID(), want...)
	if err != nil || len(got) != len(want) {
		t.Errorf("protocols: got %v, %v, want %v", got, err, want)
	}
}

// TestRelay has a swarm that believes it is behind a router, finds relays among its
// peers, and is reached through one. A protocol that is not for relays waits for a
// direct connection. (AutoRelay announces public addresses only, so the test makes
// the address through the relay itself.)
func TestRelay(t *testing.T) {
	var relays []host.Host
	for range 4 { // AutoRelay waits for four before it chooses
		h := newPlainHost(t)
		if _, err := relay.New(h); err != nil {
			t.Fatal(err)
		}
		relays = append(relays, h)
	}
	// It is made after them, so that it is closed before: libp2p's AutoRelay has a
	// data race while a relay disconnects.
	b := newWorld(t, Config{Listen: []string{}})
	hide(t, b)
	for _, h := range relays {
		if err := b.Connect(testContext(t), infoOf(h)); err != nil {
			t.Fatal(err)
		}
	}
	var through []ma.Multiaddr
	eventually(t, "a relay has a reservation for the swarm", func() bool {
		for _, h := range relays {
			if tags := h.ConnManager().GetTagInfo(b.ID()); tags != nil && tags.Tags["relay-reservation"] > 0 {
				through = append(through, h.Addrs()[0].Encapsulate(ma.StringCast("/p2p/"+h.ID().String()+"/p2p-circuit")))
			}
		}
		return len(through) > 0
	})
	through = through[:1] // if there were two, both might be dialled

	const direct protocol.ID = "/test/direct"
	b.host.SetStreamHandler(direct, func(s network.Stream) { s.Close() })
	a := newWorld(t, Config{Listen: []string{}})
	// The second time there is no better address, the third time one that fails.
	for _, more := range [][]ma.Multiaddr{nil, nil, {loopbackAddr(1)}} {
		if err := a.Connect(testContext(t), peer.AddrInfo{ID: b.ID(), Addrs: append(more, through...)}); err != nil {
			t.Fatal(err)
		}
	}
	if info := a.Peer(b.ID()); !info.Relayed || info.Connections != 1 {
		t.Errorf("through a relay: got %+v, want one connection, relayed", info)
	}
	for rtt, err := range a.Ping(testContext(t), b.ID()) {
		if err != nil || rtt <= 0 {
			t.Errorf("ping through a relay: got %v, %v", rtt, err)
		}
		break
	}
	brief, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.host.NewStream(brief, b.ID(), direct); err == nil {
		t.Error("a stream that is not for relays opened through one")
	}
	opened := make(chan error, 1)
	go func() {
		s, err := a.host.NewStream(testContext(t), b.ID(), direct)
		if err == nil {
			err = s.Close()
		}
		opened <- err
	}()
	if err := b.ListenOn(onTCP); err != nil {
		t.Fatal(err)
	}
	if err := a.Connect(testContext(t), b.AddrInfo()); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Errorf("a stream that waited for a direct connection: %v", err)
	}
	if info := a.Peer(b.ID()); info.Relayed {
		t.Errorf("with a direct connection: got %+v, want Relayed false", info)
	}
}

// TestAutoNAT has a server dial back to a swarm, and checks the events that follow
// from the host's results. (The swarm's own client asks about public addresses
// only, and its server refuses to dial others.)
func TestAutoNAT(t *testing.T) {
	server := newPlainHost(t)
	answering, err := autonatv2.New(newPlainHost(t, libp2p.NoListenAddrs), autonatv2.AllowPrivateAddrs)
	if err != nil {
		t.Fatal(err)
	}
	if err := answering.Start(server); err != nil {
		t.Fatal(err)
	}
	defer answering.Close()
	s := newLocal(t, Config{Listen: []string{onTCP, onQUIC}})
	asking, err := autonatv2.New(newPlainHost(t, libp2p.NoListenAddrs), autonatv2.AllowPrivateAddrs)
	if err != nil {
		t.Fatal(err)
	}
	if err := asking.Start(s.host); err != nil {
		t.Fatal(err)
	}
	defer asking.Close()
	if err := s.Connect(testContext(t), infoOf(server)); err != nil {
		t.Fatal(err)
	}
	addr := s.host.Addrs()[0]
	var result autonatv2.Result
	eventually(t, "the client has found the server", func() bool {
		result, err = asking.GetReachability(testContext(t), []autonatv2.Request{{Addr: addr, SendDialData: true}})
		return !errors.Is(err, autonatv2.ErrNoPeers)
	})
	if err != nil || result.Reachability != network.ReachabilityPublic || !result.Addr.Equal(addr) {
		t.Errorf("dial back: got %+v, %v, want %s reachable", result, err, addr)
	}

	other := newWorld(t, Config{})
	if err := s.Connect(testContext(t), other.AddrInfo()); err != nil {
		t.Fatal(err)
	}
	s.Disconnect(server.ID())
	eventually(t, "our own server refuses to dial this machine", func() bool {
		result, err = asking.GetReachability(testContext(t), []autonatv2.Request{{Addr: addr, SendDialData: true}})
		return err == nil && result.AllAddrsRefused
	})

	await := watch(t, other)
	found, err := other.host.EventBus().Emitter(new(event.EvtHostReachableAddrsChanged))
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	public := ma.StringCast("/ip4/203.0.113.5/tcp/4001")
	for _, reachable := range [][]ma.Multiaddr{{public}, nil} {
		if err := found.Emit(event.EvtHostReachableAddrsChanged{Reachable: reachable}); err != nil {
			t.Fatal(err)
		}
		kind := EventExternal
		if reachable == nil {
			kind = EventNotExternal
		}
		if e := await(kind, ""); !e.Addr.Equal(public) {
			t.Errorf("%v: got %s, want %s", kind, e.Addr, public)
		}
	}
}
