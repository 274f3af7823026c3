package routing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"reflect"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"
)

func someProvider(t testing.TB, source string) Provider {
	return Provider{
		AddrInfo:  peer.AddrInfo{ID: newID(t), Addrs: []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/tcp/1")}},
		Source:    source,
		Protocols: []string{"transport-bitswap"},
	}
}

// TestCacheOfLongHashes remembers nothing of what can't be saved: whoever uses the
// library may look for anything.
func TestCacheOfLongHashes(t *testing.T) {
	now := time.Unix(1e9, 0)
	for _, test := range []struct{ length, want int }{{128, 1}, {5 << 10, 0}} {
		c := newCache(newMemory(), 3, slog.New(slog.DiscardHandler))
		digest := make([]byte, test.length)
		h, err := multihash.Encode(digest, multihash.IDENTITY)
		if err != nil {
			t.Fatal(err)
		}
		id := cid.NewCidV1(cid.Raw, h)
		c.add(id, someProvider(t, "dht"), true, now)
		if got := len(c.get(id, now)); got != test.want || len(c.dirty) != test.want {
			t.Errorf("a digest of %d bytes: got %d providers, %d rows to save, want %d", test.length, got, len(c.dirty), test.want)
		}
	}
}

func TestCache(t *testing.T) {
	now := time.Unix(1e9, 0)
	store := newMemory()
	c := newCache(store, 3, slog.New(slog.DiscardHandler))
	id := newCID(t)
	first, tried := someProvider(t, "dht"), someProvider(t, "dht")
	c.add(id, first, false, now)
	c.add(id, tried, true, now)
	for range 10 { // a liar
		c.add(id, someProvider(t, "liar"), false, now)
	}
	got := c.get(id, now)
	if len(got) != 2+maxRowSource || got[0].ID != tried.ID || got[1].ID != first.ID {
		t.Errorf("got %d, the first %v, want %d, the first %v that was tried", len(got), got[0], 2+maxRowSource, tried)
	}
	// An address that was heard of comes behind those that were tried.
	heard := tried
	heard.Addrs = []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/tcp/2")}
	c.add(id, heard, false, now)
	if got := c.get(id, now)[0]; len(got.Addrs) != 2 || !got.Addrs[0].Equal(tried.Addrs[0]) {
		t.Errorf("got %v, want %v and then what was heard", got.Addrs, tried.Addrs)
	}
	// It is full of what was tried, then nothing that wasn't gets in.
	for range maxRow {
		c.add(id, someProvider(t, "dht"), true, now.Add(time.Minute))
	}
	fresh := someProvider(t, "new")
	c.add(id, fresh, false, now.Add(time.Hour))
	for _, p := range c.get(id, now) {
		if p.ID == fresh.ID || p.ID == first.ID {
			t.Errorf("got %v of %s, want only what was tried", p.ID, p.Source)
		}
	}
	if n := len(c.get(id, now)); n != maxRow {
		t.Errorf("got %d providers, want %d", n, maxRow)
	}
	// What is saved is there again, and what is old is not.
	short := newCID(t)
	c.add(short, first, false, now)
	if err := c.save(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		later            time.Duration
		nTried, nUntried int
	}{{0, maxRow, 1}, {foundFor, maxRow, 0}, {workedFor + time.Hour, 0, 0}} {
		again := newCache(store, 3, slog.New(slog.DiscardHandler))
		if err := again.load(context.Background(), now.Add(test.later)); err != nil {
			t.Fatal(err)
		}
		at := now.Add(test.later)
		if a, b := len(again.get(id, at)), len(again.get(short, at)); a != test.nTried || b != test.nUntried {
			t.Errorf("after %v: got %d and %d, want %d and %d", test.later, a, b, test.nTried, test.nUntried)
		}
	}
	// The least recently used row goes.
	c.get(id, now)
	for range 2 {
		c.add(newCID(t), first, false, now)
	}
	if len(c.get(short, now)) != 0 || len(c.get(id, now)) == 0 || c.order.Len() != 3 {
		t.Errorf("got %d rows, want 3, the one least used gone", c.order.Len())
	}
	if err := c.save(context.Background()); err != nil {
		t.Fatal(err)
	}
	if rows, err := collect(store.All(context.Background(), []byte(cacheKeys))); err != nil || len(rows) != 3 {
		t.Errorf("got %d rows saved, %v, want 3", len(rows), err)
	}
	c.remove(id, tried.ID)
	for _, p := range c.get(id, now) {
		if p.ID == tried.ID {
			t.Errorf("got %v, want it forgotten", p.ID)
		}
	}
}

// TestCacheAcrossRestarts has a second router find what the first one did.
func TestCacheAcrossRestarts(t *testing.T) {
	store := newMemory()
	host := newSwarm(t).Host()
	c, p := newCID(t), someProvider(t, "dht")
	store.Set(context.Background(), []Change{{[]byte(cacheKeys + "broken"), []byte("no row")}})
	r := newRouter(t, Config{Host: host, Mode: ModeNone, Datastore: store})
	r.Worked(c, p)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r = newRouter(t, Config{Host: host, Mode: ModeNone, Datastore: store})
	got, err := first(r.FindProviders(soon(t), c))
	if err != nil || got.ID != p.ID || got.Source != "cache" || !got.Addrs[0].Equal(p.Addrs[0]) {
		t.Errorf("got %v, %v, want %v of the cache", got, err, p)
	}
	r.Failed(c, p.ID)
	if all, err := collect(r.FindProviders(soon(t), c)); !errors.Is(err, ErrNoSource) || len(all) != 0 {
		t.Errorf("got %v, %v, want nobody, and nobody to ask", all, err)
	}
	r = newRouter(t, Config{Host: host, Mode: ModeNone, Datastore: store, Limits: Limits{Cache: -1}})
	r.Worked(c, p)
	if all, err := collect(r.FindProviders(soon(t), c)); !errors.Is(err, ErrNoSource) || len(all) != 0 {
		t.Errorf("got %v, %v without a cache, want nobody, and nobody to ask", all, err)
	}
}

// A broken store fails.
type broken struct{ Datastore }

var errBroken = errors.New("broken")

func (broken) Set(context.Context, []Change) error { return errBroken }

func (broken) All(context.Context, []byte) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) { yield(Change{}, errBroken) }
}

