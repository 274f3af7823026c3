package names

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// maxSearching bounds the lookups in progress, and maxQueuedLookups those
	// that wait.
	maxSearching     = 64
	maxQueuedLookups = 1024

	// maxConcurrentLookups bounds the lookups of one name in progress besides
	// the latest. Each is for callers that need the records published since the
	// one before began.
	maxConcurrentLookups = 3

	// maxFound bounds the records that a lookup takes from one store. The DHT
	// asks twenty nodes, and yields only records better than the last.
	maxFound = 256

	// minTTL and maxTTL bound a record's TTL: resolving in a loop causes no storm
	// of lookups, and every record is refreshed after a day.
	minTTL = 10 * time.Second
	maxTTL = 24 * time.Hour

	// staleFor is how long beyond its TTL a record still answers at once, while
	// a lookup refreshes it in the background. After that a read waits for the
	// lookup, and uses the record only if nothing better is found.
	staleFor = time.Hour

	// refreshPause is the least time between two background lookups of a name.
	refreshPause = 10 * time.Second
)

// errNoSource: there is no store, and no connected peer that supports the fetch
// protocol.
var errNoSource = errors.New("there is nobody to ask")

// errUnchanged ends an update that changes nothing.
var errUnchanged = errors.New("unchanged")

// A lookup searches all stores and peers for a name's record. Concurrent readers
// of the name share it. One without done is a single query to a peer, which no
// reader waits for.
type lookup struct {
	first chan struct{} // closed by markFirst: a valid record is here, or the lookup ended
	done  chan struct{} // closed when all sources have answered, or the time is up
	once  sync.Once     // closes first

	earlier int // lookups of the name that may still be in progress

	mu      sync.Mutex // guards the following fields
	highest uint64     // the highest sequence of authentic records, refused ones included
	found   bool       // whether highest is set
	refused error      // why the last refused record was refused
	failed  error      // the last error of a source
}

// startLookup starts a lookup, or joins the one in progress. If fresh is set, it
// joins one only if maxConcurrentLookups are in progress.
func (n *Names) startLookup(name Name, fresh bool) (l *lookup, joined bool, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := n.lookups[name]
	if before != nil && (!fresh || before.earlier == maxConcurrentLookups) {
		return before, true, nil
	}
	if n.closed {
		return nil, false, ErrClosed
	}
	if len(n.lookups) >= maxSearching+maxQueuedLookups {
		return nil, false, fmt.Errorf("names: look up %s: too many lookups in progress: the limit is %d; try again later", name, len(n.lookups))
	}
	l = &lookup{first: make(chan struct{}), done: make(chan struct{})}
	if before != nil {
		l.earlier = before.earlier + 1
	}
	n.lookups[name] = l
	n.spawnLocked(func() { n.search(l, name) })
	return l, false, nil
}

// search is the goroutine of a lookup.
func (n *Names) search(l *lookup, name Name) {
	ctx, cancel := context.WithTimeout(n.ctx, n.c.LookupTime)
	defer cancel()
	defer func() {
		n.mu.Lock()
		if n.lookups[name] == l {
			delete(n.lookups, name)
		}
		n.mu.Unlock()
		l.markFirst()
		close(l.done)
	}()
	select {
	case n.searching <- struct{}{}:
		defer func() { <-n.searching }()
	case <-ctx.Done():
		l.fail(ctx.Err())
		return
	}
	if err := n.startNetwork(ctx); err != nil {
		l.fail(err)
		return
	}
	stores := n.net.Load().Stores
	// The lookup doesn't wait for a source that ignores its context; Close does.
	var sources sync.WaitGroup
	query := func(do func()) {
		sources.Add(1)
		if !n.spawn(func() { defer sources.Done(); do() }) {
			sources.Done()
		}
	}
	for _, store := range stores {
		query(func() { n.searchStore(ctx, l, name, store) })
	}
	query(func() {
		asked, err := n.askPeers(ctx, name, func(id peer.ID) {
			query(func() { n.ask(ctx, l, name, id) })
		})
		switch {
		case asked+len(stores) > 0:
		case err != nil:
			l.fail(fmt.Errorf("%w: %w", errNoSource, err))
		default:
			l.fail(errNoSource)
		}
	})
	all := make(chan struct{})
	if !n.spawn(func() { sources.Wait(); close(all) }) {
		return
	}
	select {
	case <-all:
	case <-ctx.Done():
		l.fail(ctx.Err())
	}
}

