package names

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
)

func TestPublishAndResolve(t *testing.T) {
	store := &memoryStore{}
	key, name := newKey(t)
	alice := newNames(t, Config{Network: Network{Stores: []ValueStore{store}}})
	bob := newNames(t, Config{Network: Network{Stores: []ValueStore{store}}})
	for i, value := range []string{pathA, pathB, pathB} {
		r, err := alice.Publish(t.Context(), key, Publication{Value: value, Metadata: map[string]any{"_n": i}})
		if err != nil || r.Sequence() != uint64(i) {
			t.Fatalf("Publish %d: got sequence %v, %v", i, r, err)
		}
		if r.TTL() != DefaultTTL || time.Until(r.Validity()) < DefaultLifetime-time.Minute {
			t.Errorf("Publish: got a TTL of %v until %v, want the defaults", r.TTL(), r.Validity())
		}
		got, err := bob.LookupLatest(t.Context(), name)
		wantRecord(t, "Latest", got, err, r)
		got, err = bob.Lookup(t.Context(), name)
		wantRecord(t, "Record", got, err, r)
		resolution, err := bob.Resolve(t.Context(), "/ipns/"+name.Peer().String()+"/a/b")
		if err != nil || resolution.Path != value+"/a/b" || resolution.TTL <= 0 || resolution.TTL > DefaultTTL || len(resolution.Steps) != 1 {
			t.Errorf("Resolve: got %+v, %v", resolution, err)
		}
	}
	if _, err := alice.Publish(t.Context(), key, Publication{Value: "/ipns/" + name.CID().String()}); !errors.Is(err, ErrTooDeep) {
		t.Errorf("Publish of itself: got %v, want ErrTooDeep", err)
	}
	for what, p := range map[string]Publication{
		"no path": {Value: "x"}, "lifetime": {Value: pathA, Lifetime: -1}, "long lifetime": {Value: pathA, Lifetime: 1 << 62},
		"metadata": {Value: pathA, Metadata: map[string]any{"x": 1}},
	} {
		if _, err := alice.Publish(t.Context(), key, p); !errors.Is(err, ErrInvalid) {
			t.Errorf("Publish, %s: got %v, want ErrInvalid", what, err)
		}
	}
}

// TestPublishAbove publishes with a key that another node uses, too.
func TestPublishAbove(t *testing.T) {
	key, name := newKey(t)
	state, store := &memoryState{}, &memoryStore{}
	store.add(name, mustRecord(t, key, Fields{Sequence: 7}).Bytes(),
		mustRecord(t, key, Fields{Sequence: 12, Validity: time.Now().Add(-time.Minute)}).Bytes())
	n := newNames(t, Config{Network: Network{Stores: []ValueStore{store}}, State: state})
	r, err := n.Publish(t.Context(), key, Publication{Value: pathA})
	if err != nil || r.Sequence() != 13 {
		t.Fatalf("Publish: got %v, %v, want the sequence 13, above an expired one", r, err)
	}
	for _, sequence := range []uint64{1, 13} {
		if _, err := n.Publish(t.Context(), key, Publication{Value: pathA, Sequence: sequence}); !errors.Is(err, ErrRollback) {
			t.Errorf("Publish with sequence %d: got %v, want ErrRollback", sequence, err)
		}
	}
	if r, err = n.Publish(t.Context(), key, Publication{Value: pathA, Sequence: 20}); err != nil || r.Sequence() != 20 {
		t.Errorf("Publish with sequence 20: got %v, %v", r, err)
	}

	// After a restart, without a network, the state has the sequence.
	again := newNames(t, Config{State: state})
	if r, err = again.Publish(t.Context(), key, Publication{Value: pathB, Offline: true}); err != nil || r.Sequence() != 21 {
		t.Errorf("Publish after a restart: got %v, %v, want 21", r, err)
	}
	if _, err := again.Publish(t.Context(), key, Publication{Value: pathB, Sequence: MaxSequence}); !errors.Is(err, ErrNotSent) {
		t.Fatalf("Publish without a network: got %v, want ErrNotSent", err)
	}
	if _, err := again.Publish(t.Context(), key, Publication{Value: pathB}); !errors.Is(err, ErrRollback) {
		t.Errorf("Publish after the last sequence: got %v, want ErrRollback", err)
	}
}

