package cairn

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

// The stat cache remembers what the files of a tree were made into, so that
// adding the tree again reads only what has changed. It lives in a space of
// the store, as one row for each file and directory and a head for each tree:
//
//	h <tree>          generation, when last used, how many rows, the root
//	f <tree> <path>   generation, what stat said, what it was made into
//
// A tree is a place on disk and a manner of importing; a path has 0 bytes for
// slashes, one at the end of a directory's, so that rows lie in the order in
// which an import walks.
//
// What makes a row trustworthy: every row of a generation up to the head's is
// of a file in the head's root. So where that root is whole, and held for the
// time of the import, no file needs to be looked for by itself. Rows of an
// import that did not end have a later generation, and are looked into one by
// one. Rows that an import passes over are of files that are gone: they go,
// too.
const statSpace = "stat"

const (
	// maxStatRows is how many rows are kept for all trees, about 150 bytes
	// each. Beyond it the trees that were not added for longest are forgotten.
	maxStatRows = 2_000_000
	// statFlush is how many changes of rows are held in memory.
	statFlush = 4096
	// statWorth is the size, in bytes, from which on it is worth it to ask
	// whether a file of several blocks is whole: for smaller ones, hashing
	// costs less.
	statWorth = 16 << 20
)

// statCaches opens stat caches in a store, one at a time for each tree.
type statCaches struct {
	store *store.Store
	// rows is how many are kept.
	rows int

	mu   sync.Mutex
	busy map[string]bool // guarded by mu, by tree
}

func newStatCaches(s *store.Store) *statCaches {
	return &statCaches{store: s, rows: maxStatRows, busy: map[string]bool{}}
}

// A statCache is that of one tree, for one import. Finish goes into the batch
// that the import puts into; Close must be called after that batch's Commit.
type statCache struct {
	caches *statCaches
	space  *store.Space
	tree   string
	batch  *store.Batch // the import's
	pin    *store.TempPin
	held   bool // the pin holds something
	head   statHead
	// whole: the head's root is here and held.
	whole bool

	mu sync.Mutex // guards the following fields
	// next and stop list the rows there were; at is the one reached.
	next func() (store.Item, error, bool)
	stop func()
	at   store.Item
	more bool
	// changes are rows that were not written yet, nil for those to remove.
	changes []store.Item
	rows    int
}

var _ unixfs.Remembers = (*statCache)(nil)

// open returns the stat cache of the tree at path imported in that manner, for
// an import into batch; nil where another import has it.
func (s *statCaches) open(ctx context.Context, batch *store.Batch, path, manner string) (*statCache, error) {
	tree := treeKey(path, manner)
	s.mu.Lock()
	busy := s.busy[tree]
	s.busy[tree] = true
	s.mu.Unlock()
	if busy {
		return nil, nil
	}
	c := &statCache{caches: s, space: s.store.Space(statSpace), tree: tree, batch: batch, pin: s.store.TempPin()}
	if err := c.begin(ctx); err != nil {
		return nil, fmt.Errorf("stat cache of %s: %w", path, errors.Join(err, c.Close(ctx)))
	}
	return c, nil
}

// treeKey names a tree in keys. Paths are long, and manners, too.
func treeKey(path, manner string) string {
	sum := sha256.Sum256([]byte(manner + "\x00" + path))
	return string(sum[:16])
}

func headKey(tree string) []byte { return []byte("h" + tree) }
func rowsKey(tree string) []byte { return []byte("f" + tree) }

func (c *statCache) rowKey(path string) []byte {
	return append(rowsKey(c.tree), strings.ReplaceAll(path, "/", "\x00")...)
}

func (c *statCache) begin(ctx context.Context) error {
	value, _, err := c.space.Get(ctx, headKey(c.tree))
	if err != nil {
		return err
	}
	c.head = parseStatHead(value)
	if c.whole, err = c.hold(ctx, c.head.root); err != nil {
		return err
	}
	c.next, c.stop = iter.Pull2(c.space.All(ctx, rowsKey(c.tree)))
	return c.advance()
}

// hold tells whether a DAG is here whole, and keeps it so until Close.
func (c *statCache) hold(ctx context.Context, root cid.Cid) (bool, error) {
	if !root.Defined() {
		return false, nil
	}
	// Before it is held, too: what is not here shall not become wanted.
	if whole, err := c.isWhole(ctx, root); !whole {
		return false, err
	}
	c.held = true
	if err := c.pin.Add(ctx, root); err != nil {
		return false, err
	}
	return c.isWhole(ctx, root)
}

func (c *statCache) isWhole(ctx context.Context, root cid.Cid) (bool, error) {
	for _, err := range c.caches.store.Missing(ctx, root, store.Selection{}) {
		return false, err
	}
	return true, nil
}

