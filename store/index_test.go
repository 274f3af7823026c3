package store

import (
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// testIndex opens an index in memory.
func testIndex(t *testing.T) *index {
	t.Helper()
	fs := vfs.NewMem()
	if err := fs.MkdirAll("index", 0o755); err != nil {
		t.Fatal(err)
	}
	x, err := openIndex(fs, "index", Options{}.withDefaults(), true)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func (x *index) set(t *testing.T, key, value string) {
	t.Helper()
	b := x.db.NewBatch()
	if err := b.Set([]byte(key), []byte(value), nil); err != nil {
		t.Fatal(err)
	}
	if err := x.apply(b, false); err != nil {
		t.Fatal(err)
	}
}

// An applied batch is seen, also with iterators kept from before.
func TestIndexKeptIterators(t *testing.T) {
	x := testIndex(t)
	want := ""
	for _, next := range []string{"first", "second", "third"} {
		for range 2 {
			got, err := x.get("key")
			if err != nil || string(got) != want {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
			x.mu.Lock()
			x.expiry.Stop() // so that a slow run doesn't drop it
			n := len(x.idle)
			x.mu.Unlock()
			if n != 1 {
				t.Errorf("got %d kept iterators, want 1", n)
			}
		}
		x.set(t, "key", next)
		if n := len(x.idle); n != 0 {
			t.Errorf("got %d kept iterators after a batch, want 0", n)
		}
		want = next
	}
	// An iterator in use while a batch was applied shows the state before.
	it, version := x.takeIdle()
	if it != nil {
		t.Fatal("got a kept iterator, want none")
	}
	it, err := newSeeker(x.db)
	if err != nil {
		t.Fatal(err)
	}
	x.set(t, "key", "fourth")
	if x.keepIdle(it, version) {
		t.Error("an iterator was kept that doesn't show the last batch")
	}
	if got, err := seek(it, "key"); err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if err := it.Close(); err != nil {
		t.Error(err)
	}
	if got, err := x.get("key"); err != nil || string(got) != "fourth" {
		t.Errorf("got %q, %v, want %q", got, err, "fourth")
	}
	if err := x.close(true); err != nil { // which fails if an iterator is open
		t.Errorf("close: %v", err)
	}
}

// fixedScheduler grants all compactions, and counts them.
type fixedScheduler struct {
	pebble.CompactionScheduler
	pebble.CompactionGrantHandle
	granted, done int
}

func (f *fixedScheduler) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	f.granted++
	return true, f
}

func (f *fixedScheduler) Done() { f.done++ }

// Nothing is compacted while the index is being opened.
func TestLateScheduler(t *testing.T) {
	f := &fixedScheduler{}
	s := &lateScheduler{CompactionScheduler: f}
	if ok, _ := s.TrySchedule(); ok || f.granted > 0 {
		t.Errorf("before it begins: got %v and %d grants, want none", ok, f.granted)
	}
	s.begin()
	if f.granted != 1 || f.done != 1 {
		t.Errorf("got %d grants, %d done, want the one that offers those that were refused", f.granted, f.done)
	}
	if ok, _ := s.TrySchedule(); !ok || f.granted != 2 {
		t.Errorf("once it has begun: got %v and %d grants, want true and 2", ok, f.granted)
	}
}