func TestPublishIsDurableFirst(t *testing.T) {
	key, _ := newKey(t)
	state, store := &memoryState{fail: errors.New("disk full")}, &memoryStore{}
	n := newNames(t, Config{Network: Network{Stores: []ValueStore{store}}, State: state})
	if _, err := n.Publish(t.Context(), key, Publication{Value: pathA}); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("Publish: got %v, want the disk's error", err)
	}
	if got := store.received(); len(got) != 0 {
		t.Errorf("%d records were sent, want none", len(got))
	}
	state.fail = nil
	store.fail = errors.New("no route")
	r, err := n.Publish(t.Context(), key, Publication{Value: pathA})
	if !errors.Is(err, ErrNotSent) || r == nil || state.count() != 1 {
		t.Errorf("Publish with a failing store: got %v, %v, want the record and ErrNotSent", r, err)
	}
}

// TestLookupRefuses looks up names that have only bad records.
func TestLookupRefuses(t *testing.T) {
	key, name := newKey(t)
	mallory, _ := newKey(t)
	for what, tt := range map[string]struct {
		raw  []byte
		want error
	}{
		"nothing":     {nil, nil},
		"expired":     {mustRecord(t, key, Fields{Validity: time.Unix(1, 0)}).Bytes(), ErrExpired},
		"wrong key":   {mustRecord(t, mallory, Fields{}).Bytes(), ErrInvalid},
		"oversized":   {make([]byte, MaxRecord+1), ErrInvalid},
		"noise":       {[]byte("noise"), ErrInvalid},
		"no network":  {nil, context.DeadlineExceeded},
		"all at once": {[]byte("noise"), ErrInvalid},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				state, store := &memoryState{}, &memoryStore{}
				stores := []ValueStore{store}
				if tt.raw != nil {
					store.add(name, tt.raw)
				}
				if what == "no network" || what == "all at once" {
					stores = append(stores, &hangingStore{}, noisyStore{[]byte("noise")})
				}
				if tt.want == context.DeadlineExceeded {
					stores = []ValueStore{&hangingStore{}}
				}
				n := newNames(t, Config{Network: Network{Stores: stores}, State: state, LookupTime: time.Minute})
				for call, get := range map[string]func(context.Context, Name) (*Record, error){"Record": n.Lookup, "Latest": n.LookupLatest} {
					checkDuration(t, time.Minute, func() {
						_, err := get(t.Context(), name)
						if !errors.Is(err, ErrNotFound) || tt.want != nil && !errors.Is(err, tt.want) {
							t.Errorf("%s: got %v, want ErrNotFound and %v", call, err, tt.want)
						}
					})
				}
				if state.count() != 0 {
					t.Errorf("the state has %d rows, want none", state.count())
				}
				// A good record is still accepted.
				good := mustRecord(t, key, Fields{Sequence: 1})
				got, err := n.Put(t.Context(), name, good.Bytes())
				if errors.Is(err, ErrNotSent) {
					err = nil
				}
				wantRecord(t, "Put", got, err, good)
				got, err = n.Lookup(t.Context(), name)
				wantRecord(t, "Record", got, err, good)
			})
		})
	}
}

