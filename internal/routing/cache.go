package routing

import (
	"container/list"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	// maxRow bounds the providers remembered of one CID: as many as are worth
	// dialling before the DHT has answered.
	maxRow = 8

	// maxRowSource bounds those that one source told of and nobody tried yet,
	// so that a liar can't fill a row.
	maxRowSource = 4

	// maxHash bounds a row's multihash, in bytes, above the longest that names a
	// block anywhere: one too long for the store would keep all from being saved.
	maxHash = 256

	// foundFor is how long a provider is remembered that was only heard of,
	// workedFor one that was: DHT records are good for 48 hours, addresses
	// change sooner.
	foundFor  = 6 * time.Hour
	workedFor = 48 * time.Hour

	// saveEvery is how often the cache is saved: what is lost in a crash can be
	// found again.
	saveEvery = time.Minute
)

// A cached is a provider in the cache.
type cached struct {
	Provider
	until  time.Time
	worked bool // it was tried
}

// A cache remembers providers, least recently used first to go.
type cache struct {
	store Datastore
	log   *slog.Logger
	limit int // rows

	mu    sync.Mutex // guards what follows
	rows  map[string]*list.Element
	order *list.List // of *cacheRow, the latest first
	dirty map[string]bool
}

type cacheRow struct {
	key       string // the multihash
	providers []cached
}

func newCache(store Datastore, limit int, log *slog.Logger) *cache {
	return &cache{
		store: store, log: log, limit: limit,
		rows: make(map[string]*list.Element), order: list.New(), dirty: make(map[string]bool),
	}
}

// load reads what was saved. Rows that can't be read, or that are too many,
// are dropped.
func (c *cache) load(ctx context.Context, now time.Time) error {
	if c.limit < 0 {
		return nil
	}
	for item, err := range c.store.All(ctx, []byte(cacheKeys)) {
		if err != nil {
			return fmt.Errorf("routing: read the provider cache: %w", err)
		}
		key := string(item.Key[len(cacheKeys):])
		providers, err := decodeRow(item.Value)
		if err != nil {
			c.log.Warn("routing: a row of the provider cache can't be read", "err", err)
		}
		providers = fresh(providers, now)
		if len(providers) == 0 || c.order.Len() >= c.limit {
			c.dirty[key] = true
			continue
		}
		c.rows[key] = c.order.PushBack(&cacheRow{key, providers})
	}
	return nil
}

func fresh(providers []cached, now time.Time) []cached {
	return slices.DeleteFunc(providers, func(p cached) bool { return !now.Before(p.until) })
}

// get returns what is remembered, those that worked first.
func (c *cache) get(id cid.Cid, now time.Time) []Provider {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.rows[string(id.Hash())]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	row := e.Value.(*cacheRow)
	var worked, found []Provider
	for _, p := range row.providers {
		if !now.Before(p.until) {
			continue
		}
		out := p.Provider
		out.Source = "cache"
		out.Addrs = slices.Clone(out.Addrs)
		out.Protocols = slices.Clone(out.Protocols)
		if p.worked {
			worked = append(worked, out)
		} else {
			found = append(found, out)
		}
	}
	return append(worked, found...)
}

// add remembers a provider with its addresses.
func (c *cache) add(id cid.Cid, p Provider, worked bool, now time.Time) {
	if c.limit < 0 || len(id.Hash()) > maxHash || !validID(p.ID) || len(p.Addrs) == 0 || len(p.Source) > maxName || len(p.Protocols) > maxProtocols {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := string(id.Hash())
	e := c.rows[key]
	if e == nil {
		e = c.order.PushFront(&cacheRow{key: key})
		c.rows[key] = e
		if c.order.Len() > c.limit {
			c.drop(c.order.Back())
		}
	}
	c.order.MoveToFront(e)
	row := e.Value.(*cacheRow)
	row.providers = fresh(row.providers, now)
	add := cached{p, now.Add(foundFor), worked}
	add.Addrs = slices.Clone(p.Addrs[:min(len(p.Addrs), maxAddrs)])
	add.Protocols = slices.Clone(p.Protocols)
	if worked {
		add.until = now.Add(workedFor)
	}
	at := slices.IndexFunc(row.providers, func(o cached) bool { return o.ID == p.ID })
	switch {
	case at >= 0 && row.providers[at].worked && !worked:
		// What was tried is known better than what was heard.
		if !row.providers[at].learn(add.Addrs) {
			return
		}
	case at >= 0:
		row.providers[at] = add
	case !worked && row.untried(p.Source) >= maxRowSource:
		return
	case len(row.providers) < maxRow:
		row.providers = append(row.providers, add)
	default:
		// The one that ends first makes room; what worked only for its like.
		at := -1
		for i, o := range row.providers {
			if (!o.worked || worked) && (at < 0 || row.providers[at].worked && !o.worked ||
				row.providers[at].worked == o.worked && o.until.Before(row.providers[at].until)) {
				at = i
			}
		}
		if at < 0 {
			return
		}
		row.providers[at] = add
	}
	c.dirty[key] = true
}

// learn adds addresses behind those that are known; false: there are no new
// ones, or no room.
func (p *cached) learn(addrs []ma.Multiaddr) (learned bool) {
	for _, a := range addrs {
		if len(p.Addrs) < maxAddrs && !slices.ContainsFunc(p.Addrs, a.Equal) {
			p.Addrs = append(p.Addrs, a)
			learned = true
		}
	}
	return learned
}

// untried counts the providers of a source that nobody has tried.
func (r *cacheRow) untried(source string) (n int) {
	for _, p := range r.providers {
		if !p.worked && p.Source == source {
			n++
		}
	}
	return n
}

// remove forgets a provider.
func (c *cache) remove(id cid.Cid, p peer.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.rows[string(id.Hash())]
	if e == nil {
		return
	}
	row := e.Value.(*cacheRow)
	row.providers = slices.DeleteFunc(row.providers, func(o cached) bool { return o.ID == p })
	c.dirty[row.key] = true
	if len(row.providers) == 0 {
		c.drop(e)
	}
}

// drop removes a row; mu is held.
func (c *cache) drop(e *list.Element) {
	row := c.order.Remove(e).(*cacheRow)
	delete(c.rows, row.key)
	c.dirty[row.key] = true
}

// save writes what changed.
func (c *cache) save(ctx context.Context) error {
	c.mu.Lock()
	changes := make([]Change, 0, len(c.dirty))
	for key := range c.dirty {
		change := Change{Key: []byte(cacheKeys + key)}
		if e := c.rows[key]; e != nil {
			change.Value = encodeRow(e.Value.(*cacheRow).providers)
		}
		changes = append(changes, change)
	}
	dirty := c.dirty
	c.dirty = make(map[string]bool)
	c.mu.Unlock()
	if len(changes) == 0 {
		return nil
	}
	err := c.store.Set(ctx, changes)
	if err != nil {
		c.mu.Lock()
		for key := range dirty {
			c.dirty[key] = true
		}
		c.mu.Unlock()
		return fmt.Errorf("routing: save the provider cache: %w", err)
	}
	return nil
}
