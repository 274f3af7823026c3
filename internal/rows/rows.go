// Package rows defines the interface through which packages that may not import
// the store keep small durable state: the address book, the router's state, the names.
//
// A [Store] has spaces, each a sorted set of rows. The node implements it with the
// spaces of package store. [Memory] implements it without durability, for tests
// and for state that may be lost.
//
// Implementations are safe for concurrent use. The package is for rows of a few
// kilobytes: blocks are not kept here.
package rows

import (
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
)

// A Row is a key and its value.
type Row struct{ Key, Value []byte }

// A Change sets a row of a space, or deletes it if Value is nil. Deleting a missing
// row is not an error.
type Change struct {
	Space      string
	Key, Value []byte
}

// A Store keeps rows in named spaces. A key has less than 1 KiB, a value less than
// 1 MiB.
type Store interface {
	// Get returns the value of a key, and whether there is one.
	Get(ctx context.Context, space string, key []byte) (value []byte, ok bool, err error)
	// All yields the rows whose keys begin with prefix, in order. Changes made
	// meanwhile may be seen or not.
	All(ctx context.Context, space string, prefix []byte) iter.Seq2[Row, error]
	// Set makes all changes, or none. They are durable when it returns.
	Set(ctx context.Context, changes ...Change) error
}

// A Memory is a Store in memory. The zero value is empty.
type Memory struct {
	mu     sync.RWMutex // guards the following
	spaces map[string]map[string][]byte
}

var _ Store = (*Memory)(nil)

// Get implements Store.
func (m *Memory) Get(_ context.Context, space string, key []byte) ([]byte, bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	value, ok := m.spaces[space][string(key)]
	return slices.Clone(value), ok, nil
}

// All implements Store.
func (m *Memory) All(_ context.Context, space string, prefix []byte) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		m.mu.RLock()
		all := maps.Clone(m.spaces[space])
		m.mu.RUnlock()
		for _, key := range slices.Sorted(maps.Keys(all)) {
			if strings.HasPrefix(key, string(prefix)) && !yield(Row{[]byte(key), slices.Clone(all[key])}, nil) {
				return
			}
		}
	}
}

// Set implements Store.
func (m *Memory) Set(_ context.Context, changes ...Change) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range changes {
		if c.Value == nil {
			delete(m.spaces[c.Space], string(c.Key))
			continue
		}
		if m.spaces == nil {
			m.spaces = make(map[string]map[string][]byte)
		}
		if m.spaces[c.Space] == nil {
			m.spaces[c.Space] = make(map[string][]byte)
		}
		m.spaces[c.Space][string(c.Key)] = slices.Clone(c.Value)
	}
	return nil
}