// TestHangingStore: answers come in time although a store hangs and ignores its
// context.
func TestHangingStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, name := newKey(t)
		r := mustRecord(t, key, Fields{Sequence: 3, TTL: time.Minute})
		_, other := newKey(t)
		deaf := &hangingStore{raw: [][]byte{r.Bytes()}, release: make(chan struct{})}
		n, err := New(t.Context(), Config{Network: Network{Stores: []ValueStore{deaf}}, LookupTime: 30 * time.Second, SendTime: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		checkDuration(t, 0, func() {
			got, err := n.Lookup(t.Context(), name)
			wantRecord(t, "Record", got, err, r)
		})
		checkDuration(t, 30*time.Second, func() {
			got, err := n.LookupLatest(t.Context(), name)
			wantRecord(t, "Latest", got, err, r)
		})
		checkDuration(t, 30*time.Second, func() {
			if _, err := n.Lookup(t.Context(), other); !errors.Is(err, ErrNotFound) {
				t.Errorf("Record: got %v, want ErrNotFound", err)
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		checkDuration(t, time.Second, func() {
			if _, err := n.LookupLatest(ctx, other); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Latest: got %v, want the context's error", err)
			}
		})
		checkDuration(t, 35*time.Second, func() {
			if r, err := n.Publish(t.Context(), key, Publication{Value: pathA}); !errors.Is(err, ErrNotSent) || r.Sequence() != 4 {
				t.Errorf("Publish: got %v, %v, want sequence 4 and ErrNotSent", r, err)
			}
		})
		close(deaf.release)
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if _, err := n.Lookup(t.Context(), other); !errors.Is(err, ErrClosed) {
			t.Errorf("Record after Close: got %v, want ErrClosed", err)
		}
	})
}

// TestRollback: the highest sequence survives a restart.
func TestRollback(t *testing.T) {
	key, name := newKey(t)
	older, newer := mustRecord(t, key, Fields{Sequence: 4}), mustRecord(t, key, Fields{Sequence: 5})
	state, store := &memoryState{}, &memoryStore{}
	store.add(name, newer.Bytes())
	n := newNames(t, Config{Network: Network{Stores: []ValueStore{store}}, State: state})
	got, err := n.Lookup(t.Context(), name)
	wantRecord(t, "Record", got, err, newer)

	store.clear(name)
	store.add(name, older.Bytes())
	for _, n := range []*Names{n, newNames(t, Config{Network: Network{Stores: []ValueStore{store}}, State: state})} {
		_, err := n.Put(t.Context(), name, older.Bytes())
		if !errors.Is(err, ErrRollback) || !strings.Contains(err.Error(), "sequence 4") || !strings.Contains(err.Error(), "5") {
			t.Errorf("Put: got %v, want ErrRollback with both sequences", err)
		}
		got, err := n.LookupLatest(t.Context(), name)
		wantRecord(t, "Latest", got, err, newer)
	}
	if err := n.Forget(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	got, err = n.LookupLatest(t.Context(), name)
	wantRecord(t, "Latest after Forget", got, err, older)
}

// TestRollbackAfterExpiry: the lower sequence is refused even after the record
// with the higher one expired.
func TestRollbackAfterExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, name := newKey(t)
		state, store := &memoryState{}, &memoryStore{}
		store.add(name, mustRecord(t, key, Fields{Sequence: 5, Validity: time.Now().Add(time.Hour)}).Bytes())
		n := newNames(t, Config{Network: Network{Stores: []ValueStore{store}}, State: state})
		if _, err := n.Lookup(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		store.add(name, mustRecord(t, key, Fields{Sequence: 4, Validity: time.Now().Add(time.Hour)}).Bytes())
		if _, err := n.Lookup(t.Context(), name); !errors.Is(err, ErrNotFound) || !errors.Is(err, ErrRollback) {
			t.Errorf("Record: got %v, want ErrNotFound and ErrRollback", err)
		}
	})
}

