package store

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// memTableSize keeps the index's log short, so that opening after a crash
	// replays little.
	memTableSize = 4 << 20
	// memTables is the number of memtables at which writing waits for the disk.
	// Pebble takes their memory from its cache.
	memTables = 3
	// maxIdle is the number of iterators kept for the next lookup: about as many
	// as goroutines look up at a time.
	maxIdle = 8
	// idleLife is how long they are kept: they keep files on disk that
	// compactions have replaced since.
	idleLife = time.Second
)

// An index is the Pebble database with the facts. Reads go straight to it;
// batches are applied by the committer alone.
type index struct {
	db     *pebble.DB
	lock   io.Closer   // of the index's folder; see guardFS.Lock
	opened atomic.Bool // until then errors are returned, not guarded
	// failed is closed after an error that Pebble can't continue after.
	failed    chan struct{}
	failOnce  sync.Once
	failCause error // set before failed is closed

	mu sync.Mutex // guards the following fields
	// idle are iterators over the index as it is since the last batch: making one
	// costs as much as a lookup with it.
	idle    []*pebble.Iterator
	version uint64      // raised whenever they are dropped
	expiry  *time.Timer // set while some are kept
}

func openIndex(fs vfs.FS, dir string, o Options, mayCreate bool) (*index, error) {
	x := &index{failed: make(chan struct{})}
	lock, err := fs.Lock(fs.PathJoin(dir, "LOCK"))
	if err != nil {
		return nil, fmt.Errorf("lock index: %w", err)
	}
	defer func() {
		if x.db == nil {
			lock.Close()
		}
	}()
	x.lock = lock
	cache := pebble.NewCache(o.CacheSize + memTables*memTableSize)
	defer cache.Unref()
	scheduler := &lateScheduler{CompactionScheduler: pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()}
	po := &pebble.Options{
		FS:                          &guardFS{FS: fs, index: x, dir: dir},
		Cache:                       cache,
		Logger:                      &indexLogger{log: o.Logger, index: x},
		FormatMajorVersion:          pebble.FormatValueSeparation,
		MemTableSize:                memTableSize,
		MemTableStopWritesThreshold: memTables,
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       20,
		MaxOpenFiles:                256,
		ErrorIfNotExists:            !mayCreate,
		DisableAutomaticCompactions: false,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
	}
	po.Experimental.CompactionScheduler = scheduler
	for i := range po.Levels {
		po.Levels[i].BlockSize = 8 << 10
		po.Levels[i].IndexBlockSize = 64 << 10
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		po.Levels[i].FilterType = pebble.TableFilter
	}
	po.TargetFileSizes[0] = 4 << 20
	// Pebble treats damage as fatal. Here it only fails this index.
	po.EventListener = &pebble.EventListener{DataCorruption: func(info pebble.DataCorruptionInfo) {
		x.fail(fmt.Errorf("%w: the index is damaged: %w", ErrIndexLost, info.Details))
	}}
	var db *pebble.DB
	err = x.wait(func() (err error) {
		db, err = pebble.Open(dir, po)
		return err
	})
	switch {
	case err == nil:
		x.db = db
		x.opened.Store(true)
		scheduler.begin()
		return x, nil
	case errors.Is(err, pebble.ErrDBDoesNotExist):
		return nil, fmt.Errorf("%w: no index at %s", ErrIndexLost, dir)
	case errors.As(err, new(*os.PathError)) && !errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("open index: %w", err) // an error of the disk
	case errors.Is(err, ErrIndexLost):
		return nil, err
	}
	return nil, fmt.Errorf("%w: the index is damaged: %w", ErrIndexLost, err)
}

// A lateScheduler starts no compactions before the index is open. Pebble starts
// them while it is opening, after it has replayed its log, and then waits for
// them: for seconds, if a crash left much to be compacted.
type lateScheduler struct {
	pebble.CompactionScheduler
	begun atomic.Bool
}

// TrySchedule implements pebble.CompactionScheduler.
func (s *lateScheduler) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	if !s.begun.Load() {
		return false, nil
	}
	return s.CompactionScheduler.TrySchedule()
}

// begin allows compactions from now on. Pebble doesn't ask again for one that was
// refused. It is offered it when another is done, so begin ends one that never
// ran.
func (s *lateScheduler) begin() {
	s.begun.Store(true)
	if ok, grant := s.CompactionScheduler.TrySchedule(); ok {
		grant.Done()
	}
}

// readError wraps an error of reading: damage is ErrIndexLost.
func readError(err error) error {
	if pebble.IsCorruptionError(err) {
		return fmt.Errorf("%w: the index is damaged: %w", ErrIndexLost, err)
	}
	return fmt.Errorf("index: %w", err)
}

// wait runs a call of Pebble's that may never return. If the index fails
// meanwhile, wait returns without it.
func (x *index) wait(call func() error) error {
	done := make(chan error, 1)
	go func() { done <- call() }()
	select {
	case err := <-done:
		return err
	case <-x.failed:
		return x.err()
	}
}

// drop closes a snapshot. Pebble may begin to compact then, and wait for a write
// of the manifest that never returns.
func (x *index) drop(snap *pebble.Snapshot) { x.wait(snap.Close) }

// row returns the row of a multihash in the index, or an empty one.
func (x *index) row(mh string) (*row, error) {
	value, err := x.get(rowKey(mh))
	if err != nil || value == nil {
		return &row{}, err
	}
	return parseRow(value)
}

