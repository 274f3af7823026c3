// Package statcache remembers the CIDs of a tree's files, so that adding the tree
// again reads only files that changed.
//
// [New] makes the [Caches] of a store. [Caches.Open] returns the [Cache] of one tree
// for one import, which uses it as its [unixfs.StatCache]. An import's rows are
// written in the batch of its blocks: both become durable, or neither.
//
// Rows lie in a space of the store, one for each file and directory, and a head
// for each tree:
//
//	h <tree>          generation, time of last use, number of rows, root
//	f <tree> <path>   generation, stat, CID and sizes
//
// A tree is a place on disk and a manner of importing. A path has 0 bytes for
// slashes, and a directory's path ends in one: so rows lie in the order in which an
// import walks.
//
// Rows of the head's generation or an earlier one describe files of the head's root.
// If that root is whole, and pinned for the import, they need no check. Rows of an
// import that failed have a later generation, and are checked one by one. An import
// removes the rows of files that are gone.
//
// Caches and a Cache are safe for concurrent use; neither has goroutines. The
// package does not decide whether a file's times can be trusted: package unixfs
// does, by git's rule for racy files. Nor does it notice a change that leaves size, times and inode
// as they were.
package statcache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// space is the space of the store that holds the rows.
const space = "stat"

const (
	// maxRows is how many rows are kept for all trees, about 150 bytes each.
	// Beyond it the trees unused for longest are removed.
	maxRows = 2_000_000
	// maxChanges is how many changed rows are held in memory.
	maxChanges = 4096
	// minWalk is the size, in bytes, from which a walk over a file's blocks costs
	// less than reading and hashing the file.
	minWalk = 16 << 20
	// maxKey is the longest key of a space, in bytes. A file whose path makes a
	// longer one is read each time.
	maxKey = 4 << 10
)

// Caches are the stat caches in a store. Each tree has one, which one import at a
// time can open.
type Caches struct {
	store *store.Store
	rows  int // how many are kept at most

	mu   sync.Mutex
	busy map[string]bool // guarded by mu, by tree
}

// New returns the stat caches in a store.
func New(s *store.Store) *Caches {
	return &Caches{store: s, rows: maxRows, busy: map[string]bool{}}
}

// A Cache is the stat cache of one tree, open for one import. Finish writes into
// the import's batch. Call Close after the batch's Commit or Discard.
type Cache struct {
	caches *Caches
	space  *store.Space
	tree   string
	batch  *store.Batch // the import's
	pin    *store.TempPin
	pinned bool // the pin holds a root
	head   head
	whole  bool // the head's root is whole and pinned

	mu sync.Mutex // guards the following
	// next and stop iterate over the former rows; at is the current one, if more.
	next func() (store.Item, error, bool)
	stop func()
	at   store.Item
	more bool
	// changes are rows not written yet. A nil value removes a row.
	changes []store.Item
	rows    int
}

var _ unixfs.StatCache = (*Cache)(nil)

// Open returns the stat cache of the tree at path, imported in that manner into
// batch. It returns nil if another import has it open.
func (s *Caches) Open(ctx context.Context, batch *store.Batch, path, manner string) (*Cache, error) {
	tree := treeKey(path, manner)
	s.mu.Lock()
	busy := s.busy[tree]
	s.busy[tree] = true
	s.mu.Unlock()
	if busy {
		return nil, nil
	}
	c := &Cache{caches: s, space: s.store.Space(space), tree: tree, batch: batch, pin: s.store.TempPin()}
	if err := c.begin(ctx); err != nil {
		return nil, fmt.Errorf("stat cache of %s: %w", path, errors.Join(err, c.Close(ctx)))
	}
	return c, nil
}

// treeKey shortens a path and a manner, which may be long, to a part of a key.
func treeKey(path, manner string) string {
	sum := sha256.Sum256([]byte(manner + "\x00" + path))
	return string(sum[:16])
}

func headKey(tree string) []byte { return []byte("h" + tree) }
func rowsKey(tree string) []byte { return []byte("f" + tree) }

func (c *Cache) rowKey(path string) []byte {
	return append(rowsKey(c.tree), strings.ReplaceAll(path, "/", "\x00")...)
}

func (c *Cache) begin(ctx context.Context) error {
	value, _, err := c.space.Get(ctx, headKey(c.tree))
	if err != nil {
		return err
	}
	c.head = parseHead(value)
	if c.whole, err = c.pinWhole(ctx, c.head.root); err != nil {
		return err
	}
	c.next, c.stop = iter.Pull2(c.space.All(ctx, rowsKey(c.tree)))
	return c.advance()
}

// pinWhole reports whether the DAG below root is whole, and if so pins it until
// Close.
func (c *Cache) pinWhole(ctx context.Context, root cid.Cid) (bool, error) {
	if !root.Defined() {
		return false, nil
	}
	// Checked before pinning, too: a pin would make missing blocks wanted.
	if whole, err := c.isWhole(ctx, root); !whole {
		return false, err
	}
	c.pinned = true
	if err := c.pin.Add(ctx, root); err != nil {
		return false, err
	}
	return c.isWhole(ctx, root)
}

func (c *Cache) isWhole(ctx context.Context, root cid.Cid) (bool, error) {
	for _, err := range c.caches.store.Missing(ctx, root, store.Selection{}) {
		return false, err
	}
	return true, nil
}