// TestFreshness follows a record from fresh to expired.
func TestFreshness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, name := newKey(t)
		old := mustRecord(t, key, Fields{Sequence: 1, TTL: 10 * time.Minute, Validity: time.Now().Add(24 * time.Hour)})
		new := mustRecord(t, key, Fields{Sequence: 2, TTL: 10 * time.Minute, Validity: time.Now().Add(24 * time.Hour)})
		store := &memoryStore{}
		n := newNames(t, Config{Network: Network{Stores: []ValueStore{store}}})
		searched := 0
		want := func(what string, record *Record, searches int) {
			t.Helper()
			got, err := n.Lookup(t.Context(), name)
			wantRecord(t, what, got, err, record)
			synctest.Wait()
			if got := store.countSearches() - searched; got != searches {
				t.Errorf("%s: %d lookups, want %d", what, got, searches)
			}
			searched = store.countSearches()
		}
		store.add(name, old.Bytes())
		want("first", old, 1)
		want("fresh", old, 0)
		store.add(name, new.Bytes())
		time.Sleep(9 * time.Minute)
		want("still fresh", old, 0)
		time.Sleep(2 * time.Minute)
		want("stale", old, 1)
		want("refreshed", new, 0)

		// Nothing better is found: the next lookup comes only after the TTL.
		time.Sleep(11 * time.Minute)
		want("stale again", new, 1)
		want("fresh again", new, 0)

		// Nothing is found at all: no storm of lookups.
		store.clear(name)
		time.Sleep(11 * time.Minute)
		want("stale, and gone", new, 1)
		want("during the pause", new, 0)
		time.Sleep(refreshPause)
		want("after the pause", new, 1)

		// After staleFor, a read waits for the lookup.
		store.add(name, mustRecord(t, key, Fields{Sequence: 3}).Bytes())
		time.Sleep(2 * time.Hour)
		if got, err := n.Lookup(t.Context(), name); err != nil || got.Sequence() != 2 {
			t.Errorf("out of date, and the record found has expired: got %v, %v", got, err)
		}
		third := mustRecord(t, key, Fields{Sequence: 3})
		store.add(name, third.Bytes())
		searched = store.countSearches()
		want("out of date", third, 1)
	})
}

// TestUnsolicitedIsNotFresh: repeating an old record doesn't suppress lookups.
func TestUnsolicitedIsNotFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, name := newKey(t)
		old, new := mustRecord(t, key, Fields{Sequence: 1, TTL: time.Minute}), mustRecord(t, key, Fields{Sequence: 2})
		store := &memoryStore{}
		store.add(name, new.Bytes())
		n := newNames(t, Config{Network: Network{Stores: []ValueStore{store}}})
		for range 4 {
			if _, err := n.Put(t.Context(), name, old.Bytes()); err != nil {
				t.Fatal(err)
			}
			store.add(name, new.Bytes())
			time.Sleep(20 * time.Second)
		}
		if _, err := n.Lookup(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		got, err := n.Lookup(t.Context(), name)
		wantRecord(t, "Record", got, err, new)
	})
}

func TestRepublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, name := newKey(t)
		other, followed := newKey(t)
		store, state := &memoryStore{}, &memoryState{}
		theirs := mustRecord(t, other, Fields{Sequence: 9, Validity: time.Now().Add(40 * 24 * time.Hour)})
		c := Config{Network: Network{Stores: []ValueStore{store}}, State: state, Key: func(n Name) (crypto.PrivKey, error) {
			if n != name {
				return nil, ErrNotFound
			}
			return key, nil
		}}
		n := newNames(t, c)
		mine, err := n.Publish(t.Context(), key, Publication{Value: pathA, TTL: time.Hour, Metadata: map[string]any{"_x": "y"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Put(t.Context(), followed, theirs.Bytes()); err != nil {
			t.Fatal(err)
		}
		if err := n.Follow(t.Context(), followed); err != nil {
			t.Fatal(err)
		}
		if due := collectDue(n, time.Now()); len(due) != 1 || due[followed] != (dueName{name: followed}) {
			t.Errorf("listDue: got %v, want only the followed name", due)
		}
		if due := collectDue(n, time.Now().Add(16*24*time.Hour)); len(due) != 2 || !due[name].renew || due[followed].renew {
			t.Errorf("listDue in 16 days: got %v, want both, ours to be renewed", due)
		}

		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- n.Run(ctx) }()
		time.Sleep(29 * time.Hour)
		synctest.Wait()
		count := func() (own, others int) {
			for _, raw := range store.received() {
				switch string(raw) {
				case string(mine.Bytes()):
					own++
				case string(theirs.Bytes()):
					others++
				default:
					t.Error("something else was sent")
				}
			}
			return own, others
		}
		// Ours: at once, after 12 hours, after 24. Theirs: by Put, by the first
		// round, and then the same.
		if own, others := count(); own != 3 || others != 4 {
			t.Errorf("in 29 hours ours was sent %d times and theirs %d, want 3 and 4", own, others)
		}

		// Stores that lose everything get the records again.
		store.clear(name)
		time.Sleep(16 * 24 * time.Hour)
		synctest.Wait()
		renewed, err := n.LookupLatest(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		value, err := renewed.Value()
		if err != nil || value != pathA || renewed.Sequence() != mine.Sequence() || renewed.TTL() != time.Hour {
			t.Errorf("renewed: got %s, sequence %d, TTL %v, %v", value, renewed.Sequence(), renewed.TTL(), err)
		}
		if !renewed.Validity().After(mine.Validity().Add(10 * 24 * time.Hour)) {
			t.Errorf("renewed: got a validity to %v, from %v", renewed.Validity(), mine.Validity())
		}
		for k, v := range renewed.Metadata() {
			if k != "_x" || v != "y" {
				t.Errorf("renewed: got the field %s %v", k, v)
			}
		}
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}

		// After a restart the state has the own and followed names, and when their
		// records were sent.
		again := newNames(t, c)
		if due := collectDue(again, time.Now()); len(due) != 0 {
			t.Errorf("listDue after a restart: got %v, want none", due)
		}
		if due := collectDue(again, time.Now().Add(13*time.Hour)); len(due) != 2 {
			t.Errorf("listDue after a restart, in 13 hours: got %v, want both", due)
		}
		if err := again.Withdraw(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if err := again.Unfollow(t.Context(), followed); err != nil {
			t.Fatal(err)
		}
		if due := collectDue(again, time.Now().Add(13*time.Hour)); len(due) != 0 {
			t.Errorf("listDue after Withdraw and Unfollow: got %v, want none", due)
		}
	})
}

