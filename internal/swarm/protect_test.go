package swarm

import (
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/cairn-ipfs/cairn/internal/simnet"
	ma "github.com/multiformats/go-multiaddr"
)

// reconnects breaks the connection to a protected peer, and waits for another.
// There may be no event: a peer that is back at once was never disconnected.
func reconnects(t *testing.T, a, b *Swarm, breakConn func()) {
	t.Helper()
	eventually(t, "both are connected", func() bool {
		return a.Peer(b.ID()).Connections > 0 && b.Peer(a.ID()).Connections > 0
	})
	since := a.Peer(b.ID()).Since
	breakConn()
	eventually(t, "there is another connection", func() bool {
		info := a.Peer(b.ID())
		return info.Connections > 0 && info.Since.After(since)
	})
}

// TestProtect: a protected peer is dialled without a call, again when the
// connection is lost, and again after the peer's restart.
func TestProtect(t *testing.T) {
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	a, b := newLocal(t, Config{Redial: time.Millisecond}), newLocal(t, Config{Identity: key})
	id := b.ID()
	await := watch(t, a)
	if err := a.Protect(id); err != nil { // no address is known yet
		t.Fatal(err)
	}
	if peers := a.Peers(); len(peers) != 1 || peers[0].ID != id || !peers[0].Protected || peers[0].Connections != 0 {
		t.Errorf("peers: got %+v, want the protected one", peers)
	}
	for _, addr := range b.AddrInfo().Addrs {
		if err := a.AddAddr(id, addr, SourceUser); err != nil {
			t.Fatal(err)
		}
	}
	await(EventConnected, id)
	for range 3 {
		reconnects(t, a, b, func() {
			if err := b.Disconnect(a.ID()); err != nil {
				t.Fatal(err)
			}
		})
	}

	// The peer restarts at another address.
	b.Close()
	eventually(t, "a dial fails", func() bool { return a.Peer(id).Failure != "" })
	again := newLocal(t, Config{Identity: key})
	if err := a.AddAddr(id, again.AddrInfo().Addrs[0], SourceMDNS); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the peer is back", func() bool { return a.Peer(id).Connections > 0 })

	a.Unprotect(id)
	if a.Peer(id).Protected {
		t.Error("still protected")
	}
	if got := a.net.Connectedness(id); got != network.Connected {
		t.Errorf("after Unprotect: got %v, want still connected", got)
	}
	eventually(t, "the peer has the connection", func() bool { return again.Peer(a.ID()).Connections > 0 })
	again.Disconnect(a.ID())
	eventually(t, "it is disconnected", func() bool { return a.Peer(id).Connections == 0 })
}

// TestProtectReset: a protected peer is redialled after a proxy resets the
// connection.
func TestProtectReset(t *testing.T) {
	b := newLocal(t, Config{})
	port, err := b.net.ListenAddresses()[0].ValueForProtocol(ma.P_TCP)
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := simnet.NewProxy("127.0.0.1:"+port, simnet.Link{RTT: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	a := newLocal(t, Config{Redial: time.Millisecond})
	if err := a.AddAddr(b.ID(), multiaddr(t, proxy.Addr()), SourceUser); err != nil {
		t.Fatal(err)
	}
	if err := a.Protect(b.ID()); err != nil {
		t.Fatal(err)
	}
	// The second connection may bypass the proxy: the peer has sent its address.
	reconnects(t, a, b, proxy.Cut)
}

// TestProtectTrim: trimming doesn't close connections to protected peers.
func TestProtectTrim(t *testing.T) {
	a := newLocal(t, Config{Connections: 6})
	kept := newLocal(t, Config{})
	if err := a.Protect(kept.ID()); err != nil {
		t.Fatal(err)
	}
	connect(t, a, kept)
	a.trimmer.ForceTrim() // closes nothing
	for range 5 {
		connect(t, a, newLocal(t, Config{}))
	}
	a.trimmer.ForceTrim() // like Prune, but without the grace of new connections
	eventually(t, "some are closed", func() bool { return len(a.net.Conns()) <= 4 })
	if got := a.net.Connectedness(kept.ID()); got != network.Connected {
		t.Errorf("the protected peer: got %v, want %v", got, network.Connected)
	}
}

func TestProtectRefuses(t *testing.T) {
	a := newLocal(t, Config{})
	if err := a.Protect(""); err == nil {
		t.Error("an empty id: got no error")
	}
	if err := a.Protect(a.ID()); err != nil || a.isProtected(a.ID()) {
		t.Errorf("its own id: got %v, protected %v, want nil, false", err, a.isProtected(a.ID()))
	}
	id := newID(t)
	for range 2 {
		if err := a.Protect(id); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		a.Unprotect(id)
	}
}

func TestRedialAfter(t *testing.T) {
	s := newLocal(t, Config{Redial: time.Second})
	for failures, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 11: maxRedial, 10_000: maxRedial} {
		if got := s.redialAfter(failures); got < want*3/4 || got > want*5/4 {
			t.Errorf("after %d failures: got %v, want about %v", failures, got, want)
		}
	}
}
