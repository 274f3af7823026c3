package routing

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cairn-ipfs/cairn/internal/rows"
	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	// maxRow bounds the providers that the cache keeps of one CID: as many as are
	// worth dialling before the DHT has answered.
	maxRow = 8

	// maxRowSource bounds those of a row that one source reported and that have
	// not delivered yet, so that a liar can't fill a row.
	maxRowSource = 4

	// maxHash bounds a row's multihash, in bytes, above the longest that names a
	// block anywhere: a key too long for the store would make every save fail.
	maxHash = 256

	// foundFor is how long the cache keeps a provider that was reported, workedFor
	// one that delivered: DHT records last 48 hours, addresses change sooner.
	foundFor  = 6 * time.Hour
	workedFor = 48 * time.Hour

	// saveEvery is how often the cache is saved: what a crash loses can be found
	// again.
	saveEvery = time.Minute
)

// A cachedProvider is a provider in the cache.
type cachedProvider struct {
	Provider
	until  time.Time
	worked bool // it delivered
}

// A cache remembers the providers of the CIDs used last.
type cache struct {
	store rows.Store
	log   *slog.Logger
	limit int // rows

	mu    sync.Mutex                        // guards the following
	rows  *simplelru.LRU[string, *cacheRow] // by multihash; nil: the cache is off
	dirty map[string]bool
}

type cacheRow struct{ providers []cachedProvider }

func newCache(store rows.Store, limit int, log *slog.Logger) *cache {
	c := &cache{store: store, log: log, limit: limit, dirty: make(map[string]bool)}
	if limit > 0 {
		// The only error is a limit of 0 or less.
		c.rows, _ = simplelru.NewLRU(limit, func(key string, _ *cacheRow) { c.dirty[key] = true })
	}
	return c
}

// load reads the saved rows. It drops unreadable rows, and rows beyond the limit.
func (c *cache) load(ctx context.Context, now time.Time) error {
	if c.rows == nil {
		return nil
	}
	for item, err := range c.store.All(ctx, space, []byte(cacheKeys)) {
		if err != nil {
			return fmt.Errorf("routing: read the provider cache: %w", err)
		}
		key := string(item.Key[len(cacheKeys):])
		providers, err := decodeRow(item.Value)
		if err != nil {
			c.log.Warn("routing: cannot read a row of the provider cache", "err", err)
		}
		providers = fresh(providers, now)
		if len(providers) == 0 || c.rows.Len() >= c.limit {
			c.dirty[key] = true
			continue
		}
		c.rows.Add(key, &cacheRow{providers})
	}
	return nil
}

// fresh removes expired providers from a slice, in place.
func fresh(providers []cachedProvider, now time.Time) []cachedProvider {
	return slices.DeleteFunc(providers, func(p cachedProvider) bool { return !now.Before(p.until) })
}

// count returns the number of rows.
func (c *cache) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rows == nil {
		return 0
	}
	return c.rows.Len()
}

// get returns the providers of a CID, those that delivered first.
func (c *cache) get(id cid.Cid, now time.Time) []Provider {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rows == nil {
		return nil
	}
	row, ok := c.rows.Get(string(id.Hash()))
	if !ok {
		return nil
	}
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

// add adds a provider, or updates it.
func (c *cache) add(id cid.Cid, p Provider, worked bool, now time.Time) {
	if c.rows == nil || len(id.Hash()) > maxHash || !validID(p.ID) || len(p.Addrs) == 0 || len(p.Source) > maxName || len(p.Protocols) > maxProtocols {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := string(id.Hash())
	row, ok := c.rows.Get(key)
	if !ok {
		row = new(cacheRow)
		c.rows.Add(key, row)
	}
	row.providers = fresh(row.providers, now)
	add := cachedProvider{p, now.Add(foundFor), worked}
	add.Addrs = slices.Clone(p.Addrs[:min(len(p.Addrs), maxAddrs)])
	add.Protocols = slices.Clone(p.Protocols)
	if worked {
		add.until = now.Add(workedFor)
	}
	at := slices.IndexFunc(row.providers, func(o cachedProvider) bool { return o.ID == p.ID })
	switch {
	case at >= 0 && row.providers[at].worked && !worked:
		// A report does not replace addresses that worked.
		if !row.providers[at].addAddrs(add.Addrs) {
			return
		}
	case at >= 0:
		row.providers[at] = add
	case !worked && row.untried(p.Source) >= maxRowSource:
		return
	case len(row.providers) < maxRow:
		row.providers = append(row.providers, add)
	default:
		// Replace the one that expires first. Only a provider that delivered
		// replaces another that did.
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

// addAddrs appends new addresses. It returns false if there are none, or no room.
func (p *cachedProvider) addAddrs(addrs []ma.Multiaddr) (added bool) {
	for _, a := range addrs {
		if len(p.Addrs) < maxAddrs && !slices.ContainsFunc(p.Addrs, a.Equal) {
			p.Addrs = append(p.Addrs, a)
			added = true
		}
	}
	return added
}

// untried counts the providers of a source that have not delivered yet.
func (r *cacheRow) untried(source string) (n int) {
	for _, p := range r.providers {
		if !p.worked && p.Source == source {
			n++
		}
	}
	return n
}

// remove removes a provider.
func (c *cache) remove(id cid.Cid, p peer.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rows == nil {
		return
	}
	key := string(id.Hash())
	row, ok := c.rows.Peek(key)
	if !ok {
		return
	}
	row.providers = slices.DeleteFunc(row.providers, func(o cachedProvider) bool { return o.ID == p })
	c.dirty[key] = true
	if len(row.providers) == 0 {
		c.rows.Remove(key)
	}
}

// save writes the rows that changed.
func (c *cache) save(ctx context.Context) error {
	c.mu.Lock()
	changes := make([]rows.Change, 0, len(c.dirty))
	for key := range c.dirty {
		change := rows.Change{Space: space, Key: []byte(cacheKeys + key)}
		if row, ok := c.rows.Peek(key); ok {
			change.Value = encodeRow(row.providers)
		}
		changes = append(changes, change)
	}
	dirty := c.dirty
	c.dirty = make(map[string]bool)
	c.mu.Unlock()
	if len(changes) == 0 {
		return nil
	}
	err := c.store.Set(ctx, changes...)
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