func collectDue(n *Names, at time.Time) map[Name]dueName {
	due := make(map[Name]dueName)
	for d := range n.listDue(at) {
		due[d.name] = d
	}
	return due
}

// TestRenewElsewhere: a renewal finds the record that another node published.
func TestRenewElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, name := newKey(t)
		store := &memoryStore{}
		n := newNames(t, Config{Network: Network{Stores: []ValueStore{store}}, Key: func(Name) (crypto.PrivKey, error) { return key, nil }})
		if _, err := n.Publish(t.Context(), key, Publication{Value: pathA}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(16 * 24 * time.Hour)
		theirs := mustRecord(t, key, Fields{Value: pathB, Sequence: 8, Validity: time.Now().Add(30 * 24 * time.Hour)})
		store.add(name, theirs.Bytes())
		if err := n.republish(t.Context(), dueName{name, true}); err != nil {
			t.Fatal(err)
		}
		taken := store.received()
		if string(taken[len(taken)-1]) != string(theirs.Bytes()) {
			t.Error("the record sent isn't the other node's")
		}
	})
}

func TestResolveChain(t *testing.T) {
	store := &memoryStore{}
	dnslink, err := NewDNSLink(DNSConfig{Static: map[string]string{"example.com": "/ipns/first.example.com/x", "Loop.example": "/ipns/loop.example"}})
	if err != nil {
		t.Fatal(err)
	}
	dnslink.static["first.example.com"] = "" // set below
	n := newNames(t, Config{Network: Network{Stores: []ValueStore{store}}, DNSLink: dnslink})
	publish := func(value string) Name {
		t.Helper()
		key, name := newKey(t)
		if _, err := n.Publish(t.Context(), key, Publication{Value: value, TTL: 3 * time.Minute}); err != nil {
			t.Fatal(err)
		}
		return name
	}
	last := publish(pathA + "/1")
	dnslink.static["first.example.com"] = "/ipns/" + publish("/ipns/"+last.String()+"/2").String() + "/3"
	got, err := n.Resolve(t.Context(), "/ipns/Example.COM/y/z")
	if err != nil || got.Path != pathA+"/1/2/3/x/y/z" || len(got.Steps) != 4 || got.TTL > 3*time.Minute {
		t.Errorf("Resolve: got %+v, %v", got, err)
	}
	if got, err := n.ResolveLatest(t.Context(), pathB+"/x"); err != nil || got.Path != pathB+"/x" || len(got.Steps) != 0 {
		t.Errorf("Resolve of an immutable path: got %+v, %v", got, err)
	}

	// Two names that lead to each other.
	keyA, a := newKey(t)
	b := publish("/ipns/" + a.String())
	if _, err := n.Publish(t.Context(), keyA, Publication{Value: "/ipns/" + b.String()}); err != nil {
		t.Fatal(err)
	}
	// The longest chain allowed, and one step more.
	chain := publish(pathA)
	for range maxSteps - 1 {
		chain = publish("/ipns/" + chain.String())
	}
	if got, err := n.Resolve(t.Context(), "/ipns/"+chain.String()); err != nil || got.Path != pathA {
		t.Errorf("a chain of %d: got %+v, %v", maxSteps, got, err)
	}
	for p, want := range map[string]error{
		"/ipns/" + a.String(): ErrTooDeep,
		"/ipns/loop.example":  ErrTooDeep,
		"/ipns/" + publish("/ipns/"+chain.String()).String(): ErrTooDeep,
		"/ipns/x": ErrInvalid, "ipns": ErrInvalid, "/ipns/": ErrInvalid, "/ipfs/x": ErrInvalid, "/foo/bar": ErrInvalid,
		"/ipns/" + a.String() + "/" + strings.Repeat("x", maxPath): ErrInvalid,
	} {
		if got, err := n.Resolve(t.Context(), p); !errors.Is(err, want) {
			t.Errorf("Resolve %.80s: got %+v, %v, want %v", p, got, err, want)
		}
	}
	if _, err := newNames(t, Config{}).Resolve(t.Context(), "/ipns/example.com"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Resolve without DNSLink: got %v, want ErrNotFound", err)
	}
}

