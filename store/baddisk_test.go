package store

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/crashfs"
)

// failPacks makes the nth call of these kinds on a pack fail, once.
func failPacks(fs *crashfs.FS, n int, ops ...crashfs.Op) (failed *bool) {
	calls, hit := 0, false
	fs.Fail(func(op crashfs.Op, path string) error {
		if !strings.HasSuffix(path, ".car") && !strings.HasSuffix(path, "/packs") {
			return nil
		}
		for _, o := range ops {
			if o != op {
				continue
			}
			if calls++; calls == n {
				hit = true
				return syscall.EIO
			}
		}
		return nil
	})
	return &hit
}

// A sync of a pack fails, and the bytes it was to write are lost, though they can be
// read for a while and later syncs succeed. The commit fails, unless only the
// sealing of a pack does. The store continues as before the commit, and what it
// acknowledges from then on survives a crash.
func TestFailedSync(t *testing.T) {
	w := newSwap(newHarness(t))
	for n := 1; ; n++ {
		fs := crashfs.New(uint64(n))
		s := w.prepare(fs)
		open := s.Batch()
		early := w.leaf("early %d", n)
		w.ok(open.Put(w.ctx, early))
		hit := failPacks(fs, n, crashfs.OpSync, crashfs.OpSyncData, crashfs.OpSyncDir)
		err := w.try(s, "new", w.new)
		fs.Fail(nil)
		if !*hit {
			w.ok(err)
			if n < 4 {
				t.Errorf("a commit synced packs %d times, want more", n-1)
			}
			w.ok(open.Commit(w.ctx))
			w.ok(s.Close())
			break
		}
		when := fmt.Sprintf("sync %d failed", n)
		if err == nil {
			// It was a sync of the sealing of a pack whose data are durable.
			fs = fs.CrashKeeping(0)
			s = w.open(fs)
			if !w.check(s, when+", then a crash", false) {
				t.Fatalf("%s: what was acknowledged is lost", when)
			}
			w.ok(s.Close())
			continue
		}
		if !errors.Is(err, syscall.EIO) {
			t.Fatalf("%s: commit: got %v, want EIO", when, err)
		}
		if w.check(s, when, false) {
			t.Fatalf("%s: the commit was made though it failed", when)
		}
		open.Alias("early", early.CID(), AliasOptions{})
		if err := open.Commit(w.ctx); !errors.Is(err, ErrBatchLost) || !errors.Is(err, syscall.EIO) {
			t.Fatalf("%s: a batch that was begun before: got %v, want ErrBatchLost and the reason", when, err)
		}
		if n%2 == 0 {
			// A rebuild must not bring back what was never acknowledged.
			w.put(s, w.leaf("something"))
			w.alias(s, "other", w.old[0])
			w.ok(s.Close())
			o := swapOptions
			o.fs = fs
			_, err := Rebuild(w.ctx, "repo", o, nil)
			w.ok(err)
			s = w.open(fs)
			if w.check(s, when+", then a rebuild", true) {
				t.Fatalf("%s: a rebuild made the commit that failed", when)
			}
		}
		w.commit(s, "new", w.new)
		fs = fs.CrashKeeping(0)
		s = w.open(fs)
		if !w.check(s, when+", then a crash", n%2 == 0) {
			t.Fatalf("%s: what was acknowledged after it is lost", when)
		}
		w.ok(s.Close())
	}
}

// The same for other failures of writes to packs.
func TestFailedWrite(t *testing.T) {
	w := newSwap(newHarness(t))
	for _, op := range []crashfs.Op{crashfs.OpCreate, crashfs.OpOpenReadWrite, crashfs.OpWrite, crashfs.OpWriteAt, crashfs.OpStat, crashfs.OpOpen} {
		for n := 1; ; n++ {
			fs := crashfs.New(uint64(n))
			s := w.prepare(fs)
			hit := failPacks(fs, n, op)
			err := w.try(s, "new", w.new)
			fs.Fail(nil)
			when := fmt.Sprintf("%s %d failed", op, n)
			after := w.check(s, when, false)
			if err == nil && !after {
				t.Fatalf("%s: what was acknowledged isn't there", when)
			}
			if err != nil && after {
				t.Fatalf("%s: the commit was made though it failed: %v", when, err)
			}
			w.commit(s, "new", w.new)
			fs = fs.CrashKeeping(0)
			s = w.open(fs)
			if !w.check(s, when+", then a crash", false) {
				t.Fatalf("%s: what was acknowledged after it is lost", when)
			}
			w.ok(s.Close())
			if !*hit {
				break
			}
		}
	}
}

