package simnet

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
)

func connect(t *testing.T, from, to host.Host) {
	t.Helper()
	if err := from.Connect(context.Background(), peer.AddrInfo{ID: to.ID(), Addrs: to.Addrs()}); err != nil {
		t.Fatal(err)
	}
}

// TestNetRTT pings under synctest, where time is exact except for the time that
// sending the packets takes.
func TestNetRTT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rtt = 40 * time.Millisecond
		n := New(Link{RTT: rtt, Bandwidth: 1_000_000_000})
		defer n.Close()
		a, b := n.Host(t), n.Host(t)
		defer b.Close()
		defer a.Close()
		connect(t, a, b)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		for range 3 {
			result := <-ping.Ping(ctx, a, b.ID())
			if result.Error != nil {
				t.Fatal(result.Error)
			}
			if result.RTT < rtt || result.RTT > rtt+rtt/20 {
				t.Errorf("round trip: got %v, want %v", result.RTT, rtt)
			}
		}
	})
}

// TestNetBandwidth sends 4 MB over 40 Mbit/s, which takes 0.8 s and the time of
// QUIC's headers.
func TestNetBandwidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(Link{RTT: 10 * time.Millisecond, Bandwidth: 40_000_000})
		defer n.Close()
		a, b := n.Host(t), n.Host(t)
		defer b.Close()
		defer a.Close()
		const size = 4_000_000
		took := make(chan time.Duration)
		start := time.Now()
		b.SetStreamHandler("/sink", func(s network.Stream) {
			io.Copy(io.Discard, s)
			took <- time.Since(start)
			s.Close()
		})
		connect(t, a, b)
		s, err := a.NewStream(context.Background(), b.ID(), "/sink")
		if err != nil {
			t.Fatal(err)
		}
		start = time.Now()
		if _, err := s.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		s.CloseWrite()
		got, exact := <-took, size*8*time.Second/40_000_000
		if got < exact || got > exact*3/2 {
			t.Errorf("got %v, want %v to %v", got, exact, exact*3/2)
		}
		t.Logf("%d bytes took %v; the link needs %v", size, got, exact)
		s.Close()
	})
}

// TestNetWithoutBubble runs in real time, with many hosts.
func TestNetWithoutBubble(t *testing.T) {
	n := New(Link{})
	t.Cleanup(n.Close)
	hub := n.Host(t)
	for range 8 {
		connect(t, n.Host(t), hub)
	}
	if got, want := len(hub.Network().Peers()), 8; got != want {
		t.Errorf("peers: got %d, want %d", got, want)
	}
}
