package routing

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// TestOutage: CIDs added during an outage of hours are announced soon after it,
// not a day later.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := &simNet{rtt: simRTT, hosts: make(map[peer.ID]*simHost)}
		servers, _ := simServers(t, net, 8)
		defer closeSim(t, servers)
		h := net.newHost(t)
		defer h.Close()
		l := &listing{}
		old := newCIDs(t, 3)
		l.set(old, nil)
		r, err := New(t.Context(), Config{
			Host: h, Mode: ModeClient, Providing: Providing{List: l.all},
			Bootstrap: []peer.AddrInfo{{ID: servers[0].host.id, Addrs: servers[0].host.Addrs()}},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		time.Sleep(time.Hour)
		if s := stats(t, r); s.Announced < int64(len(old)) {
			t.Fatalf("got %+v, want %d announced", s, len(old))
		}

		before, after := newCIDs(t, 3), newCIDs(t, 3)
		h.goOffline()
		queue := func(fresh []cid.Cid) {
			l := &listing{}
			l.set(fresh, nil)
			if err := r.Add(t.Context(), l.all); err != nil {
				t.Fatal(err)
			}
		}
		queue(before)
		time.Sleep(4 * time.Hour)
		if s := stats(t, r); s.Online {
			t.Fatalf("got %+v, want it to be offline", s)
		}
		queue(after)
		h.mu.Lock()
		h.down = false
		h.mu.Unlock()
		time.Sleep(time.Hour)
		for _, c := range slices.Concat(before, after) {
			found, err := servers[3].dht.FindProviders(t.Context(), c)
			if err != nil || len(found) != 1 {
				t.Errorf("got %v, %v, want one provider an hour after the outage", found, err)
			}
		}
		// The queue that waits for a network is bounded.
		h.goOffline()
		for range 2 {
			queue(newCIDs(t, refreshBurst/2+refreshBatch))
		}
		if s := stats(t, r); s.Pending < refreshBurst || s.Pending > refreshBurst+refreshBatch {
			t.Errorf("got %d pending, want %d to %d", s.Pending, refreshBurst, refreshBurst+refreshBatch)
		}
	})
}
