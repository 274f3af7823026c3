package crashfs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func create(t *testing.T, fs *FS, name, data string) *File {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	write(t, f, data)
	return f.(*File)
}

func write(t *testing.T, f vfs.File, data string) {
	t.Helper()
	if n, err := f.Write([]byte(data)); n != len(data) || err != nil {
		t.Fatalf("write of %d bytes: got %d, %v", len(data), n, err)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func syncDir(t *testing.T, fs *FS, name string) {
	t.Helper()
	d, err := fs.OpenDir(name)
	ok(t, err)
	ok(t, d.Sync())
	ok(t, d.Close())
}

// contents returns a file's content; "absent" if there is no file.
func contents(t *testing.T, fs *FS, name string) string {
	t.Helper()
	f, err := fs.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return "absent"
	}
	ok(t, err)
	data, err := io.ReadAll(f)
	ok(t, err)
	ok(t, f.Close())
	return string(data)
}

func expect(t *testing.T, fs *FS, name, want string) {
	t.Helper()
	if got := contents(t, fs, name); got != want {
		t.Errorf("%s: got %q, want %q", name, got, want)
	}
}

func TestCrashDropsWhatWasNotSynced(t *testing.T) {
	fs := New(1)
	f := create(t, fs, "kept", "synced")
	ok(t, f.Sync())
	syncDir(t, fs, "/")
	write(t, f, " and not")
	_, err := f.WriteAt([]byte("SY"), 0)
	ok(t, err)
	ok(t, create(t, fs, "nameless", "synced").SyncData())
	ok(t, fs.MkdirAll("a/b", 0o755))
	create(t, fs, "removed", "x")
	syncDir(t, fs, "/")
	ok(t, fs.Remove("removed"))
	ok(t, create(t, fs, "later", "x").Sync())

	after := fs.CrashKeeping(0)
	expect(t, after, "kept", "synced")
	expect(t, after, "nameless", "synced")
	expect(t, after, "removed", "") // its bytes were never synced, its name was
	expect(t, after, "later", "absent")
	if names, err := after.List("a"); err != nil || len(names) != 0 {
		t.Errorf("a: got %q, %v, want an empty directory", names, err)
	}

	everything := fs.CrashKeeping(100)
	expect(t, everything, "kept", "SYnced and not")
	expect(t, everything, "removed", "absent")
	expect(t, everything, "later", "x")
	if _, err := everything.List("a/b"); err != nil {
		t.Error(err)
	}
}

func TestCrashOfARename(t *testing.T) {
	outcomes := make(map[string]bool)
	for seed := range uint64(64) {
		fs := New(seed)
		ok(t, fs.MkdirAll("from", 0o755))
		ok(t, fs.MkdirAll("to", 0o755))
		syncDir(t, fs, "/")
		ok(t, create(t, fs, "from/f", "new").Sync())
		ok(t, create(t, fs, "to/f", "old").Sync())
		syncDir(t, fs, "from")
		syncDir(t, fs, "to")
		ok(t, fs.Rename("from/f", "to/f"))
		if seed%2 == 0 {
			syncDir(t, fs, "from") // one side makes both durable
		}
		after := fs.Crash()
		got := contents(t, after, "from/f") + " " + contents(t, after, "to/f")
		if seed%2 == 0 && got != "absent new" {
			t.Fatalf("seed %d: after a synced rename: got %q", seed, got)
		}
		outcomes[got] = true
	}
	if !outcomes["absent new"] || !outcomes["new old"] || len(outcomes) != 2 {
		t.Errorf("got the outcomes %v, want a rename done and one not done, nothing else", outcomes)
	}
}

// Names survive in order: a log whose second file is there has the first.
func TestCrashKeepsTheOrderOfNames(t *testing.T) {
	some := 0
	for seed := range uint64(64) {
		fs := New(seed)
		for _, name := range []string{"0", "1", "2", "3"} {
			create(t, fs, name, "")
		}
		ok(t, fs.Remove("0"))
		after := fs.Crash()
		names, err := after.List("/")
		ok(t, err)
		switch got := strings.Join(names, ""); got {
		case "0", "01", "012":
			some++
		case "", "0123", "123":
		default:
			t.Errorf("seed %d: got %q", seed, got)
		}
	}
	if some == 0 {
		t.Error("no crash kept a part")
	}
}

func TestHardLinksStayOneFile(t *testing.T) {
	fs := New(1)
	ok(t, create(t, fs, "a", "1").Sync())
	ok(t, fs.Link("a", "b"))
	if err := fs.Link("a", "b"); !errors.Is(err, os.ErrExist) {
		t.Errorf("second link: got %v, want it to exist", err)
	}
	syncDir(t, fs, "/")
	after := fs.Crash()
	f, err := after.OpenReadWrite("a", vfs.WriteCategoryUnspecified)
	ok(t, err)
	write(t, f, "2")
	expect(t, after, "b", "2")
	ok(t, after.Remove("a"))
	expect(t, after, "b", "2")
}

// TestTearing crashes after an append of many pages over and over, and expects
// to see each way in which a part of it can survive.
func TestTearing(t *testing.T) {
	const pages = 6
	old := strings.Repeat("o", page/2)
	appended := strings.Repeat("n", pages*page)
	seen := make(map[string]int)
	for seed := range uint64(400) {
		fs := New(seed)
		f := create(t, fs, "f", old)
		ok(t, f.Sync())
		syncDir(t, fs, "/")
		write(t, f, appended)
		got := contents(t, fs.Crash(), "f")
		rest, found := strings.CutPrefix(got, old)
		if !found || len(rest) > len(appended) || strings.Trim(rest, "n\x00") != "" {
			t.Fatalf("seed %d: something else than old, new and zero bytes survived", seed)
		}
		whole := strings.TrimRight(rest, "n") == ""
		switch {
		case rest == "":
			seen["nothing"]++
		case rest == appended:
			seen["everything"]++
		case whole && (len(got)%512 != 0):
			seen["a prefix, cut off a sector's border"]++
		case strings.Trim(rest, "\x00") == "":
			seen["the size alone"]++
		case strings.Contains(strings.TrimRight(rest, "\x00"), "\x00"):
			seen["a hole"]++
		}
		if first := rest[:min(len(rest), page/2)]; strings.Contains(first, "n\x00") || strings.Contains(first, "\x00n") {
			seen["half a page"]++
		}
	}
	for _, outcome := range []string{
		"nothing", "everything", "a prefix, cut off a sector's border", "the size alone", "a hole", "half a page",
	} {
		if seen[outcome] == 0 {
			t.Errorf("%s: never seen; got %v", outcome, seen)
		}
	}
}

// TestTornOverwrite expects blocks of 4 KiB that are half old and half new.
func TestTornOverwrite(t *testing.T) {
	torn := 0
	for seed := range uint64(100) {
		fs := New(seed)
		f := create(t, fs, "f", strings.Repeat("o", 3*page))
		ok(t, f.Sync())
		syncDir(t, fs, "/")
		_, err := f.WriteAt(bytes.Repeat([]byte("n"), 3*page), 0)
		ok(t, err)
		got := contents(t, fs.Crash(), "f")
		if len(got) != 3*page || strings.Trim(got, "on") != "" {
			t.Fatalf("seed %d: got %d bytes, or other ones", seed, len(got))
		}
		for p := range slices.Chunk([]byte(got), page) {
			if bytes.Contains(p, []byte("on")) || bytes.Contains(p, []byte("no")) {
				torn++
			}
		}
	}
	if torn < 10 {
		t.Errorf("got %d torn pages of 300, want more", torn)
	}
}

func TestCrashOfATruncate(t *testing.T) {
	outcomes := make(map[string]bool)
	for seed := range uint64(100) {
		fs := New(seed)
		f := create(t, fs, "f", "12345678")
		ok(t, f.Sync())
		syncDir(t, fs, "/")
		ok(t, f.Truncate(4))
		expect(t, fs, "f", "1234")
		if seed%2 == 0 {
			ok(t, f.SyncData())
		}
		got := contents(t, fs.Crash(), "f")
		if seed%2 == 0 && got != "1234" {
			t.Fatalf("seed %d: after a synced truncate: got %q", seed, got)
		}
		outcomes[got] = true
	}
	if len(outcomes) != 2 {
		t.Errorf("got %v, want truncates kept and lost", outcomes)
	}
}

func TestTheDeadStayDead(t *testing.T) {
	fs := New(1)
	f := create(t, fs, "f", "data")
	dir, err := fs.OpenDir("/")
	ok(t, err)
	held, err := fs.Lock("lock")
	ok(t, err)
	if _, err := fs.Lock("lock"); !errors.Is(err, syscall.EAGAIN) {
		t.Errorf("second lock: got %v, want EAGAIN", err)
	}
	after := fs.CrashKeeping(100)
	calls := map[string]func() error{
		"read":     func() error { _, err := f.Read(make([]byte, 1)); return err },
		"readat":   func() error { _, err := f.ReadAt(make([]byte, 1), 0); return err },
		"write":    func() error { _, err := f.Write([]byte("x")); return err },
		"writeat":  func() error { _, err := f.WriteAt([]byte("x"), 0); return err },
		"truncate": func() error { return f.Truncate(0) },
		"sync":     f.Sync,
		"syncdata": f.SyncData,
		"syncto":   func() error { _, err := f.SyncTo(1); return err },
		"syncdir":  dir.Sync,
		"fstat":    func() error { _, err := f.Stat(); return err },
		"close":    f.Close,
		"create":   func() error { _, err := fs.Create("x", ""); return err },
		"open":     func() error { _, err := fs.Open("f"); return err },
		"openrw":   func() error { _, err := fs.OpenReadWrite("f", ""); return err },
		"opendir":  func() error { _, err := fs.OpenDir("/"); return err },
		"reuse":    func() error { _, err := fs.ReuseForWrite("f", "g", ""); return err },
		"rename":   func() error { return fs.Rename("f", "g") },
		"link":     func() error { return fs.Link("f", "g") },
		"remove":   func() error { return fs.Remove("f") },
		"removeall": func() error {
			return fs.RemoveAll("/f")
		},
		"mkdir":  func() error { return fs.MkdirAll("d", 0o755) },
		"list":   func() error { _, err := fs.List("/"); return err },
		"stat":   func() error { _, err := fs.Stat("f"); return err },
		"usage":  func() error { _, err := fs.GetDiskUsage("/"); return err },
		"lock":   func() error { _, err := fs.Lock("l2"); return err },
		"unlock": held.Close,
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, ErrCrashed) {
			t.Errorf("%s: got %v, want ErrCrashed", name, err)
		}
	}
	expect(t, after, "f", "data")
	again, err := after.Lock("lock")
	if err != nil {
		t.Fatalf("the lock survived the crash: %v", err)
	}
	ok(t, again.Close())
}

