package routing

import (
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/namespace"
	"github.com/ipfs/go-datastore/query"
)

// A Datastore keeps the router's state. It is safe for concurrent use. A key has
// less than 1 KiB, a value less than 1 MiB.
type Datastore interface {
	// Get returns the value of a key, and whether there is one.
	Get(ctx context.Context, key []byte) (value []byte, ok bool, err error)
	// Set makes all the changes durable, or fails.
	Set(ctx context.Context, changes []Change) error
	// All yields the keys that begin with prefix, in order. It may or may not
	// yield changes that are made meanwhile.
	All(ctx context.Context, prefix []byte) iter.Seq2[Change, error]
}

// A Change sets a key to a value, or removes it if the value is nil.
type Change struct{ Key, Value []byte }

// Prefixes of keys in a Datastore.
const (
	cacheKeys = "cache/" // rows of the provider cache
	otherKeys = "ds"     // keys of go-datastore, which begin with a slash
)

// A datastoreAdapter turns a Datastore into kad-dht's interface. It ignores
// cancellation: kad-dht saves some of its state after its own context has ended.
type datastoreAdapter struct{ store Datastore }

var _ ds.Batching = datastoreAdapter{}

// newDatastore returns a view of the store below a name.
func newDatastore(store Datastore, name string) ds.Batching {
	return namespace.Wrap(datastoreAdapter{store}, ds.NewKey(name))
}

func rowKey(key ds.Key) []byte { return []byte(otherKeys + key.String()) }

func (a datastoreAdapter) Get(ctx context.Context, key ds.Key) ([]byte, error) {
	value, ok, err := a.store.Get(context.WithoutCancel(ctx), rowKey(key))
	if err == nil && !ok {
		err = ds.ErrNotFound
	}
	return value, err
}

func (a datastoreAdapter) Has(ctx context.Context, key ds.Key) (bool, error) {
	_, ok, err := a.store.Get(context.WithoutCancel(ctx), rowKey(key))
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
	return a.store.Set(context.WithoutCancel(ctx), []Change{{rowKey(key), notNil(value)}})
}

func (a datastoreAdapter) Delete(ctx context.Context, key ds.Key) error {
	return a.store.Set(context.WithoutCancel(ctx), []Change{{rowKey(key), nil}})
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
	next, stop := iter.Pull2(a.store.All(ctx, []byte(otherKeys+prefix)))
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
	store   Datastore
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
	changes := make([]Change, 0, len(b.changes))
	for k, v := range b.changes {
		changes = append(changes, Change{[]byte(k), v})
	}
	clear(b.changes)
	if len(changes) == 0 {
		return nil
	}
	return b.store.Set(context.WithoutCancel(ctx), changes)
}

// A memoryDatastore is a Datastore in memory, the default.
type memoryDatastore struct {
	mu   sync.RWMutex // guards the map
	rows map[string][]byte
}

func newMemoryDatastore() *memoryDatastore { return &memoryDatastore{rows: make(map[string][]byte)} }

func (m *memoryDatastore) Get(_ context.Context, key []byte) ([]byte, bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	value, ok := m.rows[string(key)]
	return slices.Clone(value), ok, nil
}

func (m *memoryDatastore) Set(_ context.Context, changes []Change) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range changes {
		if c.Value == nil {
			delete(m.rows, string(c.Key))
		} else {
			m.rows[string(c.Key)] = slices.Clone(c.Value)
		}
	}
	return nil
}

func (m *memoryDatastore) All(_ context.Context, prefix []byte) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		m.mu.RLock()
		rows := make(map[string][]byte)
		for k, v := range m.rows {
			if strings.HasPrefix(k, string(prefix)) {
				rows[k] = v
			}
		}
		m.mu.RUnlock()
		for _, k := range slices.Sorted(maps.Keys(rows)) {
			if !yield(Change{[]byte(k), slices.Clone(rows[k])}, nil) {
				return
			}
		}
	}
}