func TestBrokenStore(t *testing.T) {
	if _, err := New(soon(t), Config{Host: newSwarm(t).Host(), Datastore: broken{}}); !errors.Is(err, errBroken) {
		t.Errorf("got %v, want %v", err, errBroken)
	}
	c := newCache(broken{}, 3, slog.New(slog.DiscardHandler))
	c.add(newCID(t), someProvider(t, "dht"), false, time.Now())
	for range 2 { // what was not saved is tried again
		if err := c.save(context.Background()); !errors.Is(err, errBroken) {
			t.Errorf("got %v, want %v", err, errBroken)
		}
	}
}

func FuzzDecodeRow(f *testing.F) {
	f.Add(encodeRow(nil))
	f.Add(encodeRow([]cached{{someProvider(f, "dht"), time.Unix(1e9, 0), true}, {someProvider(f, ""), time.Unix(0, 0), false}}))
	f.Add([]byte{rowVersion, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		row, err := decodeRow(b)
		if err != nil {
			return
		}
		again, err := decodeRow(encodeRow(row))
		if err != nil || !reflect.DeepEqual(row, again) {
			t.Fatalf("got %+v, %v after writing it again, want %+v", again, err, row)
		}
	})
}

// TestDatastore has two datastores in one store.
func TestDatastore(t *testing.T) {
	store := newMemory()
	// Names do not run into one another.
	ctx, one, two := soon(t), newDatastore(store, "x"), newDatastore(store, "xy")
	for i, d := range []ds.Batching{one, two} {
		if err := d.Put(ctx, ds.NewKey("/k"), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	results, err := one.Query(ctx, query.Query{})
	if err != nil {
		t.Fatal(err)
	}
	all, err := results.Rest()
	if err != nil || len(all) != 1 || all[0].Key != "/k" || !bytes.Equal(all[0].Value, []byte("0")) {
		t.Errorf("got %v, %v, want what was put under this name", all, err)
	}
	// What kad-dht saves when it is closed has to arrive.
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := one.Put(ended, ds.NewKey("/late"), nil); err != nil {
		t.Errorf("got %v with a context that has ended, want nil", err)
	}
	if got, err := one.Get(ctx, ds.NewKey("/late")); err != nil || got == nil || len(got) != 0 {
		t.Errorf("got %v, %v, want no bytes", got, err)
	}
}
