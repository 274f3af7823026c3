package swarm

import (
	"testing"

	ma "github.com/multiformats/go-multiaddr"
)

// TestMDNS has swarms find each other. mDNS speaks to all of the local network,
// and loopback has no multicast, as a rule: so the test runs in a network that is
// a loopback of its own, with multicast.
func TestMDNS(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	raise(t, "lo")
	a, quiet := local(t, Config{MDNS: true}), local(t, Config{})
	await := watch(t, a)
	b := local(t, Config{MDNS: true})
	await(EventDiscovered, b.ID())
	eventually(t, "they are connected", func() bool { return a.Peer(b.ID()).Connections > 0 })
	if known := a.KnownAddrs(b.ID()); len(known) == 0 {
		t.Error("address book: got nothing of the peer that was found")
	}

	// One more address is announced, too, and who begins later finds both. That one
	// never speaks to b, which could tell it otherwise.
	if err := b.ListenOn(onQUIC); err != nil {
		t.Fatal(err)
	}
	banned, err := encodeRecord(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	store := newMemory()
	store.records[b.ID()] = banned
	c := local(t, Config{MDNS: true, Addresses: store})
	eventually(t, "the new address is heard of", func() bool {
		for _, known := range c.KnownAddrs(b.ID()) {
			if _, err := known.Addr.ValueForProtocol(ma.P_QUIC_V1); err == nil && known.Source == SourceMDNS {
				return true
			}
		}
		return false
	})
	eventually(t, "the others know each other", func() bool {
		return a.Peer(c.ID()).Connections > 0 && c.Peer(a.ID()).Connections > 0
	})
	if got := len(quiet.Peers()); got != 0 {
		t.Errorf("a swarm without mDNS was found by %d", got)
	}
}
