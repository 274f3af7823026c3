package routing

import (
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/cairn-ipfs/cairn/internal/rows"
	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/namespace"
	"github.com/ipfs/go-datastore/query"
)

// space holds the router's state in a rows.Store.
const space = "routing"

// Prefixes of keys in that space.
const (
	cacheKeys = "cache/" // rows of the provider cache
	otherKeys = "ds"     // keys of go-datastore, which begin with a slash
)

// A datastoreAdapter turns a rows.Store into kad-dht's interface. It ignores
// cancellation: kad-dht saves some of its state after its own context has ended.
type datastoreAdapter struct{ store rows.Store }

var _ ds.Batching = datastoreAdapter{}

// newDatastore returns a view of the store below a name.
func newDatastore(store rows.Store, name string) ds.Batching {
	return namespace.Wrap(datastoreAdapter{store}, ds.NewKey(name))
}

func rowKey(key ds.Key) []byte { return []byte(otherKeys + key.String()) }

func (a datastoreAdapter) Get(ctx context.Context, key ds.Key) ([]byte, error) {
	value, ok, err := a.store.Get(context.WithoutCancel(ctx), space, rowKey(key))
	if err == nil && !ok {
		err = ds.ErrNotFound
	}
	return value, err
}

func (a datastoreAdapter) Has(ctx context.Context, key ds.Key) (bool, error) {
	_, ok, err := a.store.Get(context.WithoutCancel(ctx), space, rowKey(key))
	return ok, err
}

func (a datastoreAdapter) GetSize(ctx context.Context, key ds.Key) (int, error) {
	value, err := a.Get(ctx, key)
	if err != nil {
		return -1, err
	}
	return len(value), nil
}

func (a datastoreAdapter) Put(ctx context.Context, key ds.Key, value []byte) error {
	return a.store.Set(context.WithoutCancel(ctx), rows.Change{Space: space, Key: rowKey(key), Value: notNil(value)})
}

func (a datastoreAdapter) Delete(ctx context.Context, key ds.Key) error {
	return a.store.Set(context.WithoutCancel(ctx), rows.Change{Space: space, Key: rowKey(key)})
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// Sync does nothing: Set returns when its changes are durable.
func (a datastoreAdapter) Sync(context.Context, ds.Key) error { return nil }

// Close does nothing: the store belongs to the caller.
func (a datastoreAdapter) Close() error { return nil }

// Query returns the entries below the query's prefix, in the order of keys.
func (a datastoreAdapter) Query(ctx context.Context, q query.Query) (query.Results, error) {
	// A key is below a prefix if a slash follows the prefix.
	prefix := strings.TrimSuffix(ds.NewKey(q.Prefix).String(), "/") + "/"
	next, stop := iter.Pull2(a.store.All(ctx, space, []byte(otherKeys+prefix)))
	naive := q
	naive.Prefix = ""
	if len(q.Orders) == 1 {
		if _, ok := q.Orders[0].(query.OrderByKey); ok {
			naive.Orders = nil
		}
	}
	all := query.ResultsFromIterator(q, query.Iterator{
		Next: func() (query.Result, bool) {
			c, err, ok := next()
			if !ok || err != nil {
				return query.Result{Error: err}, ok
			}
			e := query.Entry{Key: string(c.Key[len(otherKeys):]), Size: len(c.Value)}
			if !q.KeysOnly {
				e.Value = c.Value
			}
			return query.Result{Entry: e}, true
		},
		Close: func() error {
			stop()
			return nil
		},
	})
	return query.NaiveQueryApply(naive, all), nil
}

// A batch collects changes.
type batch struct {
	store   rows.Store
	changes map[string][]byte
}

func (a datastoreAdapter) Batch(context.Context) (ds.Batch, error) {
	return &batch{a.store, make(map[string][]byte)}, nil
}

func (b *batch) Put(_ context.Context, key ds.Key, value []byte) error {
	b.changes[string(rowKey(key))] = slices.Clone(notNil(value))
	return nil
}

func (b *batch) Delete(_ context.Context, key ds.Key) error {
	b.changes[string(rowKey(key))] = nil
	return nil
}

func (b *batch) Commit(ctx context.Context) error {
	changes := make([]rows.Change, 0, len(b.changes))
	for k, v := range b.changes {
		changes = append(changes, rows.Change{Space: space, Key: []byte(k), Value: v})
	}
	clear(b.changes)
	if len(changes) == 0 {
		return nil
	}
	return b.store.Set(context.WithoutCancel(ctx), changes...)
}
