package bitswap

import (
	"context"
	"errors"
	"testing"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
)

// newRelayed makes a host that can be reached through relays only.
func newRelayed(t *testing.T) host.Host {
	t.Helper()
	h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.NoTransports, libp2p.Transport(tcp.NewTCPTransport),
		libp2p.EnableRelay(), libp2p.DisableMetrics(), libp2p.ResourceManager(&network.NullResourceManager{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// TestRelayed expects no messages over a relayed connection.
func TestRelayed(t *testing.T) {
	middle := newHost(t)
	service, err := relay.New(middle)
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	a, b := newRelayed(t), newRelayed(t)
	connect(t, a, middle)
	connect(t, b, middle)
	middleInfo := peer.AddrInfo{ID: middle.ID(), Addrs: middle.Addrs()}
	if _, err := client.Reserve(t.Context(), b, middleInfo); err != nil {
		t.Fatal(err)
	}
	circuit := ma.StringCast("/p2p/" + middle.ID().String() + "/p2p-circuit")
	if err := a.Connect(network.WithAllowLimitedConn(t.Context(), "test"), peer.AddrInfo{ID: b.ID(), Addrs: []ma.Multiaddr{circuit}}); err != nil {
		t.Fatal(err)
	}
	if got := a.Network().Connectedness(b.ID()); got != network.Limited {
		t.Fatalf("got a connection that is %v, want limited", got)
	}
	var asks [2]*Bitswap
	for i, h := range []host.Host{a, b} {
		if asks[i], err = New(Config{Host: h, Blocks: newNode(t, Config{}).mem}); err != nil {
			t.Fatal(err)
		}
		defer asks[i].Close()
	}
	// A stream over it is reset.
	s, err := a.NewStream(network.WithAllowLimitedConn(t.Context(), "test"), b.ID(), protocol120)
	if err == nil {
		s.Write(appendWants(nil, []entry{{cid: raw(t, []byte("x")).CID(), sendDontHave: true}}, true))
		_, err = s.Read(make([]byte, 1))
	}
	if !isReset(err) {
		t.Errorf("got %v, want a reset", err)
	}
	// Open waits for a direct connection.
	opened := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := asks[0].Open(ctx, b.ID())
		opened <- err
	}()
	cancel()
	if err := <-opened; !errors.Is(err, context.Canceled) && !errors.Is(err, ErrGone) {
		t.Errorf("Open over a relay: got %v, want none", err)
	}
	// There is one when b can be dialled.
	if err := b.Network().Listen(ma.StringCast("/ip4/127.0.0.1/tcp/0")); err != nil {
		t.Fatal(err)
	}
	direct := network.WithForceDirectDial(t.Context(), "test")
	// A dial of the relay's address alone may still run, and Connect would join it.
	eventually(t, "connecting directly", func() bool {
		return a.Connect(direct, peer.AddrInfo{ID: b.ID(), Addrs: b.Network().ListenAddresses()}) == nil
	})
	c, err := asks[0].Open(t.Context(), b.ID())
	if err != nil {
		t.Fatalf("Open with a direct connection: %v", err)
	}
	defer c.Close()
	if err := c.Want(WantBlock, true, 0, raw(t, []byte("x")).CID()); err != nil {
		t.Fatal(err)
	}
	if reply := next(t, c); reply.Kind != DontHave {
		t.Errorf("got kind %d, want DONT_HAVE", reply.Kind)
	}
}
