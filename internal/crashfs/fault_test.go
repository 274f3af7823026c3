package crashfs

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestFailedSyncLosesBytes is the lesson of 2018: a failed fsync drops the
// dirty pages, and the next one, which has nothing left to do, succeeds.
func TestFailedSyncLosesBytes(t *testing.T) {
	for _, op := range []Op{OpSync, OpSyncData} {
		t.Run(op.String(), func(t *testing.T) {
			fs := New(1)
			f := create(t, fs, "f", "durable ")
			syncIt := f.Sync
			if op == OpSyncData {
				syncIt = f.SyncData
			}
			ok(t, syncIt())
			syncDir(t, fs, "/")
			write(t, f, "lost ")
			fs.FailAt(1, syscall.EIO, op)
			if err := syncIt(); !errors.Is(err, syscall.EIO) {
				t.Fatalf("got %v, want EIO", err)
			}
			ok(t, syncIt())
			expect(t, fs, "f", "durable lost ") // still in the page cache
			write(t, f, "and later")
			ok(t, syncIt())
			expect(t, fs.Crash(), "f", "durable \x00\x00\x00\x00\x00and later")
		})
	}
}

func TestFailEveryKindOfCall(t *testing.T) {
	trouble := errors.New("trouble")
	calls := map[Op]func(fs *FS, f, dir vfs.File) error{
		OpCreate:        func(fs *FS, _, _ vfs.File) error { _, err := fs.Create("x", ""); return err },
		OpOpen:          func(fs *FS, _, _ vfs.File) error { _, err := fs.Open("f"); return err },
		OpOpenReadWrite: func(fs *FS, _, _ vfs.File) error { _, err := fs.OpenReadWrite("f", ""); return err },
		OpOpenDir:       func(fs *FS, _, _ vfs.File) error { _, err := fs.OpenDir("/"); return err },
		OpRead:          func(_ *FS, f, _ vfs.File) error { _, err := f.ReadAt(make([]byte, 1), 0); return err },
		OpWrite:         func(_ *FS, f, _ vfs.File) error { _, err := f.Write([]byte("x")); return err },
		OpWriteAt:       func(_ *FS, f, _ vfs.File) error { _, err := f.WriteAt([]byte("x"), 0); return err },
		OpTruncate:      func(_ *FS, f, _ vfs.File) error { return f.(*File).Truncate(1) },
		OpSync:          func(_ *FS, f, _ vfs.File) error { return f.Sync() },
		OpSyncData:      func(_ *FS, f, _ vfs.File) error { return f.SyncData() },
		OpSyncDir:       func(_ *FS, _, dir vfs.File) error { return dir.Sync() },
		OpRename:        func(fs *FS, _, _ vfs.File) error { return fs.Rename("g", "h") },
		OpLink:          func(fs *FS, _, _ vfs.File) error { return fs.Link("f", "l") },
		OpRemove:        func(fs *FS, _, _ vfs.File) error { return fs.Remove("r") },
		OpMkdir:         func(fs *FS, _, _ vfs.File) error { return fs.MkdirAll("d", 0o755) },
		OpList:          func(fs *FS, _, _ vfs.File) error { _, err := fs.List("/"); return err },
		OpStat:          func(fs *FS, _, _ vfs.File) error { _, err := fs.Stat("f"); return err },
	}
	if len(calls) != int(opEnd) {
		t.Fatalf("%d kinds of calls tried, of %d", len(calls), opEnd)
	}
	for op, call := range calls {
		t.Run(op.String(), func(t *testing.T) {
			fs := New(1)
			f := create(t, fs, "f", "data")
			for _, name := range []string{"g", "r"} {
				create(t, fs, name, "")
			}
			dir, err := fs.OpenDir("/")
			ok(t, err)
			before := fs.Count(op)
			fs.FailAt(1, trouble, op)
			if err := call(fs, f, dir); !errors.Is(err, trouble) {
				t.Errorf("got %v, want the error set", err)
			}
			if err := call(fs, f, dir); err != nil {
				t.Errorf("the second time: got %v", err)
			}
			after := fs.Count(op)
			if after.Calls-before.Calls != 2 || after.Failed-before.Failed != 1 {
				t.Errorf("counted %+v after %+v", after, before)
			}
		})
	}
}

func TestFailFrom(t *testing.T) {
	fs := New(1)
	fs.FailFrom(2, syscall.EIO, OpWrite, OpWriteAt)
	f := create(t, fs, "f", "1")
	for range 2 {
		if _, err := f.Write([]byte("2")); !errors.Is(err, syscall.EIO) {
			t.Errorf("got %v, want EIO", err)
		}
	}
	ok(t, f.Sync())
	fs.Fail(nil)
	write(t, f, "3")
}

func TestFailByPath(t *testing.T) {
	fs := New(1)
	var asked []string
	fs.Fail(func(op Op, path string) error {
		asked = append(asked, op.String()+" "+path)
		if strings.HasSuffix(path, ".bad") {
			return syscall.EACCES
		}
		return nil
	})
	_, err := fs.Create("d/../x.bad", "")
	var where *os.PathError
	if !errors.As(err, &where) || where.Op != "create" || !errors.Is(err, syscall.EACCES) {
		t.Errorf("got %v, want EACCES with operation and path", err)
	}
	create(t, fs, "x.good", "")
	want := "create /x.bad, create /x.good, write /x.good"
	if got := strings.Join(asked, ", "); got != want {
		t.Errorf("the rule was asked %s, want %s", got, want)
	}
}

