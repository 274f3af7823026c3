package names

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/cairn-ipfs/cairn/internal/simnet"
)

// TestJoinOnDemand: Names starts its network with the first lookup that needs
// it, and not before.
func TestJoinOnDemand(t *testing.T) {
	state, store := &memoryState{}, &memoryStore{}
	down := errors.New("the line is down")
	var asked atomic.Int64
	var up atomic.Bool
	var once sync.Once
	var n *Names
	n = newNames(t, Config{State: state, StartNetwork: func(context.Context) error {
		asked.Add(1)
		if !up.Load() {
			return down
		}
		var err error
		once.Do(func() { err = n.Join(Network{Stores: []ValueStore{store}}) })
		return err
	}})
	key, name := newKey(t)
	r, err := n.Publish(t.Context(), key, Publication{Value: pathA})
	if !errors.Is(err, ErrNotSent) || !errors.Is(err, down) || r == nil {
		t.Fatalf("Publish: got %v, %v, want a record and ErrNotSent", r, err)
	}
	before := asked.Load()
	got, err := n.Resolve(t.Context(), "/ipns/"+name.String()+"/a")
	if err != nil || got.Path != pathA+"/a" || len(got.Steps) != 1 || got.Steps[0].From != FromHere || got.Steps[0].Confirmed.IsZero() {
		t.Errorf("Resolve of what is here: got %+v, %v", got, err)
	}
	if after := asked.Load(); after != before {
		t.Error("Resolve of a local name started the network")
	}
	other, otherName := newKey(t)
	if _, err := n.Resolve(t.Context(), "/ipns/"+otherName.String()); !errors.Is(err, ErrNotFound) || !errors.Is(err, down) {
		t.Errorf("Resolve without a network: got %v, want ErrNotFound and the reason", err)
	}

	up.Store(true)
	store.add(otherName, mustRecord(t, other, Fields{Value: pathB}).Bytes())
	got, err = n.Resolve(t.Context(), "/ipns/"+otherName.String())
	if err != nil || got.Path != pathB || got.Steps[0].From != "memory" {
		t.Errorf("Resolve with one: got %+v, %v", got, err)
	}
	// The record published before is sent.
	for d := range n.listDue(time.Now()) {
		if err := n.republish(t.Context(), d); err != nil {
			t.Errorf("Republish: %v", err)
		}
	}
	if taken := store.received(); len(taken) != 1 || string(taken[0]) != string(r.Bytes()) {
		t.Errorf("sent: got %d records, want the one", len(taken))
	}
	if err := n.Join(Network{}); err == nil {
		t.Error("joined twice")
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.Join(Network{}); !errors.Is(err, ErrClosed) {
		t.Errorf("Join after Close: got %v, want ErrClosed", err)
	}
	// After a restart the state has it.
	again := newNames(t, Config{State: state})
	if got, err := again.Resolve(t.Context(), "/ipns/"+name.String()); err != nil || got.Steps[0].From != FromState {
		t.Errorf("after a restart: got %+v, %v", got, err)
	}
}

// TestNoSource: a lookup without any source fails at once.
func TestNoSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNames(t, Config{})
		_, name := newKey(t)
		checkDuration(t, time.Millisecond, func() {
			if _, err := n.Resolve(t.Context(), "/ipns/"+name.String()); !errors.Is(err, ErrNotFound) || !errors.Is(err, errNoSource) {
				t.Errorf("got %v, want ErrNotFound and errNoSource", err)
			}
		})
		silent := errors.New("all are silent")
		n = newNames(t, Config{AwaitBootstrap: func(context.Context) error { return silent }})
		if _, err := n.Resolve(t.Context(), "/ipns/"+name.String()); !errors.Is(err, errNoSource) || !errors.Is(err, silent) {
			t.Errorf("the bootstrap failed: got %v, want errNoSource and the bootstrap's error", err)
		}
	})
}

// TestRoundTrips resolves a name whose publisher is connected, 50 ms away. That
// takes two round trips at most: one for the query, and one for the negotiation
// of the protocol.
func TestRoundTrips(t *testing.T) {
	const rtt = 50 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		line := simnet.New(simnet.Link{RTT: rtt})
		defer line.Close()
		there, here := line.Host(t), line.Host(t)
		alice, err := New(t.Context(), Config{Network: Network{Host: there}})
		if err != nil {
			t.Fatal(err)
		}
		bob, err := New(t.Context(), Config{Network: Network{Host: here}})
		if err != nil {
			t.Fatal(err)
		}
		key, name := newKey(t)
		want, err := alice.Publish(t.Context(), key, Publication{Value: pathA})
		if !errors.Is(err, ErrNotSent) {
			t.Fatal(err)
		}
		here.Peerstore().AddAddrs(there.ID(), there.Addrs(), time.Hour)
		if _, err := here.Network().DialPeer(t.Context(), there.ID()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // of the bubble: identify has ended
		begin := time.Now()
		got, err := bob.Resolve(t.Context(), "/ipns/"+name.String())
		if took := time.Since(begin); took > 2*rtt {
			t.Errorf("it took %v, want %v at most", took, 2*rtt)
		} else {
			t.Logf("it took %v", took)
		}
		if err != nil || got.Path != pathA || !strings.HasPrefix(got.Steps[0].From, fromPeer+there.ID().String()) {
			t.Errorf("got %+v, %v, want %s", got, err, pathA)
		}
		wantRecord(t, "the record", got.Steps[0].Record, err, want)
		checkDuration(t, time.Millisecond, func() {
			if _, err := bob.Resolve(t.Context(), "/ipns/"+name.String()); err != nil {
				t.Error(err)
			}
		})
		for _, close := range []func() error{bob.Close, alice.Close, here.Close, there.Close} {
			if err := close(); err != nil {
				t.Error(err)
			}
		}
		line.Close()
	})
}

// TestRepublishWithoutKey: a record whose key is gone is republished until it
// expires, no more often than others.
func TestRepublishWithoutKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, _ := newKey(t)
		store := &memoryStore{}
		n := newNames(t, Config{
			Network: Network{Stores: []ValueStore{store}},
			Key:     func(Name) (crypto.PrivKey, error) { return nil, ErrNotFound },
		})
		mine, err := n.Publish(t.Context(), key, Publication{Value: pathA, Lifetime: 4 * 24 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- n.Run(ctx) }()
		time.Sleep(10 * 24 * time.Hour)
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
		taken := store.received()
		for _, raw := range taken {
			if string(raw) != string(mine.Bytes()) {
				t.Error("something else was sent")
			}
		}
		// At once, and then every 12 hours for four days.
		if len(taken) < 7 || len(taken) > 9 {
			t.Errorf("it was sent %d times, want 8", len(taken))
		}
	})
}

// TestLookupLatestSeesNewRecord calls LookupLatest during a lookup that queried
// the store before it had the record.
func TestLookupLatestSeesNewRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, name := newKey(t)
		first, second := mustRecord(t, key, Fields{Sequence: 1}), mustRecord(t, key, Fields{Sequence: 2})
		store := &memoryStore{}
		store.add(name, first.Bytes())
		silent := &hangingStore{} // each lookup lasts until its time is up
		n := newNames(t, Config{Network: Network{Stores: []ValueStore{store, silent}}})
		got, err := n.Lookup(t.Context(), name)
		wantRecord(t, "Record", got, err, first)
		store.clear(name)
		store.add(name, second.Bytes())
		got, err = n.LookupLatest(t.Context(), name)
		wantRecord(t, "Latest", got, err, second)
	})
}