// advance goes to the next row. The caller holds mu, or is alone.
func (c *statCache) advance() error {
	var err error
	c.at, err, c.more = c.next()
	return err
}

// Lookup implements unixfs.Remembers.
func (c *statCache) Lookup(ctx context.Context, path string, stat unixfs.FileStat) (unixfs.Known, bool, error) {
	key := c.rowKey(path)
	row, found, err := c.row(ctx, key)
	if err != nil || !found {
		return unixfs.Known{}, false, err
	}
	if row.stat.Same(stat) {
		here, err := c.isHere(ctx, row)
		if err != nil {
			return unixfs.Known{}, false, err
		}
		if here {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.rows++
			return row.known, true, nil
		}
	}
	// It may be too fresh to be remembered anew.
	c.mu.Lock()
	defer c.mu.Unlock()
	return unixfs.Known{}, false, c.change(ctx, store.Item{Key: key})
}

// row returns the row under a key, and drops those before it.
func (c *statCache) row(ctx context.Context, key []byte) (statRow, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.more && bytes.Compare(c.at.Key, key) < 0 {
		if err := c.change(ctx, store.Item{Key: c.at.Key}); err != nil {
			return statRow{}, false, err
		}
		if err := c.advance(); err != nil {
			return statRow{}, false, err
		}
	}
	if !c.more || !bytes.Equal(c.at.Key, key) {
		return statRow{}, false, nil
	}
	row, ok := parseStatRow(c.at.Value)
	return row, ok, c.advance()
}

// isHere tells whether what a file was made into is here whole, and stays.
func (c *statCache) isHere(ctx context.Context, row statRow) (bool, error) {
	root := row.known.CID
	switch {
	case c.whole && row.generation <= c.head.generation:
		return true, nil
	case block.IsIdentity(root) && root.Type() == block.Raw:
		return true, nil
	case root.Type() == block.Raw:
		return c.batch.Has(ctx, root)
	case row.known.Size < statWorth:
		return false, nil
	}
	return c.hold(ctx, root)
}

// Remember implements unixfs.Remembers.
func (c *statCache) Remember(ctx context.Context, path string, stat unixfs.FileStat, k unixfs.Known) error {
	key := c.rowKey(path)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(key) > maxStatKey || c.rows >= c.caches.rows {
		return nil
	}
	c.rows++
	row := statRow{generation: c.head.generation + 1, stat: stat, known: k}
	return c.change(ctx, store.Item{Key: key, Value: row.append(nil)})
}

// maxStatKey is the longest key of a space, in bytes. A file whose path makes
// a longer one is read each time.
const maxStatKey = 4 << 10

// change sets a row, or removes it. The caller holds mu.
func (c *statCache) change(ctx context.Context, row store.Item) error {
	if len(row.Key) > maxStatKey {
		return nil
	}
	c.changes = append(c.changes, row)
	if len(c.changes) < statFlush {
		return nil
	}
	b := c.caches.store.Batch()
	c.into(b)
	return b.Commit(ctx)
}

// into moves the changes of rows into a batch.
func (c *statCache) into(b *store.Batch) {
	for _, row := range c.changes {
		if row.Value == nil {
			b.Unset(statSpace, row.Key)
		} else {
			b.Set(statSpace, row.Key, row.Value)
		}
	}
	c.changes = nil
}

// Finish notes that the import made root of the tree. What it notes counts
// when the import's batch is committed.
func (c *statCache) Finish(ctx context.Context, root cid.Cid) error {
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
	if err := c.forget(ctx); err != nil {
		return fmt.Errorf("stat cache: %w", err)
	}
	c.into(c.batch)
	head := statHead{generation: c.head.generation + 1, used: time.Now(), rows: c.rows, root: root}
	c.batch.Set(statSpace, headKey(c.tree), head.append(nil))
	return nil
}

// forget drops the trees not used for longest while there are too many rows.
// The caller holds mu.
func (c *statCache) forget(ctx context.Context) error {
	for {
		total := c.rows
		var oldest string
		var used time.Time
		for item, err := range c.space.All(ctx, []byte("h")) {
			if err != nil {
				return err
			}
			tree, head := string(item.Key[1:]), parseStatHead(item.Value)
			if tree == c.tree || c.caches.isBusy(tree) {
				continue
			}
			total += head.rows
			if oldest == "" || head.used.Before(used) {
				oldest, used = tree, head.used
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

func (s *statCaches) isBusy(tree string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.busy[tree]
}

// Close lets go of what the cache held.
func (c *statCache) Close(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stop != nil {
		c.stop()
	}
	c.caches.mu.Lock()
	delete(c.caches.busy, c.tree)
	c.caches.mu.Unlock()
	if !c.held {
		return nil
	}
	return c.pin.Release(context.WithoutCancel(ctx))
}
