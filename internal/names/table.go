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
)

const (
	// maxRemembered bounds what is remembered of names that nobody here
	// publishes or follows, in bytes: sixteen thousand names of the usual kind.
	// Above it the name least lately used is forgotten.
	maxRemembered = 16 << 20

	// entryCost is what an entry takes beside its record, in bytes.
	entryCost = 640

	// maxKept bounds how many names are published or followed here; the swarm
	// allows as many topics.
	maxKept = 4096

	// writers is how many names can be written at a time.
	writers = 64
)

// A table remembers names: in memory, and in a State.
type table struct {
	state State // nil: in memory alone
	log   *slog.Logger
	bound int // maxRemembered, but in tests

	// A change of a name holds its writer lock from reading the row until it
	// is durable and visible.
	seed    maphash.Seed
	writing [writers]sync.Mutex

	mu      sync.Mutex // guards what follows
	entries map[Name]*entry
	order   list.List // of Names that aren't kept, the least lately used first
	cost    int       // of those
	kept    int
}

// An entry is what a table has of a name. Its row is replaced, never changed.
type entry struct {
	row     row
	record  *Record       // row.raw, once somebody asked for it
	tried   [2]time.Time  // when it was last tried, for each purpose
	element *list.Element // nil: kept
	change  chan struct{} // closed when there is a better record
}

func newTable(ctx context.Context, state State, log *slog.Logger) (*table, error) {
	t := &table{state: state, log: log, bound: maxRemembered, seed: maphash.MakeSeed(), entries: make(map[Name]*entry)}
	if state == nil {
		return t, nil
	}
	rows, err := loadRows(ctx, state)
	if err != nil {
		return nil, err
	}
	byAge := make([]Name, 0, len(rows))
	for name := range rows {
		byAge = append(byAge, name)
	}
	slices.SortFunc(byAge, func(a, b Name) int { return rows[a].heard.Compare(rows[b].heard) })
	for _, name := range byAge {
		t.put(name, rows[name], nil)
	}
	return t, nil
}

func cost(r row) int { return entryCost + len(r.raw) }

// put sets the row of a name; t.mu is held, or nobody else knows t.
func (t *table) put(name Name, r row, record *Record) *entry {
	e := t.entries[name]
	if e == nil {
		e = &entry{change: make(chan struct{})}
		t.entries[name] = e
	} else {
		t.uncount(e)
	}
	e.row, e.record = r, record
	if r.kept() {
		t.kept++
	} else {
		e.element = t.order.PushBack(name)
		t.cost += cost(r)
	}
	return e
}

// uncount takes an entry out of the sums; t.mu is held.
func (t *table) uncount(e *entry) {
	if e.element == nil {
		t.kept--
		return
	}
	t.order.Remove(e.element)
	e.element = nil
	t.cost -= cost(e.row)
}

// get returns the row of a name and its record; nil if there is none.
func (t *table) get(name Name) (row, *Record) {
	t.mu.Lock()
	e := t.entries[name]
	if e == nil {
		t.mu.Unlock()
		return row{}, nil
	}
	if e.element != nil {
		t.order.MoveToBack(e.element)
	}
	r, record := e.row, e.record
	t.mu.Unlock()
	if record != nil || r.raw == nil {
		return r, record
	}
	record, err := ParseRecord(name, r.raw)
	if err != nil {
		t.log.Warn("names: the record in the state can't be used", "name", name, "err", err)
		r.raw = nil
		return r, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.record == nil && bytes.Equal(e.row.raw, r.raw) {
		e.record = record
	}
	return r, record
}

// writer is the lock that a change of the name holds.
func (t *table) writer(name Name) *sync.Mutex {
	return &t.writing[maphash.String(t.seed, name.hash)%writers]
}

// update changes what is remembered of a name, durably if durable is set. f
// gets the row and the record, and returns those to be; an error of its
// changes nothing.
func (t *table) update(ctx context.Context, name Name, durable bool, f func(row, *Record) (row, *Record, error)) error {
	lock := t.writer(name)
	lock.Lock()
	defer lock.Unlock()
	old, held := t.get(name)
	r, record, err := f(old, held)
	if err != nil {
		return err
	}
	t.mu.Lock()
	full := r.kept() && !old.kept() && t.kept >= maxKept
	t.mu.Unlock()
	if full {
		return fmt.Errorf("names: %s: %d names are published or followed already", name, maxKept)
	}
	if durable && t.state != nil {
		key := []byte(name.RoutingKey())
		changes := []Change{{AreaNames, key, r.marshal()}}
		if lasting := r.lasting(); !bytes.Equal(lasting, old.lasting()) {
			changes = append(changes, Change{AreaKept, key, lasting})
		}
		if err := t.state.Set(ctx, changes...); err != nil {
			return fmt.Errorf("names: remember %s: %w", name, err)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.put(name, r, record)
	if record != nil && record != held {
		close(e.change)
		e.change = make(chan struct{})
	}
	return nil
}

// changed returns the name's record, nil if there is none, and a channel that
// is closed when there is a better one. The name must be kept.
func (t *table) changed(name Name) (*Record, <-chan struct{}, bool) {
	t.mu.Lock()
	e := t.entries[name]
	if e == nil {
		t.mu.Unlock()
		return nil, nil, false
	}
	change := e.change
	t.mu.Unlock()
	_, record := t.get(name)
	return record, change, true
}

// A purpose is what a name is tried for.
type purpose int

const (
	toRefresh purpose = iota
	toSend
)

// try tells whether the name hasn't been tried for a while, and notes that it
// is now.
func (t *table) try(name Name, what purpose, pause time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entries[name]
	if e == nil {
		return true
	}
	now := time.Now()
	if now.Sub(e.tried[what]) < pause {
		return false
	}
	e.tried[what] = now
	return true
}

// isKept tells whether a name is published or followed.
func (t *table) isKept(name Name) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entries[name]
	return e != nil && e.row.kept()
}

// names lists the names that are published or followed.
func (t *table) names() []Name {
	t.mu.Lock()
	defer t.mu.Unlock()
	var names []Name
	for name, e := range t.entries {
		if e.row.kept() {
			names = append(names, name)
		}
	}
	return names
}

// forget removes a name; if unkept is set, only if it isn't kept by now.
func (t *table) forget(ctx context.Context, name Name, unkept bool) error {
	lock := t.writer(name)
	lock.Lock()
	defer lock.Unlock()
	old, _ := t.get(name)
	if unkept && old.kept() {
		return nil
	}
	if t.state != nil {
		key := []byte(name.RoutingKey())
		changes := []Change{{AreaNames, key, nil}}
		if old.kept() {
			changes = append(changes, Change{AreaKept, key, nil})
		}
		if err := t.state.Set(ctx, changes...); err != nil {
			return fmt.Errorf("names: forget %s: %w", name, err)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.entries[name]; e != nil {
		t.uncount(e)
		delete(t.entries, name)
		close(e.change)
	}
	return nil
}

// trim forgets the names least lately used until the rest is within bounds.
func (t *table) trim(ctx context.Context) error {
	for {
		t.mu.Lock()
		var victim Name
		if first := t.order.Front(); first != nil && t.cost > t.bound {
			victim = first.Value.(Name)
		}
		t.mu.Unlock()
		if victim == (Name{}) {
			return nil
		}
		if err := t.forget(ctx, victim, true); err != nil {
			return err
		}
	}
}
