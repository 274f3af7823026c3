package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/crashfs"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// says reports whether the error of a damaged index is one of those that a user
// gets: the index is lost or damaged, or the store failed.
func says(err error) bool {
	return errors.Is(err, ErrIndexLost) || errors.Is(err, ErrFailed) || errors.Is(err, pebble.ErrCorruption) || errors.Is(err, block.ErrMalformed)
}

// use uses a store whose index may be damaged. It returns the first error of the
// damage, and fails the test for other errors, for wrong bytes, and for blocks and
// aliases that are missing without an error.
func (x *shelf) use(s *Store, when string) error {
	x.Helper()
	a, err := s.GetAlias(x.ctx, "x")
	if says(err) {
		return err
	}
	if err != nil || a.Root != x.root.CID() {
		x.Fatalf("%s: x is %s, %v, want %s", when, a.Root, err, x.root.CID())
	}
	for _, k := range x.blocks {
		got, err := s.Get(x.ctx, k.CID())
		if says(err) {
			return err
		}
		if err != nil || string(got.Data()) != string(k.Data()) {
			x.Fatalf("%s: get %s: got %d bytes, %v", when, k.CID(), got.Size(), err)
		}
	}
	for c, err := range s.Wanted(x.ctx) {
		if says(err) {
			return err
		}
		x.Fatalf("%s: wanted %s, %v", when, c, err)
	}
	for c, err := range s.Missing(x.ctx, x.root.CID(), Selection{}) {
		if says(err) {
			return err
		}
		x.Fatalf("%s: missing %s, %v", when, c, err)
	}
	for _, err := range s.Blocks(x.ctx) {
		if says(err) {
			return err
		}
		x.ok(err)
	}
	rep, err := s.Verify(x.ctx, VerifyOptions{Data: true})
	if says(err) {
		return err
	}
	if err != nil || !rep.OK() {
		x.Fatalf("%s: verify: %v, damaged %v, wrong %v", when, err, rep.Damaged, rep.Wrong)
	}
	if err := s.SetAlias(x.ctx, "y", x.blocks[0].CID(), AliasOptions{}); says(err) {
		return err
	} else {
		x.ok(err)
	}
	if _, err := s.Evict(x.ctx, EvictOptions{}); says(err) {
		return err
	} else {
		x.ok(err)
	}
	return nil
}

// afterLoss uses a store whose index was damaged. If that causes an error, it
// rebuilds the index and checks that nothing is missing. It reports whether there
// was an error.
func (x *shelf) afterLoss(fs *crashfs.FS, when string) (showed bool) {
	x.Helper()
	s, err := x.open(fs)
	if err == nil {
		err = x.use(s, when)
		if cerr := s.Close(); cerr != nil && !says(cerr) {
			x.Fatalf("%s: close: %v", when, cerr)
		}
		if err == nil {
			return false
		}
	}
	if !says(err) {
		x.Fatalf("%s: got %v, want an error that says that the index is damaged", when, err)
	}
	x.rebuild(fs, when)
	s, err = x.open(fs)
	if err != nil {
		x.Fatalf("%s: open after a rebuild: %v", when, err)
	}
	x.atRoot(s, when)
	if got := x.items(s.Space("kept"), ""); got != "k=v" {
		x.Fatalf("%s: the recorded space has %q, want k=v", when, got)
	}
	x.mend(s, when, x.survey(s, when))
	x.ok(s.Close())
	return true
}

// running returns the repository after a crash, with the log of the index in use.
func (x *shelf) running() *crashfs.FS {
	x.Helper()
	fs := x.copy()
	s, err := x.open(fs)
	x.ok(err)
	x.ok(s.Space("other").Set(x.ctx, []byte("k"), []byte("v")))
	x.ok(s.SetAlias(x.ctx, "another", x.blocks[3].CID(), AliasOptions{}))
	x.ok(s.SetAlias(x.ctx, "x", x.root.CID(), AliasOptions{}))
	fs.CrashKeeping(100)
	return fs
}

func TestFlippedIndex(t *testing.T) {
	x := newShelf(newHarness(t))
	rng := rand.New(rand.NewPCG(4, 4))
	showed, hidden := 0, 0
	for what, from := range map[string]*crashfs.FS{"closed": x.fs, "crashed": x.running()} {
		names, err := from.CrashKeeping(100).List("repo/index")
		x.ok(err)
		for _, name := range names {
			path := "repo/index/" + name
			info, err := from.CrashKeeping(100).Stat(path)
			x.ok(err)
			size := info.Size()
			places := []int64{0, 7, size / 2, size - 1}
			for range 3 {
				places = append(places, rng.Int64N(max(1, size)))
			}
			slices.Sort(places)
			for _, at := range slices.Compact(places) {
				if at < 0 || at >= size {
					continue
				}
				mask := byte(1) << rng.IntN(8)
				fs := from.CrashKeeping(100)
				x.ok(fs.Corrupt(path, at, mask))
				if x.afterLoss(fs, fmt.Sprintf("%s: index file %s, byte %d of %d, bits 0x%02x flipped", what, name, at, size, mask)) {
					showed++
				} else {
					hidden++
				}
			}
		}
	}
	t.Logf("%d of %d flipped bits showed", showed, showed+hidden)
	if showed < 10 {
		t.Errorf("%d of %d flipped bits showed, want many", showed, showed+hidden)
	}
}

