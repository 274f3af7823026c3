package names

import (
	"bytes"
	"container/list"
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cairn-ipfs/cairn/internal/rows"
)

const (
	// maxRemembered bounds what is stored about names that are neither own nor
	// followed, in bytes: 16,000 names of the usual kind. Above it the least
	// recently used name is evicted.
	maxRemembered = 16 << 20

	// nameCost is the memory of a cachedName beside its record, in bytes.
	nameCost = 640

	// maxKept bounds the number of own and followed names; the swarm allows as
	// many topics.
	maxKept = 4096

	// writers is the number of locks that names are spread over.
	writers = 64
)

// A cache stores names: in memory, and in a rows.Store.
type cache struct {
	state rows.Store // nil: memory only
	log   *slog.Logger
	bound int // maxRemembered, except in tests

	// An update of a name holds its lock from reading the row until the new row
	// is durable and visible.
	seed    maphash.Seed
	writing [writers]sync.Mutex

	mu    sync.Mutex // guards the following fields
	names map[Name]*cachedName
	order list.List // Names that aren't kept, the least recently used first
	cost  int       // of the names in order, in bytes
	kept  int       // number of kept names
}

// A cachedName is what a cache holds of a name. Its row is replaced, never
// modified.
type cachedName struct {
	row      row
	record   *Record       // row.raw parsed, after the first get
	attempts [2]time.Time  // the last one of each kind
	element  *list.Element // in cache.order; nil: kept
	changed  chan struct{} // closed when a better record is stored
}

func newCache(ctx context.Context, state rows.Store, log *slog.Logger) (*cache, error) {
	c := &cache{state: state, log: log, bound: maxRemembered, seed: maphash.MakeSeed(), names: make(map[Name]*cachedName)}
	if state == nil {
		return c, nil
	}
	rows, err := loadRows(ctx, state)
	if err != nil {
		return nil, err
	}
	byAge := make([]Name, 0, len(rows))
	for name := range rows {
		byAge = append(byAge, name)
	}
	slices.SortFunc(byAge, func(a, b Name) int { return rows[a].confirmed.Compare(rows[b].confirmed) })
	for _, name := range byAge {
		c.put(name, rows[name], nil)
	}
	return c, nil
}

func rowCost(r row) int { return nameCost + len(r.raw) }

// put sets the row of a name; c.mu is held, or c is not shared yet.
func (c *cache) put(name Name, r row, record *Record) *cachedName {
	e := c.names[name]
	if e == nil {
		e = &cachedName{changed: make(chan struct{})}
		c.names[name] = e
	} else {
		c.removeFromSums(e)
	}
	e.row, e.record = r, record
	if r.kept() {
		c.kept++
	} else {
		e.element = c.order.PushBack(name)
		c.cost += rowCost(r)
	}
	return e
}

// removeFromSums subtracts a name from order, cost and kept; c.mu is held.
func (c *cache) removeFromSums(e *cachedName) {
	if e.element == nil {
		c.kept--
		return
	}
	c.order.Remove(e.element)
	e.element = nil
	c.cost -= rowCost(e.row)
}