// advance moves to the next row. The caller holds mu, or is alone.
func (c *Cache) advance() error {
	var err error
	c.at, err, c.more = c.next()
	return err
}

// Lookup implements unixfs.StatCache.
func (c *Cache) Lookup(ctx context.Context, path string, stat unixfs.FileStat) (unixfs.CachedResult, bool, error) {
	key := c.rowKey(path)
	row, found, err := c.find(ctx, key)
	if err != nil || !found {
		return unixfs.CachedResult{}, false, err
	}
	if row.stat.Equal(stat) {
		here, err := c.isHere(ctx, row)
		if err != nil {
			return unixfs.CachedResult{}, false, err
		}
		if here {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.rows++
			return row.known, true, nil
		}
	}
	// Removed, because a file with recent times gets no new row.
	c.mu.Lock()
	defer c.mu.Unlock()
	return unixfs.CachedResult{}, false, c.change(ctx, store.Item{Key: key})
}

// find returns the row under a key, and removes those before it.
func (c *Cache) find(ctx context.Context, key []byte) (row, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.more && bytes.Compare(c.at.Key, key) < 0 {
		if err := c.change(ctx, store.Item{Key: c.at.Key}); err != nil {
			return row{}, false, err
		}
		if err := c.advance(); err != nil {
			return row{}, false, err
		}
	}
	if !c.more || !bytes.Equal(c.at.Key, key) {
		return row{}, false, nil
	}
	found, ok := parseRow(c.at.Value)
	return found, ok, c.advance()
}

// isHere reports whether a file's DAG is whole, and stays so for the import.
func (c *Cache) isHere(ctx context.Context, r row) (bool, error) {
	root := r.known.CID
	switch {
	case c.whole && r.generation <= c.head.generation:
		return true, nil
	case block.IsIdentity(root) && root.Type() == block.Raw:
		return true, nil
	case root.Type() == block.Raw:
		return c.batch.Has(ctx, root)
	case r.known.Size < minWalk:
		return false, nil
	}
	return c.pinWhole(ctx, root)
}

// Store implements unixfs.StatCache.
func (c *Cache) Store(ctx context.Context, path string, stat unixfs.FileStat, k unixfs.CachedResult) error {
	key := c.rowKey(path)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(key) > maxKey || c.rows >= c.caches.rows {
		return nil
	}
	c.rows++
	r := row{generation: c.head.generation + 1, stat: stat, known: k}
	return c.change(ctx, store.Item{Key: key, Value: r.append(nil)})
}

// change sets a row, or removes it. The caller holds mu.
func (c *Cache) change(ctx context.Context, item store.Item) error {
	if len(item.Key) > maxKey {
		return nil
	}
	c.changes = append(c.changes, item)
	if len(c.changes) < maxChanges {
		return nil
	}
	b := c.caches.store.Batch()
	c.moveChanges(b)
	return b.Commit(ctx)
}

// moveChanges moves the changed rows into a batch.
func (c *Cache) moveChanges(b *store.Batch) {
	for _, item := range c.changes {
		if item.Value == nil {
			b.Unset(space, item.Key)
		} else {
			b.Set(space, item.Key, item.Value)
		}
	}
	c.changes = nil
}

// Finish records the root that the import made of the tree. It takes effect with
// the batch's Commit.
func (c *Cache) Finish(ctx context.Context, root cid.Cid) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.more {
		err := c.change(ctx, store.Item{Key: c.at.Key})
		if err == nil {
			err = c.advance()
		}
		if err != nil {
			return fmt.Errorf("stat cache: %w", err)
		}
	}
	if err := c.evict(ctx); err != nil {
		return fmt.Errorf("stat cache: %w", err)
	}
	c.moveChanges(c.batch)
	h := head{generation: c.head.generation + 1, used: time.Now(), rows: c.rows, root: root}
	c.batch.Set(space, headKey(c.tree), h.append(nil))
	return nil
}

// evict removes the trees unused for longest while there are too many rows. The
// caller holds mu.
func (c *Cache) evict(ctx context.Context) error {
	for {
		total := c.rows
		var oldest string
		var used time.Time
		for item, err := range c.space.All(ctx, []byte("h")) {
			if err != nil {
				return err
			}
			tree, h := string(item.Key[1:]), parseHead(item.Value)
			if tree == c.tree || c.caches.isBusy(tree) {
				continue
			}
			total += h.rows
			if oldest == "" || h.used.Before(used) {
				oldest, used = tree, h.used
			}
		}
		if total <= c.caches.rows || oldest == "" {
			return nil
		}
		// The head first: without it no row counts.
		if err := c.space.Unset(ctx, headKey(oldest)); err != nil {
			return err
		}
		for item, err := range c.space.All(ctx, rowsKey(oldest)) {
			if err == nil {
				err = c.change(ctx, store.Item{Key: item.Key})
			}
			if err != nil {
				return err
			}
		}
	}
}

func (s *Caches) isBusy(tree string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.busy[tree]
}

// Close releases what the cache pinned, and lets another import open it.
func (c *Cache) Close(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stop != nil {
		c.stop()
	}
	c.caches.mu.Lock()
	delete(c.caches.busy, c.tree)
	c.caches.mu.Unlock()
	if !c.pinned {
		return nil
	}
	return c.pin.Release(context.WithoutCancel(ctx))
}
