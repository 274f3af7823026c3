package swarm

import (
	"context"
	"slices"
	"testing"

	"github.com/cairn-ipfs/cairn/internal/simnet"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	ma "github.com/multiformats/go-multiaddr"
)

// TestHolePunching has two swarms behind firewalls that admit only answers. One
// finds relays among its peers and announces addresses at them, the other dials it
// through a relay, and in the end they have a direct connection: each dials the
// other at the same time, so that both firewalls take the other's packets for
// answers.
func TestHolePunching(t *testing.T) {
	walls := simnet.NewFirewalls()
	t.Cleanup(func() {
		if err := walls.Close(); err != nil {
			t.Error(err)
		}
	})
	var relays []host.Host
	for range 4 { // AutoRelay waits for four before it chooses
		listen, quic := walls.AddHost(true)
		h, err := libp2p.New(quic, libp2p.ListenAddrStrings(listen), libp2p.Transport(libp2pquic.NewTransport),
			libp2p.DisableMetrics(), libp2p.DisableRelay())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() })
		if _, err := relay.New(h); err != nil {
			t.Fatal(err)
		}
		relays = append(relays, h)
	}
	walled := func(known ...host.Host) *Swarm { // closed before the relays, as in TestRelay
		listen, quic := walls.AddHost(false)
		s := newWorld(t, Config{Listen: []string{listen}, simulated: quic})
		hide(t, s)
		for _, h := range known {
			if err := s.Connect(testContext(t), infoOf(h)); err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	a, b, stranger := walled(relays...), walled(relays...), walled()
	var direct, relayed []ma.Multiaddr
	eventually(t, "the swarm announces an address at a relay", func() bool {
		direct, relayed = nil, nil
		for _, addr := range b.AddrInfo().Addrs {
			if isDirect(addr) {
				direct = append(direct, addr)
			} else {
				relayed = append(relayed, addr)
			}
		}
		return len(relayed) > 0
	})
	if len(direct) == 0 {
		t.Fatalf("addresses: got %v, want a direct one, too", relayed)
	}

	// Its direct address can't be reached.
	before := walls.Dropped()
	ctx, cancel := context.WithCancel(testContext(t))
	failed := make(chan error, 1)
	go func() { failed <- stranger.Connect(ctx, peer.AddrInfo{ID: b.ID(), Addrs: direct}) }()
	eventually(t, "the firewall drops a packet", func() bool { return walls.Dropped() > before })
	cancel()
	if err := <-failed; err == nil {
		t.Fatal("a stranger connected through the firewall")
	}

	for _, s := range []*Swarm{a, b} {
		eventually(t, "hole punching has started", func() bool {
			return slices.Contains(s.host.Mux().Protocols(), holepunch.Protocol)
		})
	}
	if err := a.Connect(testContext(t), peer.AddrInfo{ID: b.ID(), Addrs: relayed}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Swarm{a, b} {
		other := a
		if s == a {
			other = b
		}
		eventually(t, "there is a direct connection", func() bool {
			p := s.Peer(other.ID())
			return p.Connections > 0 && !p.Relayed
		})
		if _, err := s.Peer(other.ID()).Addr.ValueForProtocol(ma.P_QUIC_V1); err != nil {
			t.Errorf("got a connection to %s, want one over QUIC", s.Peer(other.ID()).Addr)
		}
	}
}