// get returns the row of a name and its record; nil: none.
func (c *cache) get(name Name) (row, *Record) {
	c.mu.Lock()
	e := c.names[name]
	if e == nil {
		c.mu.Unlock()
		return row{}, nil
	}
	if e.element != nil {
		c.order.MoveToBack(e.element)
	}
	r, record := e.row, e.record
	c.mu.Unlock()
	if record != nil || r.raw == nil {
		return r, record
	}
	record, err := ParseRecord(name, r.raw)
	if err != nil {
		c.log.Warn("names: ignoring an invalid record in the state", "name", name, "err", err)
		r.raw = nil
		return r, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.record == nil && bytes.Equal(e.row.raw, r.raw) {
		e.record = record
	}
	return r, record
}

// writeLock returns the lock that an update of the name holds.
func (c *cache) writeLock(name Name) *sync.Mutex {
	return &c.writing[maphash.String(c.seed, name.hash)%writers]
}

// update replaces the row and the record of a name, durably if durable is set.
// f returns the new ones for the old ones; if it fails, nothing changes.
func (c *cache) update(ctx context.Context, name Name, durable bool, f func(row, *Record) (row, *Record, error)) error {
	lock := c.writeLock(name)
	lock.Lock()
	defer lock.Unlock()
	old, held := c.get(name)
	r, record, err := f(old, held)
	if err != nil {
		return err
	}
	c.mu.Lock()
	full := r.kept() && !old.kept() && c.kept >= maxKept
	c.mu.Unlock()
	if full {
		return fmt.Errorf("names: %s: too many names are published or followed: the limit is %d", name, maxKept)
	}
	if durable && c.state != nil {
		key := []byte(name.RoutingKey())
		changes := []rows.Change{{Space: nameSpace, Key: key, Value: r.marshal()}}
		if kept := r.keptValue(); !bytes.Equal(kept, old.keptValue()) {
			changes = append(changes, rows.Change{Space: KeptSpace, Key: key, Value: kept})
		}
		if err := c.state.Set(ctx, changes...); err != nil {
			return fmt.Errorf("names: store %s: %w", name, err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.put(name, r, record)
	if record != nil && record != held {
		close(e.changed)
		e.changed = make(chan struct{})
	}
	return nil
}

// watch returns the name's record (nil: none), and a channel that is closed
// when a better one is stored. It returns false for a name that is not in the
// cache; one that isn't kept may be evicted.
func (c *cache) watch(name Name) (*Record, <-chan struct{}, bool) {
	c.mu.Lock()
	e := c.names[name]
	if e == nil {
		c.mu.Unlock()
		return nil, nil, false
	}
	change := e.changed
	c.mu.Unlock()
	_, record := c.get(name)
	return record, change, true
}

// An attemptKind is what a cache limits the attempts of.
type attemptKind int

const (
	attemptRefresh attemptKind = iota // a lookup in the background
	attemptSend                       // a republication
)

// startAttempt reports whether the last attempt is at least pause ago, and then
// records a new one.
func (c *cache) startAttempt(name Name, kind attemptKind, pause time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.names[name]
	if e == nil {
		return true
	}
	now := time.Now()
	if now.Sub(e.attempts[kind]) < pause {
		return false
	}
	e.attempts[kind] = now
	return true
}

// isKept reports whether a name is own or followed.
func (c *cache) isKept(name Name) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.names[name]
	return e != nil && e.row.kept()
}

// keptNames lists the own and followed names.
func (c *cache) keptNames() []Name {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []Name
	for name, e := range c.names {
		if e.row.kept() {
			names = append(names, name)
		}
	}
	return names
}

// forget deletes a name; if unkept is set, only if it isn't kept.
func (c *cache) forget(ctx context.Context, name Name, unkept bool) error {
	lock := c.writeLock(name)
	lock.Lock()
	defer lock.Unlock()
	old, _ := c.get(name)
	if unkept && old.kept() {
		return nil
	}
	if c.state != nil {
		key := []byte(name.RoutingKey())
		changes := []rows.Change{{Space: nameSpace, Key: key}}
		if old.kept() {
			changes = append(changes, rows.Change{Space: KeptSpace, Key: key})
		}
		if err := c.state.Set(ctx, changes...); err != nil {
			return fmt.Errorf("names: forget %s: %w", name, err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.names[name]; e != nil {
		c.removeFromSums(e)
		delete(c.names, name)
		close(e.changed)
	}
	return nil
}

// trim evicts the least recently used names until the cost is within the bound.
func (c *cache) trim(ctx context.Context) error {
	for {
		c.mu.Lock()
		var victim Name
		if first := c.order.Front(); first != nil && c.cost > c.bound {
			victim = first.Value.(Name)
		}
		c.mu.Unlock()
		if victim == (Name{}) {
			return nil
		}
		if err := c.forget(ctx, victim, true); err != nil {
			return err
		}
	}
}
