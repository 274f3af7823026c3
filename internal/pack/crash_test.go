package pack

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/cairn-ipfs/cairn/internal/crashfs"
)

// newCrashable is a fixture whose folder survives a crash.
func newCrashable(t *testing.T, fs *crashfs.FS) fixture {
	t.Helper()
	f := newFixture(t, fs)
	root, err := fs.OpenDir("/")
	f.ok(err)
	f.ok(root.Sync())
	f.ok(root.Close())
	return f
}

// The power is cut while a pack is sealed, at each call. Synced data are there
// afterwards; the pack is open, cut or sealed, never in between, and can be sealed.
func TestCrashWhileSealing(t *testing.T) {
	for keeping := range 3 {
		for n := 1; ; n++ {
			fs := crashfs.New(uint64(100*keeping + n))
			f := newCrashable(t, fs)
			w, err := f.Create(1)
			f.ok(err)
			places := f.append(w, f.blocksOf(100, gather+1, 0, 5000)...)
			f.ok(w.Sync())
			end := w.End()
			fs.CrashAfter(n)
			_, err = w.Seal(end)
			crashed := fs.Crashed()
			if !crashed {
				f.ok(err)
				if n < 4 {
					t.Errorf("sealing took %d calls, want more", n-1)
				}
				break
			}
			f.ok(f.Dir.Close())

			fs = fs.CrashKeeping([]int{0, 50, 100}[keeping])
			if f.Dir, err = OpenDir(fs, "packs"); err != nil {
				t.Fatal(err)
			}
			what := fmt.Sprintf("power lost at call %d", n)
			got, index, sealed, err := f.Sealed(1)
			if err != nil || sealed && (got != end || index < end) {
				t.Fatalf("%s: sealed %v at %d with an index at %d, %v, want %d", what, sealed, got, index, err, end)
			}
			if sealed {
				size, err := f.Size(1)
				f.ok(err)
				f.checkSealed(1, end, size, places)
			}
			f.check(1, end, places)
			size, err := f.SealAt(1, end)
			f.ok(err)
			f.checkSealed(1, end, size, places)
			f.ok(f.Dir.Close())
		}
	}
}

// The same while a pack is created: when Create has returned, the pack is there and can
// be appended to. Otherwise its rest does no harm.
func TestCrashWhileCreating(t *testing.T) {
	for keeping := range 3 {
		for n := 1; ; n++ {
			fs := crashfs.New(uint64(100*keeping + n))
			f := newCrashable(t, fs)
			fs.CrashAfter(n)
			_, err := f.Create(1)
			crashed := fs.Crashed()
			if !crashed {
				f.ok(err)
				fs.CrashAfter(0)
				// From now on it is durable.
				if f.Dir, err = OpenDir(fs.CrashKeeping(0), "packs"); err != nil {
					t.Fatal(err)
				}
				w, err := f.Resume(1, Start)
				f.ok(err)
				places := f.append(w, f.blocksOf(10, 20)...)
				f.check(1, w.End(), places)
				f.ok(w.Close())
				break
			}
			f.ok(f.Dir.Close())
			if f.Dir, err = OpenDir(fs.CrashKeeping([]int{0, 50, 100}[keeping]), "packs"); err != nil {
				t.Fatal(err)
			}
			if w, err := f.Resume(1, Start); err == nil {
				f.ok(w.Close())
			}
			f.Remove(1)
			w, err := f.Create(2)
			f.ok(err)
			places := f.append(w, f.blocksOf(10, 20)...)
			f.check(2, w.End(), places)
			f.ok(w.Close())
			f.ok(f.Dir.Close())
		}
	}
}

// An error of any call is returned, and the pack can be sealed at the last good mark.
func TestErrorWhileSealing(t *testing.T) {
	for n := 1; ; n++ {
		fs := crashfs.New(uint64(n))
		f := newFixture(t, fs)
		w, err := f.Create(1)
		f.ok(err)
		places := f.append(w, f.blocksOf(100, gather+1, 0, 5000)...)
		f.ok(w.Sync())
		mark := w.End()
		f.append(w, f.blocksOf(7)...)
		failed := false
		fs.FailAt(n, syscall.EIO, crashfs.OpWriteAt, crashfs.OpSync, crashfs.OpSyncData)
		_, err = w.Seal(w.End())
		if fs.Count(crashfs.OpWriteAt).Failed+fs.Count(crashfs.OpSync).Failed+fs.Count(crashfs.OpSyncData).Failed > 0 {
			failed = true
		}
		fs.Fail(nil)
		if !failed {
			f.ok(err)
			if n < 4 {
				t.Errorf("sealing took %d writes and syncs, want more", n-1)
			}
			break
		}
		f.fails(fmt.Sprintf("call %d failed: seal", n), err, syscall.EIO)
		size, err := f.SealAt(1, mark)
		f.ok(err)
		f.checkSealed(1, mark, size, places)
	}
}

// After a failed write, all later calls return its error.
func TestErrorWhileAppending(t *testing.T) {
	fs := crashfs.New(1)
	f := newFixture(t, fs)
	w, err := f.Create(1)
	f.ok(err)
	f.append(w, f.blocksOf(100)...)
	b := f.blocksOf(200)[0]
	_, _, err = w.Append(b.CID(), b.Data())
	f.ok(err)
	fs.FailAt(1, syscall.EIO, crashfs.OpWriteAt)
	f.fails("flush", w.Flush(), syscall.EIO)
	f.fails("flush again", w.Flush(), syscall.EIO)
	b = f.blocksOf(gather + 1)[0]
	_, _, err = w.Append(b.CID(), b.Data())
	f.fails("append", err, syscall.EIO)
	f.fails("close", w.Close(), syscall.EIO)
}

// Bytes that can be read but are not on the disk, as after a failed sync, are durable
// after Persist.
func TestPersist(t *testing.T) {
	fs := crashfs.New(1)
	f := newCrashable(t, fs)
	w, err := f.Create(1)
	f.ok(err)
	places := f.append(w, f.blocksOf(100, window+1, 0, 5000)...)
	fs.FailAt(1, syscall.EIO, crashfs.OpSyncData)
	f.fails("sync", w.Sync(), syscall.EIO)
	fs.Fail(nil)
	end := w.End()
	f.ok(w.Close())
	f.check(1, end, places)
	f.ok(f.Persist(1))
	if f.Dir, err = OpenDir(fs.CrashKeeping(0), "packs"); err != nil {
		t.Fatal(err)
	}
	f.check(1, end, places)
	f.ok(f.Dir.Close())
	if err := f.Persist(2); err == nil {
		t.Error("persist what isn't there: got no error")
	}
}