func (n *Names) searchStore(ctx context.Context, l *lookup, name Name, store ValueStore) {
	found := 0
	for value, err := range store.SearchValue(ctx, name.RoutingKey()) {
		if ctx.Err() != nil {
			return
		}
		if found++; found > maxFound {
			l.fail(fmt.Errorf("a store returned more than %d records of one name", maxFound))
			return
		}
		if err != nil {
			l.fail(err)
			continue
		}
		n.acceptFound(ctx, l, name, value.Data, value.Source)
	}
}

// acceptFound accepts a record that a lookup found.
func (n *Names) acceptFound(ctx context.Context, l *lookup, name Name, raw []byte, from string) {
	record, better, err := n.accept(ctx, name, raw, from, l.done != nil)
	l.mu.Lock()
	if record != nil {
		l.found, l.highest = true, max(l.highest, record.sequence)
	}
	if err != nil {
		l.refused = err
	}
	l.mu.Unlock()
	if err != nil {
		n.log.Debug("names: a record was refused", "name", name, "err", err)
		return
	}
	l.markFirst()
	if better {
		n.broadcast(ctx, record)
	}
}

func (l *lookup) markFirst() { l.once.Do(func() { close(l.first) }) }

func (l *lookup) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = err
}

// err explains why a lookup found nothing.
func (l *lookup) err(name Name) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.refused != nil:
		return fmt.Errorf("names: look up %s: %w: the records found were refused: %w", name, ErrNotFound, l.refused)
	case l.failed != nil:
		return fmt.Errorf("names: look up %s: %w: %w", name, ErrNotFound, l.failed)
	}
	return fmt.Errorf("names: look up %s: %w", name, ErrNotFound)
}

// validRecord returns the valid record of a name held here, or nil, and for how
// long it stays fresh.
func (n *Names) validRecord(name Name) (*Record, time.Duration) {
	r, record := n.cache.get(name)
	now := time.Now()
	if record == nil || record.Valid(now) != nil {
		return nil, 0
	}
	ttl := min(max(record.ttl, minTTL), maxTTL)
	return record, min(ttl-now.Sub(r.confirmed), record.validity.Sub(now))
}

// Lookup returns the record of a name, for reading: the one held here while it
// is fresh, and for staleFor longer; else the first valid one that a lookup
// finds. The lookup continues in the background. Errors: ErrNotFound, wrapped
// with the reason why records were refused (ErrInvalid, ErrExpired,
// ErrRollback).
func (n *Names) Lookup(ctx context.Context, name Name) (*Record, error) {
	record, fresh := n.validRecord(name)
	if record != nil && fresh > 0 {
		return record, nil
	}
	if record != nil && fresh > -staleFor {
		if n.cache.startAttempt(name, attemptRefresh, refreshPause) {
			// Without a lookup the stale record still answers.
			_, _, _ = n.startLookup(name, false)
		}
		return record, nil
	}
	l, _, err := n.startLookup(name, false)
	if err == nil {
		select {
		case <-l.first:
		case <-ctx.Done():
			err = fmt.Errorf("names: look up %s: %w", name, ctx.Err())
		}
	}
	if record, _ := n.validRecord(name); record != nil {
		return record, nil
	}
	if err == nil {
		err = l.err(name)
	}
	return nil, err
}

// LookupLatest returns the record of a name, for callers that act on it: the
// best one held when a complete lookup has ended, or its time is up. Errors: as
// Lookup.
func (n *Names) LookupLatest(ctx context.Context, name Name) (*Record, error) {
	l, err := n.awaitLookup(ctx, name)
	if err != nil {
		return nil, err
	}
	if record, _ := n.validRecord(name); record != nil {
		return record, nil
	}
	return nil, l.err(name)
}

// awaitLookup waits for the end of a lookup that began after the call: one in
// progress may have queried a source before that had the record.
func (n *Names) awaitLookup(ctx context.Context, name Name) (*lookup, error) {
	for first := true; ; first = false {
		l, joined, err := n.startLookup(name, true)
		if err != nil {
			return nil, err
		}
		select {
		case <-l.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("names: look up %s: %w", name, ctx.Err())
		}
		if !joined || !first {
			return l, nil
		}
	}
}