// Files of the index that are truncated, empty, or missing.
func TestCutIndex(t *testing.T) {
	x := newShelf(newHarness(t))
	for what, from := range map[string]*crashfs.FS{"closed": x.fs, "crashed": x.running()} {
		names, err := from.CrashKeeping(100).List("repo/index")
		x.ok(err)
		for _, name := range names {
			if name == "LOCK" {
				continue
			}
			path := "repo/index/" + name
			fs := from.CrashKeeping(100)
			x.ok(fs.Remove(path))
			x.afterLoss(fs, fmt.Sprintf("%s: index file %s removed", what, name))
			info, err := from.CrashKeeping(100).Stat(path)
			x.ok(err)
			for _, size := range []int64{0, 1, info.Size() / 2, info.Size() - 1} {
				if size < 0 || size >= info.Size() {
					continue
				}
				fs := from.CrashKeeping(100)
				f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
				x.ok(err)
				x.ok(f.(*crashfs.File).Truncate(size))
				x.ok(f.Close())
				x.afterLoss(fs, fmt.Sprintf("%s: index file %s cut to %d of %d bytes", what, name, size, info.Size()))
			}
		}
	}
}

func TestMissingIndex(t *testing.T) {
	x := newShelf(newHarness(t))
	fs := x.copy()
	x.ok(fs.RemoveAll("repo/index"))
	if _, err := x.open(fs); !errors.Is(err, ErrIndexLost) {
		t.Fatalf("open: got %v, want ErrIndexLost", err)
	}
	if !x.afterLoss(fs, "no index") {
		t.Error("the second open went well")
	}
}

// An index that is older than the packs, as from a backup of the index alone, is
// refused.
func TestOldIndex(t *testing.T) {
	x := newShelf(newHarness(t))
	fs := x.copy()
	// From before the first block.
	x.ok(fs.RemoveAll("repo/index"))
	x.ok(fs.MkdirAll("elsewhere", 0o755))
	o := shelfOptions
	o.fs = fs
	s, err := Open(x.ctx, "elsewhere", o)
	x.ok(err)
	x.ok(s.Close())
	x.ok(fs.Rename("elsewhere/index", "repo/index"))
	if _, err := x.open(fs); !errors.Is(err, ErrIndexLost) {
		t.Fatalf("open: got %v, want ErrIndexLost", err)
	}
	x.afterLoss(fs, "an old index")
}

// Missing packs lose only the blocks that lay in them.
func TestMissingPacks(t *testing.T) {
	x := newShelf(newHarness(t))
	for i, id := range x.packs {
		when := fmt.Sprintf("pack %d (sealed %v) gone", id, x.sealed[id])
		fs := x.copy()
		x.ok(fs.Remove(x.path(id)))
		s, err := x.open(fs)
		if err != nil {
			t.Fatalf("%s: open: %v", when, err)
		}
		x.atRoot(s, when)
		if i%2 == 0 {
			if _, err := s.Verify(x.ctx, VerifyOptions{Data: true, Repair: true}); err != nil {
				t.Fatalf("%s: verify: %v", when, err)
			}
		}
		gone := x.survey(s, when)
		want := slices.DeleteFunc(slices.Clone(x.lies[id]), func(b block.Block) bool { return b.CID() == x.garbage.CID() })
		if got, want := cids(gone...), cids(want...); !slices.Equal(got, want) {
			t.Fatalf("%s: %v are gone, want %v", when, got, want)
		}
		x.mend(s, when, gone)
		x.ok(s.Close())
	}
	// All of them.
	fs := x.copy()
	for _, id := range x.packs {
		x.ok(fs.Remove(x.path(id)))
	}
	s, err := x.open(fs)
	x.ok(err)
	x.atRoot(s, "no packs")
	gone := x.survey(s, "no packs")
	if len(gone) != len(x.blocks) {
		t.Fatalf("%d blocks are gone, want all %d", len(gone), len(x.blocks))
	}
	x.mend(s, "no packs", gone)
	x.ok(s.Close())
}

func TestFormats(t *testing.T) {
	x := newShelf(newHarness(t))
	set := func(fs *crashfs.FS, text string) {
		x.ok((&repository{fs: fs, dir: "repo"}).write(formatFile, []byte(text), true))
	}
	for _, text := range []string{"cairn repository 0\n", "cairn repository 2\n", "", "cairn repository 1", strings.Repeat("x", 1<<20), "\x00"} {
		fs := x.copy()
		set(fs, text)
		_, err := x.open(fs)
		if !errors.Is(err, ErrFormat) {
			t.Errorf("format %.30q: open: got %v, want ErrFormat", text, err)
		}
		if len(fmt.Sprint(err)) > 1000 && len(text) > 5000 {
			t.Errorf("format %.30q: an error of %d bytes", text, len(fmt.Sprint(err)))
		}
		o := shelfOptions
		o.fs = fs
		if _, err := Rebuild(x.ctx, "repo", o, nil); !errors.Is(err, ErrFormat) {
			t.Errorf("format %.30q: rebuild: got %v, want ErrFormat", text, err)
		}
		// Nothing was changed.
		set(fs, formatLine)
		s, err := x.open(fs)
		x.ok(err)
		x.ok(x.use(s, text))
		x.ok(s.Close())
	}
	fs := x.copy()
	x.ok(fs.Remove("repo/format"))
	if _, err := x.open(fs); !errors.Is(err, ErrFormat) {
		t.Errorf("no format: got %v, want ErrFormat", err)
	}
	x.rebuild(fs, "no format")
	s, err := x.open(fs)
	x.ok(err)
	x.atRoot(s, "no format")
	x.mend(s, "no format", nil)
	x.ok(s.Close())

	// Rebuild doesn't make a repository of a folder that isn't one.
	x.ok(fs.MkdirAll("other", 0o755))
	o := shelfOptions
	o.fs = fs
	if _, err := Rebuild(x.ctx, "other", o, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("rebuild a folder without packs: got %v, want ErrNotExist", err)
	}
	if names, err := fs.List("other"); err != nil || len(names) > 0 {
		t.Errorf("it has %q now, %v, want nothing", names, err)
	}
}
