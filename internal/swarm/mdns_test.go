package swarm

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// TestDiscovered reports peers as mDNS does.
func TestDiscovered(t *testing.T) {
	a, b := newLocal(t, Config{}), newLocal(t, Config{})
	await := watch(t, a)
	d := discoveryHandler{a}
	d.HandlePeerFound(a.AddrInfo())
	d.HandlePeerFound(peer.AddrInfo{ID: b.ID(), Addrs: append([]ma.Multiaddr{loopbackAddr(1)}, b.AddrInfo().Addrs...)})
	await(EventDiscovered, b.ID())
	await(EventConnected, b.ID())
	eventually(t, "the address book has two addresses, one confirmed", func() bool {
		known := a.KnownAddrs(b.ID())
		return len(known) == 2 && known[0].Source == SourceMDNS && !known[0].Confirmed.IsZero()
	})
	if got := a.Known(); len(got) != 1 {
		t.Errorf("known: got %v, want only %s", got, b.ID())
	}
	eventually(t, "no dial runs", func() bool {
		a.mdns.mu.Lock()
		defer a.mdns.mu.Unlock()
		return a.mdns.dialled == 0
	})
	a.Close()
	d.HandlePeerFound(b.AddrInfo()) // after Close it does nothing
}

// TestDiscoveredAgain finds a peer to which the first connection fails, as it may
// when two peers dial each other at the same moment.
func TestDiscoveredAgain(t *testing.T) {
	a, b := newLocal(t, Config{}), newLocal(t, Config{})
	_, theirs, err := manet.DialArgs(b.AddrInfo().Addrs[0])
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	defer running.Wait()
	defer b.Close()
	defer l.Close()
	running.Go(func() {
		for first := true; ; first = false {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if first {
				c.Close()
				continue
			}
			out, err := net.Dial("tcp", theirs)
			if err != nil {
				c.Close()
				continue
			}
			running.Go(func() { io.Copy(out, c); out.Close() })
			running.Go(func() { io.Copy(c, out); c.Close() })
		}
	})
	addr, err := manet.FromNetAddr(l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	await := watch(t, a)
	discoveryHandler{a}.HandlePeerFound(peer.AddrInfo{ID: b.ID(), Addrs: []ma.Multiaddr{addr}})
	await(EventConnected, b.ID())
}

// TestNothingToAnnounce: mDNS doesn't start without an address to announce.
func TestNothingToAnnounce(t *testing.T) {
	s := newLocal(t, Config{Listen: []string{}, MDNS: true})
	if s.mdns.running != nil {
		t.Error("mDNS runs without an address to announce")
	}
}
