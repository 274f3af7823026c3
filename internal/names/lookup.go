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
	// maxLooking is how many look-ups are under way at a time, and maxLookups
	// how many may wait for their turn with them.
	maxLooking = 64
	maxLookups = 1024

	// maxOthers is how many look-ups of one name may be under way besides the
	// last, each for somebody who must not miss what came since the one before
	// began.
	maxOthers = 3

	// maxFound is how many records of one source a look-up looks at. The DHT
	// asks twenty nodes, and yields what is better than before.
	maxFound = 256

	// minTTL and maxTTL bound how long a record answers without being asked
	// for again, whatever it says: a name asked for in a loop is no storm of
	// look-ups, and a day is long enough to be out of date.
	minTTL = 10 * time.Second
	maxTTL = 24 * time.Hour

	// staleFor is how long beyond its TTL a record still answers at once,
	// while it is asked for again in the background. After that the look-up
	// is waited for, and the record answers if nothing else does.
	staleFor = time.Hour

	// refreshPause is how long after a look-up in the background the next one
	// of a name may begin.
	refreshPause = 10 * time.Second
)

// errNobodyToAsk: there is neither a store nor a peer that could have a record.
var errNobodyToAsk = errors.New("there is nobody to ask")

// errSame ends an update that has nothing to change.
var errSame = errors.New("the same")

// A lookup is the search for a name's record in all stores at once. All who
// read the name meanwhile share it. One without done is no search: a peer
// is asked of its own accord.
type lookup struct {
	first chan struct{} // closed by answer: a valid record is here, or it's done
	done  chan struct{} // closed when all have been heard, or the time is up
	once  sync.Once     // closes first

	others int // that were begun before and may be under way still

	mu      sync.Mutex // guards what follows
	highest uint64     // of authentic records, even of those that were refused
	any     bool       // highest means something
	refused error      // why a record was, the last one
	failed  error      // why a store was of no use, the last one
}

// lookup begins a search, or joins the one that is under way. If fresh is set,
// one is begun all the same, while there are not too many: joined says so.
func (n *Names) lookup(name Name, fresh bool) (l *lookup, joined bool, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := n.lookups[name]
	if before != nil && (!fresh || before.others == maxOthers) {
		return before, true, nil
	}
	if n.closed {
		return nil, false, ErrClosed
	}
	if len(n.lookups) >= maxLooking+maxLookups {
		return nil, false, fmt.Errorf("names: look up %s: %d look-ups are under way already", name, len(n.lookups))
	}
	l = &lookup{first: make(chan struct{}), done: make(chan struct{})}
	if before != nil {
		l.others = before.others + 1
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
		l.answer()
		close(l.done)
	}()
	select {
	case n.looking <- struct{}{}:
		defer func() { <-n.looking }()
	case <-ctx.Done():
		l.fail(ctx.Err())
		return
	}
	if err := n.online(ctx); err != nil {
		l.fail(err)
		return
	}
	stores := n.net.Load().Stores
	// Whoever doesn't end with the context is left behind; Close waits for it.
	var sources sync.WaitGroup
	with := func(do func()) {
		sources.Add(1)
		if !n.spawn(func() { defer sources.Done(); do() }) {
			sources.Done()
		}
	}
	for _, store := range stores {
		with(func() { n.searchStore(ctx, l, name, store) })
	}
	with(func() {
		asked, err := n.askPeers(ctx, name, func(id peer.ID) {
			with(func() { n.ask(ctx, l, name, id) })
		})
		switch {
		case asked+len(stores) > 0:
		case err != nil:
			l.fail(fmt.Errorf("%w: %w", errNobodyToAsk, err))
		default:
			l.fail(errNobodyToAsk)
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
			l.fail(fmt.Errorf("more than %d records of one name", maxFound))
			return
		}
		if err != nil {
			l.fail(err)
			continue
		}
		n.take(ctx, l, name, value.Data, value.Source)
	}
}

// take accepts a record that a look-up found.
func (n *Names) take(ctx context.Context, l *lookup, name Name, raw []byte, from string) {
	record, better, err := n.accept(ctx, name, raw, from, l.done != nil)
	l.mu.Lock()
	if record != nil {
		l.any, l.highest = true, max(l.highest, record.sequence)
	}
	if err != nil {
		l.refused = err
	}
	l.mu.Unlock()
	if err != nil {
		n.log.Debug("names: a record was refused", "name", name, "err", err)
		return
	}
	l.answer()
	if better {
		n.spread(ctx, record)
	}
}

func (l *lookup) answer() { l.once.Do(func() { close(l.first) }) }

func (l *lookup) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = err
}

// err says why a look-up found nothing.
func (l *lookup) err(name Name) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.refused != nil:
		return fmt.Errorf("names: look up %s: %w: what there is was refused: %w", name, ErrNotFound, l.refused)
	case l.failed != nil:
		return fmt.Errorf("names: look up %s: %w: %w", name, ErrNotFound, l.failed)
	}
	return fmt.Errorf("names: look up %s: %w", name, ErrNotFound)
}

// held returns the record of a name that is here and valid, nil if there is
// none, and for how long it still is fresh.
func (n *Names) held(name Name) (*Record, time.Duration) {
	r, record := n.table.get(name)
	now := time.Now()
	if record == nil || record.Valid(now) != nil {
		return nil, 0
	}
	ttl := min(max(record.ttl, minTTL), maxTTL)
	return record, min(ttl-now.Sub(r.heard), record.validity.Sub(now))
}

// Record returns the record of a name, for reading: the one that is here while
// it is fresh, and a while longer; else the first valid one that a look-up
// finds, which goes on in the background. Errors: ErrNotFound, and with it why
// records were refused (ErrInvalid, ErrExpired, ErrRollback).
func (n *Names) Record(ctx context.Context, name Name) (*Record, error) {
	record, fresh := n.held(name)
	if record != nil && fresh > 0 {
		return record, nil
	}
	if record != nil && fresh > -staleFor {
		if n.table.try(name, toRefresh, refreshPause) {
			// If it can't begin, what is here still answers.
			_, _, _ = n.lookup(name, false)
		}
		return record, nil
	}
	l, _, err := n.lookup(name, false)
	if err == nil {
		select {
		case <-l.first:
		case <-ctx.Done():
			err = fmt.Errorf("names: look up %s: %w", name, ctx.Err())
		}
	}
	if record, _ := n.held(name); record != nil {
		return record, nil
	}
	if err == nil {
		err = l.err(name)
	}
	return nil, err
}

// Latest returns the record of a name, for who acts on it: the best one that is
// here when a look-up has ended, or its time is up. Errors: as Record.
func (n *Names) Latest(ctx context.Context, name Name) (*Record, error) {
	l, err := n.finish(ctx, name)
	if err != nil {
		return nil, err
	}
	if record, _ := n.held(name); record != nil {
		return record, nil
	}
	return nil, l.err(name)
}

// finish waits for the end of a look-up that began after it was called: one that
// was under way may have asked somebody before he had the record.
func (n *Names) finish(ctx context.Context, name Name) (*lookup, error) {
	for first := true; ; first = false {
		l, joined, err := n.lookup(name, true)
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