func TestCrashAfter(t *testing.T) {
	done, undone := 0, 0
	for seed := range uint64(64) {
		fs := New(seed)
		fs.CrashAfter(3)
		create(t, fs, "a", "1") // two
		expect(t, fs, "a", "1") // none: reading changes nothing
		if fs.Crashed() || fs.Mutations() != 2 {
			t.Fatalf("crashed: %t, mutations: %d", fs.Crashed(), fs.Mutations())
		}
		if err := fs.Rename("a", "b"); !errors.Is(err, ErrCrashed) {
			t.Fatalf("the third: got %v, want ErrCrashed", err)
		}
		<-fs.Dead()
		if _, err := fs.Stat("a"); !errors.Is(err, ErrCrashed) {
			t.Fatalf("after the third: got %v, want ErrCrashed", err)
		}
		switch after := fs.CrashKeeping(100); contents(t, after, "b") {
		case "1":
			done++
		default:
			undone++
			expect(t, after, "a", "1")
		}
	}
	if done == 0 || undone == 0 {
		t.Errorf("the last call had an effect %d times and none %d times, want both", done, undone)
	}
}

func TestHang(t *testing.T) {
	fs := New(1)
	f := create(t, fs, "f", "1")
	fs.Hang()
	fs.CrashAfter(1)
	returned := make(chan error, 2)
	go func() { returned <- f.Sync() }()
	<-fs.Dead()
	go func() { returned <- f.Close() }()
	expect(t, fs.CrashKeeping(100), "f", "1") // calls on the survivor don't hang
	select {
	case err := <-returned:
		t.Errorf("a call returned after the power went: %v", err)
	default:
	}
}

