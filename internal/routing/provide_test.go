package routing

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cairn-ipfs/cairn/internal/rows"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// A listing is a List that a test can change.
type listing struct {
	mu   sync.Mutex // guards the following
	cids []cid.Cid
	err  error
}

func (l *listing) set(cids []cid.Cid, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cids, l.err = cids, err
}

func (l *listing) all(context.Context) iter.Seq2[cid.Cid, error] {
	l.mu.Lock()
	defer l.mu.Unlock()
	cids, err := l.cids, l.err
	return func(yield func(cid.Cid, error) bool) {
		for _, c := range cids {
			if !yield(c, nil) {
				return
			}
		}
		if err != nil {
			yield(cid.Undef, err)
		}
	}
}

func newCIDs(t testing.TB, n int) []cid.Cid {
	all := make([]cid.Cid, n)
	for i := range all {
		all[i] = newCID(t)
	}
	return all
}

// stats returns the statistics of announcing.
func stats(t testing.TB, r *Router) Stats {
	t.Helper()
	s, err := r.Stats(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s server) knows(t testing.TB, c cid.Cid, id peer.ID) bool {
	t.Helper()
	found, err := s.dht.FindProviders(testContext(t), c)
	return err == nil && slices.ContainsFunc(found, func(p peer.AddrInfo) bool { return p.ID == id })
}

func TestSweep(t *testing.T) {
	servers := newServers(t, 20)
	host, store := newSwarm(t).Host(), new(rows.Memory)
	cids := newCIDs(t, 300)
	l := &listing{}
	l.set(cids, nil)
	config := Config{
		Host: host, Mode: ModeClient, Bootstrap: bootstrapInfos(servers), State: store,
		Providing: Providing{List: l.all},
	}
	r := newRouter(t, config)
	eventually(t, "everything is announced", func() bool { return stats(t, r).Announced >= int64(len(cids)) })
	for _, c := range cids[:5] {
		if !servers[9].knows(t, c, host.ID()) {
			t.Errorf("got no record of %s, want one", c)
		}
	}
	// When Provide returns, a new root is announced. It stays announced after a
	// Refresh that lists it.
	root := newCID(t)
	if err := r.Provide(testContext(t), root); err != nil {
		t.Fatal(err)
	}
	if !servers[4].knows(t, root, host.ID()) {
		t.Error("got no record of the new root, want one")
	}
	if s := stats(t, r); s.Records != int64(len(cids))+1 || !s.Online || s.Interval != 22*time.Hour {
		t.Errorf("got %+v, want %d records, online", s, len(cids)+1)
	}
	// A list that fails removes nothing; a shorter list does.
	broken := errors.New("the list failed")
	l.set(cids[:10], broken)
	if err := r.Refresh(testContext(t)); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	if s := stats(t, r); s.Records != int64(len(cids))+1 {
		t.Errorf("got %d records after a list that failed, want %d", s.Records, len(cids)+1)
	}
	l.set(append(cids[:9:9], root), nil)
	if err := r.Refresh(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if s := stats(t, r); s.Records != 10 {
		t.Errorf("got %d records, want the 10 that are listed", s.Records)
	}
	if err := r.Unprovide(testContext(t), root); err != nil {
		t.Fatal(err)
	}
	if s := stats(t, r); s.Records != 9 {
		t.Errorf("got %d records, want 9", s.Records)
	}
	// After a restart the keystore is known without the list.
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	config.Providing = Providing{}
	r = newRouter(t, config)
	if s := stats(t, r); s.Records != 9 {
		t.Errorf("got %d records after a restart, want 9", s.Records)
	}
}

// TestProvideOffline: a CID that could not be announced is announced as soon as
// there is a network.
func TestProvideOffline(t *testing.T) {
	host, store := newSwarm(t).Host(), new(rows.Memory)
	r := newRouter(t, Config{Host: host, Mode: ModeClient, State: store})
	c := newCID(t)
	if err := r.Provide(testContext(t), c); !errors.Is(err, ErrNoPeers) {
		t.Errorf("got %v, want %v", err, ErrNoPeers)
	}
	if s := stats(t, r); s.Records != 1 || s.Online || s.Fits {
		t.Errorf("got %+v, want one record, not Online, not Fits", s)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	servers := newServers(t, 5)
	r = newRouter(t, Config{Host: host, Mode: ModeClient, State: store, Bootstrap: bootstrapInfos(servers)})
	eventually(t, "announced", func() bool { return servers[2].knows(t, c, host.ID()) })
	eventually(t, "measured", func() bool { return stats(t, r).SweepTakes > 0 })
	if s := stats(t, r); !s.Fits || s.Visited < 1 || s.Regions < 1 {
		t.Errorf("got %+v, want a sweep that fits", s)
	}
}

func TestInvalidConfig(t *testing.T) {
	for m := ModeAuto; m <= ModeNone; m++ {
		if got, err := ParseMode(m.String()); err != nil || got != m {
			t.Errorf("got %v, %v, want %v", got, err, m)
		}
	}
	if _, err := ParseMode("x"); err == nil {
		t.Error("got no error for an invalid mode, want one")
	}
	for _, c := range []Config{{}, {Host: newSwarm(t).Host(), Mode: ModeNone + 1}} {
		if r, err := New(testContext(t), c); err == nil {
			r.Close()
			t.Errorf("got no error for %+v, want one", c)
		}
	}
}
