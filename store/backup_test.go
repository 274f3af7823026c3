package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/crashfs"
	"github.com/ipfs/go-cid"
)

// A backup made during writes, swaps and evictions is the store as it was at one
// moment.
func TestBackupWhileWriting(t *testing.T) {
	h := newHarness(t)
	fs := crashfs.New(1)
	o := Options{fs: fs, PackSize: 64 << 10, Reserve: -1, RecordedSpaces: []string{"kept"}}
	s := h.open("repo", o)
	rng := rand.New(rand.NewPCG(1, 1))
	// Version i is a root, a leaf of its own, and one shared with version i-1.
	// A space has its number.
	var versions [][]block.Block
	shared := h.random(rng, 3000)
	for i := range 200 {
		own := h.random(rng, 3000)
		versions = append(versions, []block.Block{shared, own, h.link(fmt.Sprint(i), shared.CID(), own.CID())})
		shared = own
	}
	number := map[cid.Cid]int{}
	for i, v := range versions {
		number[root(v).CID()] = i
	}
	publish := func(i int) error {
		b := s.Batch()
		defer b.Discard()
		if err := b.Put(h.ctx, versions[i]...); err != nil {
			return err
		}
		b.Alias("x", root(versions[i]).CID(), AliasOptions{})
		b.Alias(fmt.Sprint("old/", i%40), root(versions[i]).CID(), AliasOptions{})
		b.Set("kept", []byte("n"), fmt.Append(nil, i))
		return b.Commit(h.ctx)
	}
	h.ok(publish(0))
	var wg sync.WaitGroup
	stop := make(chan struct{})
	published := make(chan struct{}, 1) // one in 16
	wg.Go(func() {
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := publish(i % len(versions)); err != nil {
				t.Errorf("publish %d: %v", i, err)
				return
			}
			if i%16 == 0 {
				signal(published)
			}
			if i%7 == 0 {
				if _, err := s.Evict(h.ctx, EvictOptions{}); err != nil {
					t.Errorf("evict: %v", err)
					return
				}
			}
		}
	})
	check := func(s *Store, dir string) {
		t.Helper()
		a, err := s.GetAlias(h.ctx, "x")
		h.ok(err)
		i, ok := number[a.Root]
		if note := h.items(s.Space("kept"), ""); !ok || note != fmt.Sprintf("n=%d", i) {
			t.Fatalf("%s: the alias is version %d, the note says %s", dir, i, note)
		}
		h.has(s, true, versions[i]...)
		h.wants(s)
		h.misses(s, a.Root, Selection{})
		h.audit(s)
	}
	var dirs []string
	for i := range 10 {
		<-published
		dir := fmt.Sprintf("backups/%d", i)
		h.ok(s.Backup(h.ctx, dir))
		dirs = append(dirs, dir)
	}
	close(stop)
	wg.Wait()
	links := fs.Count(crashfs.OpLink).Calls
	if links == 0 {
		t.Error("no pack was linked, though sealed ones were there")
	}
	for i, dir := range dirs {
		b := h.open(dir, o)
		check(b, dir)
		// It can be written to; the two stores don't see each other's changes.
		mine := h.leaf("mine")
		h.put(b, mine)
		h.alias(b, "mine", mine)
		h.evict(b)
		check(b, dir)
		h.has(s, false, mine)
		h.ok(b.Close())
		if i%3 == 0 {
			// The packs of a backup alone suffice.
			_, err := Rebuild(h.ctx, dir, o, nil)
			h.ok(err)
			b = h.open(dir, o)
			check(b, dir)
			h.has(b, true, mine)
			h.ok(b.Close())
		}
	}
	check(s, "the store itself")
}

// A finished backup survives a crash.
func TestBackupIsDurable(t *testing.T) {
	h := newHarness(t)
	fs := crashfs.New(1)
	s := h.open("repo", Options{fs: fs})
	a := h.leaf("a")
	root := h.link("root", a.CID())
	h.put(s, a, root)
	h.alias(s, "x", root)
	h.ok(s.Backup(h.ctx, "far/away/backup"))
	fs = fs.CrashKeeping(0)
	if _, err := fs.Stat("far/away/backup/format"); err != nil {
		t.Fatalf("after a crash: %v", err)
	}
	b := h.open("far/away/backup", Options{fs: fs})
	h.has(b, true, a, root)
	h.wants(b)
	h.audit(b)
}