// TestCacheBound: the cache evicts the least recently used names, and no kept
// one.
func TestCacheBound(t *testing.T) {
	state := &memoryState{}
	n := newNames(t, Config{State: state})
	n.cache.bound = 10 * (nameCost + 1000)
	put := func() Name {
		key, name := newKey(t)
		if _, err := n.Put(t.Context(), name, mustRecord(t, key, Fields{}).Bytes()); !errors.Is(err, ErrNotSent) {
			t.Fatalf("got %v, want ErrNotSent", err)
		}
		return name
	}
	kept, first := put(), put()
	if err := n.Follow(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		put()
		if r, _ := n.cache.get(first); !r.seen {
			t.Fatal("the most recently used name was evicted")
		}
	}
	if got := state.count(); got < 5 || got > 30 {
		t.Errorf("the state has %d rows, want about 20", got)
	}
	if r, _ := n.cache.get(kept); !r.seen {
		t.Error("a followed name was evicted")
	}
	if got := len(n.cache.names); got != state.count() {
		t.Errorf("%d names in memory, %d in the state", got, state.count())
	}
	again := newNames(t, Config{State: state})
	if a, b := again.cache, n.cache; a.cost != b.cost || a.kept != b.kept {
		t.Errorf("after a restart: got %d bytes, %d kept; want %d, %d", a.cost, a.kept, b.cost, b.kept)
	}
}

