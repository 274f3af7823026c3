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

	"github.com/cairn-ipfs/cairn/internal/rows"
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

// TestCacheLongHashes: the cache keeps no row that can't be saved. A caller of the
// library may look for any CID.
func TestCacheLongHashes(t *testing.T) {
	now := time.Unix(1e9, 0)
	for _, test := range []struct{ length, want int }{{128, 1}, {5 << 10, 0}} {
		c := newCache(new(rows.Memory), 3, slog.New(slog.DiscardHandler))
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
	store := new(rows.Memory)
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
		t.Errorf("got %d, the first %v, want %d, the first %v, which delivered", len(got), got[0], 2+maxRowSource, tried)
	}
	// A reported address comes after those that worked.
	reported := tried
	reported.Addrs = []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/tcp/2")}
	c.add(id, reported, false, now)
	if got := c.get(id, now)[0]; len(got.Addrs) != 2 || !got.Addrs[0].Equal(tried.Addrs[0]) {
		t.Errorf("got %v, want %v and then the reported one", got.Addrs, tried.Addrs)
	}
	// A row full of providers that delivered accepts no other.
	for range maxRow {
		c.add(id, someProvider(t, "dht"), true, now.Add(time.Minute))
	}
	fresh := someProvider(t, "new")
	c.add(id, fresh, false, now.Add(time.Hour))
	for _, p := range c.get(id, now) {
		if p.ID == fresh.ID || p.ID == first.ID {
			t.Errorf("got %v of %s, want only providers that delivered", p.ID, p.Source)
		}
	}
	if n := len(c.get(id, now)); n != maxRow {
		t.Errorf("got %d providers, want %d", n, maxRow)
	}
	// Saved providers are loaded until they expire.
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
	// The least recently used row is evicted.
	c.get(id, now)
	for range 2 {
		c.add(newCID(t), first, false, now)
	}
	if len(c.get(short, now)) != 0 || len(c.get(id, now)) == 0 || c.count() != 3 {
		t.Errorf("got %d rows, want 3, without the least recently used", c.count())
	}
	if err := c.save(context.Background()); err != nil {
		t.Fatal(err)
	}
	if rows, err := collect(store.All(context.Background(), space, []byte(cacheKeys))); err != nil || len(rows) != 3 {
		t.Errorf("got %d rows saved, %v, want 3", len(rows), err)
	}
	c.remove(id, tried.ID)
	for _, p := range c.get(id, now) {
		if p.ID == tried.ID {
			t.Errorf("got %v, want it removed", p.ID)
		}
	}
}

// TestCacheAcrossRestarts: a second router gets the providers that the first one
// saved.
func TestCacheAcrossRestarts(t *testing.T) {
	store := new(rows.Memory)
	host := newSwarm(t).Host()
	c, p := newCID(t), someProvider(t, "dht")
	store.Set(context.Background(), rows.Change{Space: space, Key: []byte(cacheKeys + "broken"), Value: []byte("not a row")})
	r := newRouter(t, Config{Host: host, Mode: ModeNone, State: store})
	r.ReportSuccess(c, p)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r = newRouter(t, Config{Host: host, Mode: ModeNone, State: store})
	got, err := first(r.FindProviders(testContext(t), c))
	if err != nil || got.ID != p.ID || got.Source != "cache" || !got.Addrs[0].Equal(p.Addrs[0]) {
		t.Errorf("got %v, %v, want %v from the cache", got, err, p)
	}
	r.ReportFailure(c, p.ID)
	if all, err := collect(r.FindProviders(testContext(t), c)); !errors.Is(err, ErrNoSource) || len(all) != 0 {
		t.Errorf("got %v, %v, want no providers and %v", all, err, ErrNoSource)
	}
	r = newRouter(t, Config{Host: host, Mode: ModeNone, State: store, Limits: Limits{Cache: -1}})
	r.ReportSuccess(c, p)
	if all, err := collect(r.FindProviders(testContext(t), c)); !errors.Is(err, ErrNoSource) || len(all) != 0 {
		t.Errorf("no cache: got %v, %v, want no providers and %v", all, err, ErrNoSource)
	}
}

// brokenRows fail.
type brokenRows struct{ rows.Store }

var errBroken = errors.New("broken")

func (brokenRows) Set(context.Context, ...rows.Change) error { return errBroken }

func (brokenRows) All(context.Context, string, []byte) iter.Seq2[rows.Row, error] {
	return func(yield func(rows.Row, error) bool) { yield(rows.Row{}, errBroken) }
}

func TestBrokenRows(t *testing.T) {
	if _, err := New(testContext(t), Config{Host: newSwarm(t).Host(), State: brokenRows{}}); !errors.Is(err, errBroken) {
		t.Errorf("got %v, want %v", err, errBroken)
	}
	c := newCache(brokenRows{}, 3, slog.New(slog.DiscardHandler))
	c.add(newCID(t), someProvider(t, "dht"), false, time.Now())
	for range 2 { // rows that were not saved stay dirty
		if err := c.save(context.Background()); !errors.Is(err, errBroken) {
			t.Errorf("got %v, want %v", err, errBroken)
		}
	}
}

func FuzzDecodeRow(f *testing.F) {
	f.Add(encodeRow(nil))
	f.Add(encodeRow([]cachedProvider{{someProvider(f, "dht"), time.Unix(1e9, 0), true}, {someProvider(f, ""), time.Unix(0, 0), false}}))
	f.Add([]byte{rowVersion, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		row, err := decodeRow(b)
		if err != nil {
			return
		}
		again, err := decodeRow(encodeRow(row))
		if err != nil || !reflect.DeepEqual(row, again) {
			t.Fatalf("got %+v, %v after encoding and decoding it, want %+v", again, err, row)
		}
	})
}

// TestDatastore has two datastores in one rows.Store.
func TestDatastore(t *testing.T) {
	store := new(rows.Memory)
	// One name is a prefix of the other.
	ctx, one, two := testContext(t), newDatastore(store, "x"), newDatastore(store, "xy")
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
		t.Errorf("got %v, %v, want the entry of this name", all, err)
	}
	// kad-dht saves state with an ended context when it closes.
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := one.Put(ended, ds.NewKey("/late"), nil); err != nil {
		t.Errorf("got %v with an ended context, want nil", err)
	}
	if got, err := one.Get(ctx, ds.NewKey("/late")); err != nil || got == nil || len(got) != 0 {
		t.Errorf("got %v, %v, want an empty value", got, err)
	}
}