// A backup that fails leaves no files, and doesn't change the store.
func TestBackupFails(t *testing.T) {
	h := newHarness(t)
	fs := crashfs.New(1)
	s := h.open("repo", Options{fs: fs, PackSize: 64 << 10})
	rng := rand.New(rand.NewPCG(1, 1))
	var links []cid.Cid
	for range 10 {
		k := h.random(rng, 20_000)
		h.put(s, k)
		links = append(links, k.CID())
	}
	root := h.link("root", links...)
	h.put(s, root)
	h.alias(s, "x", root)
	h.ok(fs.MkdirAll("there", 0o755))
	if err := s.Backup(h.ctx, "there"); !errors.Is(err, os.ErrExist) {
		t.Errorf("backup over a folder: got %v, want ErrExist", err)
	}
	ctx, cancel := context.WithCancel(h.ctx)
	cancel()
	if err := s.Backup(ctx, "cancelled"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled backup: got %v, want Canceled", err)
	}
	errDisk := errors.New("the other disk is broken")
	for _, op := range []crashfs.Op{crashfs.OpLink, crashfs.OpCreate, crashfs.OpWrite, crashfs.OpSync, crashfs.OpRename, crashfs.OpSyncDir} {
		dir := "failed " + op.String()
		fs.Fail(func(got crashfs.Op, path string) error {
			if got == op && len(path) > len(dir) && path[:len(dir)+1] == "/"+dir {
				return errDisk
			}
			return nil
		})
		err := s.Backup(h.ctx, dir)
		fs.Fail(nil)
		if op == crashfs.OpLink {
			h.ok(err) // then it's copied
			b := h.open(dir, Options{fs: fs})
			h.misses(b, root.CID(), Selection{})
			h.audit(b)
			h.ok(b.Close())
			continue
		}
		if !errors.Is(err, errDisk) {
			t.Errorf("backup where each %s fails: got %v, want %v", op, err, errDisk)
		}
		if _, err := fs.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("backup where each %s fails: its folder is there still", op)
		}
	}
	h.wants(s)
	h.audit(s)
	h.ok(s.Close())
}

// On the disk of the operating system, too.
func TestBackupOnDisk(t *testing.T) {
	h := newHarness(t)
	dir := t.TempDir()
	s := h.open(filepath.Join(dir, "repo"), Options{PackSize: 64 << 10})
	rng := rand.New(rand.NewPCG(1, 1))
	var links []cid.Cid
	for range 10 {
		k := h.random(rng, 20_000)
		h.put(s, k)
		links = append(links, k.CID())
	}
	root := h.link("root", links...)
	h.put(s, root)
	h.alias(s, "x", root)
	to := filepath.Join(dir, "backup")
	h.ok(s.Backup(h.ctx, to))
	h.ok(s.RemoveAlias(h.ctx, "x"))
	h.evict(s)
	h.nothing(s)
	b := h.open(to, Options{})
	h.misses(b, root.CID(), Selection{})
	h.wants(b)
	h.audit(b)
}

// The scrubber reads all blocks again; damaged ones are wanted.
func TestScrub(t *testing.T) {
	h := newHarness(t)
	fs := crashfs.New(1)
	s := h.open("repo", Options{fs: fs, PackSize: 64 << 10})
	rng := rand.New(rand.NewPCG(1, 1))
	var leaves []block.Block
	var links []cid.Cid
	for range 10 {
		k := h.random(rng, 20_000)
		leaves, links = append(leaves, k), append(links, k.CID())
	}
	root := h.link("root", links...)
	garbage := h.random(rng, 100)
	h.put(s, append(leaves, root, garbage)...)
	h.alias(s, "x", root)
	h.misses(s, root.CID(), Selection{})
	bad := []block.Block{leaves[2], leaves[9], garbage}
	for _, k := range bad {
		h.flip(fs, s, k)
	}
	h.ok(s.Close())

	s = h.open("repo", Options{fs: fs, ScrubRate: 1 << 40})
	// Events before the subscription are not seen.
	for {
		all := true
		for _, k := range bad {
			here, err := s.Has(h.ctx, k.CID())
			h.ok(err)
			all = all && !here
		}
		if all {
			break
		}
		h.ok(s.Flush(h.ctx))
	}
	h.wants(s, leaves[2], leaves[9])
	h.misses(s, root.CID(), Selection{}, leaves[2], leaves[9])
	h.put(s, leaves[2], leaves[9])
	h.wants(s)
	h.audit(s)
}