// TestKeptState clears nameSpace: own and followed names still can't be rolled
// back, and own records are here. KeptSpace is written when a kept value changes,
// and not when a record is sent again.
func TestKeptState(t *testing.T) {
	state, store := &memoryState{}, &memoryStore{}
	c := Config{State: state, Network: Network{Stores: []ValueStore{store}}}
	n := newNames(t, c)
	key, name := newKey(t)
	others, other := newKey(t)
	_, seen := newKey(t)
	mine, err := n.Publish(t.Context(), key, Publication{Value: pathA, Sequence: 5})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Follow(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	old, theirs := mustRecord(t, others, Fields{Sequence: 6}), mustRecord(t, others, Fields{Sequence: 7})
	if _, err := n.Put(t.Context(), other, theirs.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := n.Follow(t.Context(), seen); err != nil {
		t.Fatal(err)
	}
	if err := n.Unfollow(t.Context(), seen); err != nil {
		t.Fatal(err)
	}
	before := state.countKeptWrites()
	if want := 5; before != want { // one for each of the calls above
		t.Errorf("got %d writes, want %d", before, want)
	}
	for range 3 {
		if err := n.republish(t.Context(), dueName{name: name}); err != nil {
			t.Fatal(err)
		}
		if _, err := n.Put(t.Context(), other, theirs.Bytes()); err != nil {
			t.Fatal(err)
		}
		if _, err := n.LookupLatest(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if got := state.countKeptWrites(); got != before {
		t.Errorf("sending records again: got %d writes, want none", got-before)
	}
	n.Close()
	state.loseNames()

	store.clear(name)
	n = newNames(t, c)
	if got := len(state.kept); got != 2 {
		t.Errorf("got %d names kept, want 2", got)
	}
	due := make(map[Name]bool)
	for d := range n.listDue(time.Now()) {
		due[d.name] = true
	}
	if !due[name] || len(due) != 1 {
		t.Errorf("due: got %v, want only our own name", due)
	}
	got, err := n.Lookup(t.Context(), name)
	wantRecord(t, "our own", got, err, mine)
	if _, err := n.Put(t.Context(), other, old.Bytes()); !errors.Is(err, ErrRollback) {
		t.Errorf("an old record of a followed name: got %v, want ErrRollback", err)
	}
	if next, err := n.Publish(t.Context(), key, Publication{Value: pathB}); err != nil || next.Sequence() != 6 {
		t.Errorf("published again: got %v, %v, want sequence 6", next, err)
	}
	if err := n.Forget(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if got := len(state.kept); got != 1 {
		t.Errorf("after Forget: got %d names kept, want 1", got)
	}
	// A state without KeptSpace is completed.
	if _, err := n.Put(t.Context(), other, theirs.Bytes()); err != nil {
		t.Errorf("the latest record of a followed name: %v", err)
	}
	clear(state.kept)
	newNames(t, c)
	if got := len(state.kept); got != 1 {
		t.Errorf("a state without KeptSpace: got %d names kept, want 1", got)
	}
}

func TestStateRefuses(t *testing.T) {
	_, name := newKey(t)
	good := row{own: true, seen: true, highest: 7, confirmed: time.Unix(1, 2), lifetime: time.Hour, raw: []byte("x")}
	back, err := unmarshalRow(good.marshal())
	if err != nil || fmt.Sprint(back) != fmt.Sprint(good) {
		t.Errorf("a row: got %v, %v, want %v", back, err, good)
	}
	for what, m := range map[string]map[string]string{
		"key": {"x": string(good.marshal())}, "value": {name.RoutingKey(): "x"},
		"version": {name.RoutingKey(): "\x02" + string(good.marshal()[1:])},
	} {
		if _, err := New(t.Context(), Config{State: &memoryState{m: m}}); err == nil {
			t.Errorf("invalid %s: got no error", what)
		}
		if _, err := New(t.Context(), Config{State: &memoryState{kept: m}}); err == nil {
			t.Errorf("invalid %s in KeptSpace: got no error", what)
		}
	}
	// An invalid record is dropped, but not its sequence.
	n := newNames(t, Config{State: &memoryState{m: map[string]string{name.RoutingKey(): string(good.marshal())}}})
	if r, record := n.cache.get(name); record != nil || !r.seen || r.highest != 7 {
		t.Errorf("got %v, %v, want the sequence alone", r, record)
	}
}

// BenchmarkCached measures a resolution without the network.
func BenchmarkCached(b *testing.B) {
	key, name := newKey(b)
	n := newNames(b, Config{})
	if _, err := n.Put(b.Context(), name, mustRecord(b, key, Fields{TTL: time.Hour}).Bytes()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := n.Resolve(b.Context(), "/ipns/"+name.String()+"/a/b"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseRecord(b *testing.B) {
	key, name := newKey(b)
	raw := mustRecord(b, key, Fields{}).Bytes()
	for b.Loop() {
		if _, err := ParseRecord(name, raw); err != nil {
			b.Fatal(err)
		}
	}
}
