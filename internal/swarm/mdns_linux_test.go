package swarm

import (
	"testing"

	ma "github.com/multiformats/go-multiaddr"
)

// TestMDNS has swarms find each other. mDNS asks all of the local network, and
// loopback usually has no multicast: so the test runs in a network namespace, with
// a loopback that has multicast.
func TestMDNS(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	raise(t, "lo")
	a, quiet := newLocal(t, Config{MDNS: true}), newLocal(t, Config{})
	await := watch(t, a)
	b := newLocal(t, Config{MDNS: true})
	await(EventDiscovered, b.ID())
	eventually(t, "they are connected", func() bool { return a.Peer(b.ID()).Connections > 0 })
	if known := a.KnownAddrs(b.ID()); len(known) == 0 {
		t.Error("address book: got no address of the discovered peer")
	}

	// A new address is announced, too, and a swarm that starts later finds it. That
	// swarm has banned b, so it can't learn the address from b itself.
	if err := b.ListenOn(onQUIC); err != nil {
		t.Fatal(err)
	}
	banned, err := encodeRecord(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	store := new(testRows)
	store.set(b.ID(), banned)
	c := newLocal(t, Config{MDNS: true, State: store})
	eventually(t, "the new address is found", func() bool {
		for _, known := range c.KnownAddrs(b.ID()) {
			if _, err := known.Addr.ValueForProtocol(ma.P_QUIC_V1); err == nil && known.Source == SourceMDNS {
				return true
			}
		}
		return false
	})
	eventually(t, "the others are connected", func() bool {
		return a.Peer(c.ID()).Connections > 0 && c.Peer(a.ID()).Connections > 0
	})
	if got := len(quiet.Peers()); got != 0 {
		t.Errorf("a swarm without mDNS has %d peers, want none", got)
	}
}