// get returns the value of key, or nil if there is none. It uses an iterator
// because only that consults the filters of the last level, which make the lookup
// of an absent key cheap.
func (x *index) get(key string) ([]byte, error) {
	if err := x.err(); err != nil {
		return nil, err
	}
	it, version := x.takeIdle()
	if it == nil {
		var err error
		if it, err = newSeeker(x.db); err != nil {
			return nil, err
		}
	}
	value, err := seek(it, key)
	if err == nil && x.keepIdle(it, version) {
		return value, nil
	}
	if cerr := it.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, readError(err)
	}
	return value, nil
}

// takeIdle returns an iterator that shows all applied batches, or nil, and the
// version for keepIdle.
func (x *index) takeIdle() (*pebble.Iterator, uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := len(x.idle)
	if n == 0 {
		return nil, x.version
	}
	it := x.idle[n-1]
	x.idle = x.idle[:n-1]
	return it, x.version
}

// keepIdle keeps an iterator for the next lookup, if it still shows all applied
// batches. Version is from before it was made.
func (x *index) keepIdle(it *pebble.Iterator, version uint64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.version != version || len(x.idle) >= maxIdle {
		return false
	}
	x.idle = append(x.idle, it)
	if x.expiry == nil {
		x.expiry = time.AfterFunc(idleLife, x.dropIdle)
	}
	return true
}

// dropIdle closes the kept iterators, which show an old state. Their errors were
// returned by the lookups with them.
func (x *index) dropIdle() {
	x.mu.Lock()
	defer x.mu.Unlock()
	// With mu held, so that the database isn't closed before the timer is done.
	for _, it := range x.idle {
		it.Close()
	}
	x.idle = nil
	x.version++
	if x.expiry != nil {
		x.expiry.Stop()
		x.expiry = nil
	}
}

// newSeeker returns an iterator for seek.
func newSeeker(r pebble.Reader) (*pebble.Iterator, error) {
	it, err := r.NewIter(&pebble.IterOptions{UseL6Filters: true})
	if err != nil {
		return nil, readError(err)
	}
	return it, nil
}

// seek returns the value of key, or nil if there is none.
func seek(it *pebble.Iterator, key string) ([]byte, error) {
	if !it.SeekPrefixGE([]byte(key)) || string(it.Key()) != key {
		return nil, it.Error()
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return nil, err
	}
	return append(make([]byte, 0, len(v)), v...), nil
}

// getFrom is get for a snapshot.
func getFrom(r pebble.Reader, key string) ([]byte, error) {
	it, err := newSeeker(r)
	if err != nil {
		return nil, err
	}
	value, err := seek(it, key)
	if cerr := it.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, readError(err)
	}
	return value, nil
}

// prefixBounds are the options for an iterator over all keys with a prefix.
func prefixBounds(prefix string) *pebble.IterOptions {
	upper := []byte(prefix)
	for len(upper) > 0 && upper[len(upper)-1] == 0xff {
		upper = upper[:len(upper)-1]
	}
	if len(upper) > 0 {
		upper[len(upper)-1]++
	}
	return &pebble.IterOptions{LowerBound: []byte(prefix), UpperBound: upper}
}

// scan calls f with each key and value under prefix from start on (a full key;
// empty: from the first) until f returns false. The slices are valid during
// the call only.
func scan(r pebble.Reader, prefix, start string, f func(key, value []byte) bool) error {
	o := prefixBounds(prefix)
	if start > prefix {
		o.LowerBound = []byte(start)
	}
	it, err := r.NewIter(o)
	if err != nil {
		return readError(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			it.Close()
			return readError(err)
		}
		if !f(it.Key(), v) {
			break
		}
	}
	if err := it.Close(); err != nil {
		return readError(err)
	}
	return nil
}

// apply writes a batch and closes it. If Pebble fails for good meanwhile, apply
// returns without waiting: Pebble's goroutine is lost, and the batch must not be
// closed, for Pebble uses closed ones again.
func (x *index) apply(b *pebble.Batch, sync bool) error {
	if err := x.err(); err != nil {
		return err
	}
	o := pebble.NoSync
	if sync {
		o = pebble.Sync
	}
	err := x.wait(func() error {
		defer x.dropIdle()
		return x.db.Apply(b, o)
	})
	if err != nil {
		x.fail(err)
		return x.err()
	}
	return b.Close()
}

func (x *index) fail(cause error) {
	x.failOnce.Do(func() {
		x.failCause = cause
		close(x.failed)
	})
}

// err returns an error that wraps ErrFailed once the index has failed.
func (x *index) err() error {
	select {
	case <-x.failed:
		return fmt.Errorf("%w: %w", ErrFailed, x.failCause)
	default:
		return nil
	}
}

// close closes the database. After a failure Pebble may hold its own locks for
// ever, so it is left as it is: the guard keeps it from writing.
func (x *index) close(flush bool) error {
	if x.err() != nil {
		return x.lock.Close()
	}
	err := x.wait(func() (err error) {
		x.dropIdle()
		if flush {
			err = x.db.Flush()
		}
		return errors.Join(err, x.db.Close())
	})
	if err = errors.Join(err, x.lock.Close()); err != nil {
		return fmt.Errorf("close index: %w", err)
	}
	return nil
}

// indexLogger is Pebble's logger. Pebble expects Fatalf to end the process. Here
// it marks the index failed and never returns, for a library must not end its
// host.
type indexLogger struct {
	log   *slog.Logger
	index *index
}

func (l *indexLogger) Infof(format string, args ...any) {
	l.log.Debug("index: " + fmt.Sprintf(format, args...))
}

func (l *indexLogger) Errorf(format string, args ...any) {
	l.log.Warn("index: " + fmt.Sprintf(format, args...))
}

func (l *indexLogger) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	l.log.Error("index failed", "error", err)
	l.index.fail(err)
	select {}
}
