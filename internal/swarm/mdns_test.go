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

// TestDiscovered is told of peers as mDNS does it.
func TestDiscovered(t *testing.T) {
	a, b := local(t, Config{}), local(t, Config{})
	await := watch(t, a)
	d := discovery{a}
	d.HandlePeerFound(a.AddrInfo())
	d.HandlePeerFound(peer.AddrInfo{ID: b.ID(), Addrs: append([]ma.Multiaddr{at(1)}, b.AddrInfo().Addrs...)})
	await(EventDiscovered, b.ID())
	await(EventConnected, b.ID())
	eventually(t, "the address book has two addresses, one confirmed", func() bool {
		known := a.KnownAddrs(b.ID())
		return len(known) == 2 && known[0].Source == SourceMDNS && !known[0].Confirmed.IsZero()
	})
	if got := a.Known(); len(got) != 1 {
		t.Errorf("known: got %v, want %s alone", got, b.ID())
	}
	eventually(t, "no dial is left", func() bool {
		a.mdns.mu.Lock()
		defer a.mdns.mu.Unlock()
		return a.mdns.dialled == 0
	})
	a.Close()
	d.HandlePeerFound(b.AddrInfo()) // late, and nothing happens
}

// TestDiscoveredAgain finds a peer with which the first connection comes to
// nothing, as it does where two dial each other at the same moment.
func TestDiscoveredAgain(t *testing.T) {
	a, b := local(t, Config{}), local(t, Config{})
	_, theirs, err := manet.DialArgs(b.AddrInfo().Addrs[0])
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var passing sync.WaitGroup
	defer passing.Wait()
	defer b.Close()
	defer l.Close()
	passing.Go(func() {
		for first := true; ; first = false {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if first {
				c.Close()
				continue
			}
			on, err := net.Dial("tcp", theirs)
			if err != nil {
				c.Close()
				continue
			}
			passing.Go(func() { io.Copy(on, c); on.Close() })
			passing.Go(func() { io.Copy(c, on); c.Close() })
		}
	})
	addr, err := manet.FromNetAddr(l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	await := watch(t, a)
	discovery{a}.HandlePeerFound(peer.AddrInfo{ID: b.ID(), Addrs: []ma.Multiaddr{addr}})
	await(EventConnected, b.ID())
}

// TestNothingToAnnounce: mDNS without an address to announce isn't begun.
func TestNothingToAnnounce(t *testing.T) {
	s := local(t, Config{Listen: []string{}, MDNS: true})
	if s.mdns.running != nil {
		t.Error("mDNS runs, with no address to announce")
	}
}