// TestSeedDecides runs the same calls twice and expects the same outcome.
func TestSeedDecides(t *testing.T) {
	run := func(seed uint64) string {
		fs := New(seed)
		var all strings.Builder
		for range 8 {
			for _, name := range []string{"a", "b", "c", "d"} {
				f := create(t, fs, name, strings.Repeat(name, 3*page))
				ok(t, f.Sync())
				write(t, f, strings.Repeat(name, 2*page))
				ok(t, f.Close())
			}
			syncDir(t, fs, "/")
			ok(t, fs.Remove("a"))
			fs = fs.Crash()
			names, err := fs.List("/")
			ok(t, err)
			for _, name := range names {
				all.WriteString(name + contents(t, fs, name))
			}
		}
		return all.String()
	}
	first := run(7)
	if run(7) != first {
		t.Error("one seed, two outcomes")
	}
	if run(8) == first {
		t.Error("two seeds, one outcome")
	}
}

func TestConcurrentUse(t *testing.T) {
	fs := New(1)
	ok(t, fs.MkdirAll("d", 0o755))
	fs.CrashAfter(2000)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			name := "d/" + string(rune('a'+i))
			for {
				f, err := fs.Create(name, "")
				if err != nil {
					return
				}
				if _, err := f.Write([]byte("x")); err != nil {
					return
				}
				if err := f.Sync(); err != nil {
					return
				}
				if _, err := fs.List("d"); err != nil {
					return
				}
				if err := f.Close(); err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	if got := fs.Mutations(); got != 2001 {
		t.Errorf("got %d mutating calls, want 2001", got)
	}
}
