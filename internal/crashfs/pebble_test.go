package crashfs

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// A database is used for lifetime crashes, for it grows slow with age.
const (
	lives    = 10
	lifetime = 20
)

// keysInBatch is the number of keys that each batch sets, all or none.
const keysInBatch = 4

// TestPebble runs Pebble on an FS whose power is cut at random calls, again and again.
// After each recovery it checks that every acknowledged batch is there, and none in
// part.
func TestPebble(t *testing.T) {
	n := uint64(lives)
	if testing.Short() {
		n /= 5
	}
	for seed := range n {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { live(t, seed) })
	}
}

func live(t *testing.T, seed uint64) {
	fs := New(seed)
	l := &ledger{rng: rand.New(rand.NewPCG(seed, 1)), acked: make(map[uint64]bool)}
	when := rand.New(rand.NewPCG(seed, 2)) // apart, as those of dead rounds still draw from the ledger's
	for round := range lifetime {
		// Pebble ends the process where it cannot rotate its log (it panics
		// without a mutex that a deferred call then unlocks), so no call may
		// return once the power is gone.
		fs.Hang()
		fs.CrashAfter(1 + when.IntN(300)) // Open alone makes some thirty
		stopped := make(chan error, 1)
		go func() { stopped <- l.run(fs) }()
		select {
		case err := <-stopped:
			t.Fatalf("round %d: %v", round, err)
		case <-fs.Dead():
		}
		fs = fs.Crash()
	}
	db, err := open(fs)
	if err != nil {
		t.Fatalf("the last open: %v", err)
	}
	if err := l.check(db); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.recoveries < lifetime/2 || len(l.acked) < 5*lifetime {
		t.Errorf("got %d recoveries and %d acknowledged batches, too few to prove a thing", l.recoveries, len(l.acked))
	}
	t.Logf("%d crashes, %d recoveries, %d batches acknowledged of %d", lifetime, l.recoveries, len(l.acked), l.next)
}

// A ledger has the committed batches, and which were acknowledged.
type ledger struct {
	mu         sync.Mutex // guards the following 4 fields
	rng        *rand.Rand
	next       uint64          // the number of the next batch
	acked      map[uint64]bool // the batches whose synced commit returned
	recoveries int
}

// run opens the database, checks it, and commits batches until the power is cut. It
// returns only on an error.
func (l *ledger) run(fs *FS) error {
	db, err := open(fs)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	if err := l.check(db); err != nil {
		return err
	}
	l.mu.Lock()
	l.recoveries++
	l.mu.Unlock()
	for {
		b := db.NewBatch()
		n, synced, err := l.fill(b)
		if err != nil {
			return err
		}
		if err := b.Commit(&pebble.WriteOptions{Sync: synced}); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		if synced {
			l.mu.Lock()
			l.acked[n] = true
			l.mu.Unlock()
		}
	}
}

// fill puts the next batch's keys into b, and picks whether to sync it.
func (l *ledger) fill(b *pebble.Batch) (n uint64, synced bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n = l.next
	l.next++
	value := make([]byte, 8+l.rng.IntN(1000))
	binary.LittleEndian.PutUint64(value, n)
	for i := range keysInBatch {
		if err := b.Set(fmt.Appendf(nil, "%08d/%d", n, i), value, nil); err != nil {
			return 0, false, err
		}
	}
	return n, l.rng.IntN(3) > 0, nil
}

// check fails if an acknowledged batch is lost or a batch is there in part.
func (l *ledger) check(db *pebble.DB) error {
	l.mu.Lock()
	next, acked := l.next, maps.Clone(l.acked)
	l.mu.Unlock() // a read may hang
	it, err := db.NewIter(nil)
	if err != nil {
		return err
	}
	found := make([]int, next)
	for it.First(); it.Valid(); it.Next() {
		n := binary.LittleEndian.Uint64(it.Value())
		if n >= next || !strings.HasPrefix(string(it.Key()), fmt.Sprintf("%08d/", n)) {
			return fmt.Errorf("key %q: got the value of batch %d", it.Key(), n)
		}
		found[n]++
	}
	for n, got := range found {
		if got != keysInBatch && (got > 0 || acked[uint64(n)]) {
			return fmt.Errorf("batch %d (acknowledged: %t): got %d keys, want %d", n, acked[uint64(n)], got, keysInBatch)
		}
	}
	return it.Close()
}

func open(fs *FS) (*pebble.DB, error) {
	return pebble.Open("/data/db", &pebble.Options{
		FS:                    fs,
		Logger:                silent{},
		MemTableSize:          32 << 10, // so that flushes and compactions are frequent
		CacheSize:             1 << 20,
		L0CompactionThreshold: 2,
		FormatMajorVersion:    pebble.FormatNewest,
	})
}

// silent is a Logger that is silent unless Pebble ends the process.
type silent struct{}

func (silent) Infof(string, ...any)              {}
func (silent) Errorf(string, ...any)             {}
func (silent) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