func TestFailedWriteIsShort(t *testing.T) {
	short := 0
	for seed := range uint64(50) {
		fs := New(seed)
		f := create(t, fs, "f", "old ")
		fs.FailAt(1, syscall.EIO, OpWrite)
		n, err := f.Write([]byte("0123456789"))
		if !errors.Is(err, syscall.EIO) {
			t.Fatalf("got %v, want EIO", err)
		}
		expect(t, fs, "f", "old 0123456789"[:4+n])
		if 0 < n && n < 10 {
			short++
		}
	}
	if short == 0 {
		t.Error("no write was short")
	}
}

func TestFull(t *testing.T) {
	fs := New(1)
	fs.Full(10)
	f := create(t, fs, "f", "12345678")
	if n, err := f.Write([]byte("abcd")); n != 2 || !errors.Is(err, syscall.ENOSPC) || !vfs.IsNoSpaceError(err) {
		t.Errorf("got %d, %v, want 2 bytes and ENOSPC", n, err)
	}
	usage, err := fs.GetDiskUsage("/")
	ok(t, err)
	if want := (vfs.DiskUsage{TotalBytes: 10, UsedBytes: 10}); usage != want {
		t.Errorf("usage: got %+v, want %+v", usage, want)
	}
	if _, err := f.WriteAt([]byte("over"), 0); err != nil {
		t.Errorf("overwriting takes no space, but: %v", err)
	}
	if err := f.Truncate(11); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("truncate: got %v, want ENOSPC", err)
	}

	// The space of a removed file is freed when its last reader closes it.
	ok(t, fs.Remove("f"))
	g := create(t, fs, "g", "")
	if _, err := g.Write([]byte("x")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v, want ENOSPC while f is open", err)
	}
	ok(t, f.Close())
	write(t, g, "0123456789")

	after := fs.CrashKeeping(100)
	usage, err = after.GetDiskUsage("/")
	ok(t, err)
	if usage.UsedBytes != 10 {
		t.Errorf("after the crash %d bytes are used, want 10", usage.UsedBytes)
	}
	fs = after
	fs.Full(-1)
	create(t, fs, "h", strings.Repeat("x", 1000))
}

// TestSpaceIsCounted tests all calls that free space.
func TestSpaceIsCounted(t *testing.T) {
	fs := New(1)
	for _, name := range []string{"a", "b", "c", "d"} {
		ok(t, create(t, fs, name, "1234").Close())
	}
	ok(t, create(t, fs, "a", "1").Close())             // replaced
	ok(t, fs.Rename("b", "c"))                         // c is gone
	ok(t, fs.Link("d", "e"))                           // no more
	ok(t, fs.Remove("d"))                              // and no less
	ok(t, fs.MkdirAll("dir/sub", 0o755))               //
	ok(t, create(t, fs, "dir/sub/f", "12345").Close()) //
	ok(t, fs.RemoveAll("dir"))                         // all gone
	ok(t, fs.RemoveAll("dir"))                         // again: nothing
	g, err := fs.ReuseForWrite("e", "g", "")           // keeps the bytes
	ok(t, err)                                         //
	write(t, g, "12")                                  // over them
	ok(t, g.Close())                                   //
	usage, err := fs.GetDiskUsage("/")
	ok(t, err)
	if want := uint64(1 + 4 + 4); usage.UsedBytes != want {
		t.Errorf("got %d bytes used, want %d", usage.UsedBytes, want)
	}
}

func TestReadOnly(t *testing.T) {
	fs := New(1)
	f := create(t, fs, "f", "data")
	fs.ReadOnly(true)
	_, createErr := fs.Create("x", "")
	_, writeErr := f.Write([]byte("x"))
	_, openErr := fs.OpenReadWrite("f", "")
	_, lockErr := fs.Lock("l")
	for name, err := range map[string]error{
		"create": createErr, "write": writeErr, "openrw": openErr, "lock": lockErr,
		"rename": fs.Rename("f", "g"), "link": fs.Link("f", "g"), "remove": fs.Remove("f"),
		"removeall": fs.RemoveAll("f"), "mkdir": fs.MkdirAll("d", 0o755), "truncate": f.Truncate(0),
	} {
		if !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s: got %v, want EROFS", name, err)
		}
	}
	expect(t, fs, "f", "data")
	ok(t, f.Sync())
	fs.ReadOnly(false)
	write(t, f, "x")
}

func TestCorrupt(t *testing.T) {
	fs := New(1)
	f := create(t, fs, "f", "abc")
	ok(t, f.Sync())
	syncDir(t, fs, "/")
	ok(t, fs.Corrupt("f", 1, 'b'^'B'))
	expect(t, fs, "f", "aBc")
	after := fs.CrashKeeping(0)
	expect(t, after, "f", "aBc")
	for name, offset := range map[string]int64{"f": 3, "none": 0, "/": 0} {
		if err := after.Corrupt(name, offset, 1); err == nil {
			t.Errorf("byte %d of %s: got no error", offset, name)
		}
	}
}

func TestCount(t *testing.T) {
	fs := New(1)
	f := create(t, fs, "f", "12345")
	_, err := f.WriteAt([]byte("abc"), 1)
	ok(t, err)
	expect(t, fs, "f", "1abc5")
	if _, err := fs.Open("none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want it not to exist", err)
	}
	for op, want := range map[Op]Count{
		OpCreate: {Calls: 1}, OpWrite: {Calls: 1, Bytes: 5}, OpWriteAt: {Calls: 1, Bytes: 3},
		OpOpen: {Calls: 2, Failed: 1}, OpRead: {Calls: 2, Bytes: 5}, OpSync: {},
	} {
		if got := fs.Count(op); got != want {
			t.Errorf("%s: got %+v, want %+v", op, got, want)
		}
	}
	if got := fs.Mutations(); got != 3 {
		t.Errorf("got %d mutations, want 3", got)
	}
}