// Put only caches; but a Flush must not succeed when the disk has lost blocks
// meanwhile.
func TestFlushTellsOfLoss(t *testing.T) {
	h := newHarness(t)
	fs := crashfs.New(1)
	s := h.open("repo", Options{fs: fs, Reserve: -1})
	a, b, c := h.leaf("a"), h.leaf("b"), h.leaf("c")
	h.put(s, b)
	h.ok(s.Put(h.ctx, a))
	h.has(s, true, a)
	failPacks(fs, 1, crashfs.OpSyncData)
	if err := s.SetAlias(h.ctx, "x", b.CID(), AliasOptions{}); !errors.Is(err, syscall.EIO) {
		t.Fatalf("set alias: got %v, want EIO", err)
	}
	fs.Fail(nil)
	h.has(s, false, a)
	h.has(s, true, b)
	for range s.Blocks(h.ctx) { // flushes, too, but leaves the error to Flush
	}
	if err := s.Flush(h.ctx); !errors.Is(err, ErrBatchLost) || !errors.Is(err, syscall.EIO) {
		t.Errorf("flush: got %v, want ErrBatchLost and the reason", err)
	}
	h.ok(s.Put(h.ctx, a, c))
	h.ok(s.Flush(h.ctx))
	s = h.open("repo", Options{fs: fs.CrashKeeping(0), Reserve: -1})
	h.has(s, true, a, b, c)
	h.audit(s)
}

func TestCloseTellsOfLoss(t *testing.T) {
	h := newHarness(t)
	fs := crashfs.New(1)
	s := h.open("repo", Options{fs: fs, Reserve: -1})
	h.put(s, h.leaf("b"))
	h.ok(s.Put(h.ctx, h.leaf("a")))
	failPacks(fs, 1, crashfs.OpSyncData)
	if err := s.Close(); !errors.Is(err, ErrBatchLost) || !errors.Is(err, syscall.EIO) {
		t.Errorf("close: got %v, want ErrBatchLost and the reason", err)
	}
	fs.Fail(nil)
	s = h.open("repo", Options{fs: fs, Reserve: -1})
	h.audit(s)
	h.ok(s.Close())
}

// An error of the index's own log ends the store, but not the process: callers get
// an error, and the store, opened again, has all that was acknowledged.
func TestFailedIndex(t *testing.T) {
	for _, op := range []crashfs.Op{crashfs.OpWrite, crashfs.OpSync, crashfs.OpSyncData} {
		t.Run(op.String(), func(t *testing.T) {
			w := newSwap(newHarness(t))
			fs := crashfs.New(1)
			s := w.prepare(fs)
			fs.Fail(func(got crashfs.Op, path string) error {
				if got == op && strings.HasPrefix(path, "/repo/index/") {
					return syscall.EIO
				}
				return nil
			})
			err := w.try(s, "new", w.new)
			if op == crashfs.OpSync {
				// Another call synced the log, so Close of the store fails. What was
				// acknowledged is there.
				w.ok(err)
				if err := s.Close(); !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.EIO) {
					t.Errorf("close: got %v, want ErrFailed and the reason", err)
				}
				fs.Fail(nil)
				s = w.open(fs)
				if !w.check(s, "opened again", false) {
					t.Error("what was acknowledged is lost")
				}
				w.ok(s.Close())
				return
			}
			if !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.EIO) {
				t.Fatalf("commit: got %v, want ErrFailed and the reason", err)
			}
			for what, err := range map[string]error{
				"put":       s.Put(w.ctx, w.leaf("late")),
				"set alias": s.SetAlias(w.ctx, "y", w.old[0].CID(), AliasOptions{}),
				"flush":     s.Flush(w.ctx),
				"backup":    s.Backup(w.ctx, "backup"),
				"delete":    s.Delete(w.ctx, w.old[0].CID()),
			} {
				if !errors.Is(err, ErrFailed) {
					t.Errorf("%s: got %v, want ErrFailed", what, err)
				}
			}
			if _, err := s.Get(w.ctx, w.leaf("late").CID()); !errors.Is(err, ErrFailed) {
				t.Errorf("get: got %v, want ErrFailed", err)
			}
			if err := s.Close(); !errors.Is(err, ErrFailed) {
				t.Errorf("close: got %v, want ErrFailed", err)
			}
			if err := s.Close(); !errors.Is(err, ErrFailed) {
				t.Errorf("close again: got %v, want the same", err)
			}
			fs.Fail(nil)
			s = w.open(fs)
			if !w.check(s, "opened again", false) {
				w.commit(s, "new", w.new)
			}
			if !w.check(s, "done again", false) {
				t.Error("the commit isn't there")
			}
			w.ok(s.Close())
		})
	}
}

// Errors of reading lose nothing, for they may be temporary.
func TestFailedRead(t *testing.T) {
	w := newSwap(newHarness(t))
	fs := crashfs.New(1)
	s := w.prepare(fs)
	fs.Fail(func(op crashfs.Op, path string) error {
		if op == crashfs.OpRead && strings.HasSuffix(path, ".car") {
			return syscall.EIO
		}
		return nil
	})
	for _, k := range w.old {
		if _, err := s.Get(w.ctx, k.CID()); !errors.Is(err, syscall.EIO) || errors.Is(err, block.ErrDamaged) {
			t.Errorf("get: got %v, want EIO", err)
		}
	}
	// Links can't be counted just now; calls that need no links work.
	dir := w.link("dir", w.garbage[0].CID())
	w.ok(s.Put(w.ctx, dir))
	w.alias(s, "dir", dir)
	w.put(s, w.leaf("other"))
	fs.Fail(nil)
	w.check(s, "after errors of reading", false)
	w.evict(s)
	w.has(s, true, dir, w.garbage[0])
	w.has(s, false, w.garbage[1:]...)
	w.ok(s.Close())
}
