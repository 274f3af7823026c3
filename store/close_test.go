package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// descriptors counts the open files of this process, if the operating system lists
// them.
func descriptors() int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(names)
}

// alone reports whether the test runs in a process of its own. If not, it runs the
// test in one. It is for tests that count goroutines: after a power cut in another
// test some goroutines remain.
func alone(t *testing.T) bool {
	t.Helper()
	const key = "CAIRN_TEST_ALONE"
	if os.Getenv(key) == t.Name() {
		return true
	}
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
	child.Env = append(os.Environ(), key+"="+t.Name())
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// noLeak fails the test if there are more goroutines or open files than before. It
// waits a minute for those that are ending, for some are in a system call.
func (h harness) noLeak(goroutines, files int) {
	h.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(time.Minute)
	for (runtime.NumGoroutine() > goroutines || descriptors() > files) && time.Now().Before(end) {
		<-tick.C
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		buf := make([]byte, 64<<10)
		h.Errorf("%d goroutines are left over:\n%s", n-goroutines, buf[:runtime.Stack(buf, true)])
	}
	if n := descriptors(); n > files {
		h.Errorf("%d files are left open", n-files)
	}
}

// everything uses a store in all ways until it is closed, and calls started after a
// number of rounds. It returns all errors except ErrClosed.
func everything(ctx context.Context, s *Store, worker, rounds int, started func()) error {
	rng := rand.New(rand.NewPCG(1, uint64(worker)))
	name := fmt.Sprint(worker)
	p := s.TempPin()
	for i := 0; ; i++ {
		k, err := block.New(block.Raw, fmt.Appendf(nil, "%d %d", worker, rng.IntN(100)))
		if err != nil {
			return err
		}
		b := s.Batch()
		err = b.Put(ctx, k)
		if err == nil {
			b.Alias(name, k.CID(), AliasOptions{Hold: i%2 == 0})
			b.Alias("part/"+name, k.CID(), AliasOptions{Selection: Selection{Share: 1, Of: 2}})
			b.Set("space", []byte(name), []byte("v"))
			b.Pin(p, k.CID())
			err = b.Commit(ctx)
		}
		b.Discard()
		if err == nil {
			err = use(ctx, s, k.CID(), rng.IntN(13))
		}
		if err == nil && rng.IntN(5) == 0 {
			err = p.Release(ctx)
		}
		if errors.Is(err, ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if i == rounds {
			started()
		}
	}
}

// use makes one call. Within iterations it reads, as callers do.
func use(ctx context.Context, s *Store, c cid.Cid, how int) error {
	switch how {
	case 0:
		_, err := s.Get(ctx, c)
		return err
	case 1:
		_, err := s.Evict(ctx, EvictOptions{})
		return err
	case 2:
		for k, err := range s.Blocks(ctx) {
			if err != nil {
				return err
			}
			if _, err := s.Get(ctx, k); err != nil && !errors.Is(err, block.ErrNotFound) {
				return err
			}
		}
	case 3:
		for _, err := range s.Wanted(ctx) {
			if err != nil {
				return err
			}
		}
	case 4:
		for a, err := range s.Aliases(ctx, "") {
			if err != nil {
				return err
			}
			for _, err := range s.Missing(ctx, a.Root, a.Selection) {
				if err != nil {
					return err
				}
			}
		}
	case 5:
		_, err := s.Verify(ctx, VerifyOptions{Data: true})
		return err
	case 6:
		for item, err := range s.Space("space").All(ctx, nil) {
			if err != nil {
				return err
			}
			if _, _, err := s.Space("space").Get(ctx, item.Key); err != nil {
				return err
			}
		}
	case 7:
		_, err := s.Stats(ctx)
		return err
	case 8:
		return s.Flush(ctx)
	case 9:
		if err := s.Delete(ctx, c); !errors.Is(err, ErrLive) {
			return err
		}
	case 10:
		for a, err := range s.ReverseAlias(ctx, c) {
			if err != nil {
				return err
			}
			if _, err := s.GetAlias(ctx, a.Name); err != nil && !errors.Is(err, ErrNoAlias) {
				return err
			}
		}
	case 11:
		n := 0
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		for range s.Events(ctx) {
			if n++; n == 3 {
				break
			}
		}
	case 12:
		k, err := block.New(block.Raw, []byte("garbage"))
		if err != nil {
			return err
		}
		return s.Put(ctx, k)
	}
	return nil
}

func TestCloseWhileBusy(t *testing.T) {
	if !alone(t) {
		return
	}
	const workers = 12
	for _, where := range []string{"memory", "disk"} {
		t.Run(where, func(t *testing.T) {
			h := newHarness(t)
			goroutines, files := runtime.NumGoroutine(), descriptors()
			stores, rounds, dir := 4, 10, ""
			if where == "disk" { // which may take long to sync
				stores, rounds, dir = 1, 3, t.TempDir()
			}
			for range stores {
				s, err := Open(h.ctx, dir, Options{PackSize: 64 << 10, Target: 1 << 20, ScrubRate: 1 << 20})
				h.ok(err)
				var wg, started sync.WaitGroup
				started.Add(workers)
				for worker := range workers {
					wg.Go(func() {
						once := sync.OnceFunc(started.Done)
						defer once()
						if err := everything(h.ctx, s, worker, rounds, once); err != nil {
							t.Errorf("worker %d: %v", worker, err)
						}
					})
				}
				started.Wait()
				h.ok(s.Close())
				wg.Wait()
				if err := s.Close(); err != nil {
					t.Errorf("closed again: %v", err)
				}
			}
			h.noLeak(goroutines, files)
		})
	}
}

// A read within an iteration doesn't deadlock when the store is closed meanwhile, and
// Close waits for the iteration.
func TestCloseWithinIteration(t *testing.T) {
	h := newHarness(t)
	for _, what := range []string{"blocks", "aliases", "items"} {
		s := h.open("", Options{})
		a := h.leaf("a")
		h.put(s, a)
		h.alias(s, "x", a)
		h.ok(s.Space("p").Set(h.ctx, []byte("k"), nil))
		closed := make(chan error, 1)
		within := func() {
			go func() { closed <- s.Close() }()
			for {
				_, err := s.Get(h.ctx, a.CID())
				if errors.Is(err, ErrClosed) {
					break
				}
				h.ok(err)
			}
			select {
			case err := <-closed:
				t.Errorf("%s: Close returned %v before the iteration ended", what, err)
			default:
			}
		}
		n := 0
		switch what {
		case "blocks":
			for _, err := range s.Blocks(h.ctx) {
				h.ok(err)
				within()
				n++
			}
		case "aliases":
			for _, err := range s.Aliases(h.ctx, "") {
				h.ok(err)
				within()
				n++
			}
		case "items":
			for _, err := range s.Space("p").All(h.ctx, nil) {
				h.ok(err)
				within()
				n++
			}
		}
		h.ok(<-closed)
		if n != 1 {
			t.Errorf("%s: got %d, want 1", what, n)
		}
	}
}

func TestUseAfterClose(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	a := h.leaf("a")
	h.put(s, a)
	b, p := s.Batch(), s.TempPin()
	h.ok(b.Put(h.ctx, a))
	h.ok(s.Close())
	for what, err := range map[string]error{
		"put":          s.Put(h.ctx, a),
		"batch put":    b.Put(h.ctx, a),
		"commit":       b.Commit(h.ctx),
		"set alias":    s.SetAlias(h.ctx, "x", a.CID(), AliasOptions{}),
		"remove alias": s.RemoveAlias(h.ctx, "x"),
		"pin":          p.Add(h.ctx, a.CID()),
		"release":      p.Release(h.ctx),
		"backup":       s.Backup(h.ctx, "backup"),
		"delete":       s.Delete(h.ctx, a.CID()),
		"flush":        s.Flush(h.ctx),
		"set":          s.Space("p").Set(h.ctx, nil, nil),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: got %v, want ErrClosed", what, err)
		}
	}
	for how := range 9 {
		if err := use(h.ctx, s, a.CID(), how); !errors.Is(err, ErrClosed) {
			t.Errorf("use %d: got %v, want ErrClosed", how, err)
		}
	}
}

func TestOpenOften(t *testing.T) {
	if !alone(t) {
		return
	}
	h := newHarness(t)
	dir := t.TempDir()
	goroutines, files := runtime.NumGoroutine(), descriptors()
	var last block.Block
	const times = 25
	for i := range times {
		s, err := Open(h.ctx, dir, Options{})
		h.ok(err)
		if i > 0 {
			h.has(s, true, last)
		}
		last = h.link(fmt.Sprint(i), h.leaf("none").CID())
		h.put(s, last)
		h.alias(s, "x", last)
		if i%5 == 4 {
			h.audit(s)
			h.evict(s)
		}
		h.ok(s.Close())
	}
	h.noLeak(goroutines, files)
	s := h.open(dir, Options{})
	st, err := s.Stats(h.ctx)
	h.ok(err)
	if st.Packs > 5 {
		t.Errorf("%d times opened, and %d packs; want those of a kind to be gone on with", times, st.Packs)
	}
}

// Two stores in one process are independent; one repository can't be opened twice,
// by any path.
func TestTwoStores(t *testing.T) {
	h := newHarness(t)
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	s1, s2 := h.open(one, Options{}), h.open(two, Options{})
	a, b := h.leaf("a"), h.leaf("b")
	h.put(s1, a)
	h.put(s2, b)
	h.has(s1, true, a)
	h.has(s2, true, b)
	h.has(s1, false, b)
	h.has(s2, false, a)

	link := filepath.Join(dir, "link")
	h.ok(os.Symlink(one, link))
	t.Chdir(dir)
	for _, path := range []string{one, "one", "./one", filepath.Join("two", "..", "one"), link, "link"} {
		s, err := Open(h.ctx, path, Options{Program: "another"})
		if err == nil {
			s.Close()
		}
		if !errors.Is(err, ErrLocked) {
			t.Errorf("open %s, which is open: got %v, want ErrLocked", path, err)
		}
	}
	h.ok(s1.Close())
	s1 = h.open("link", Options{})
	h.has(s1, true, a)
	// A relative path names the folder that it names at Open.
	t.Chdir("/")
	h.put(s1, b)
	h.ok(s1.Close())
	s1 = h.open(one, Options{})
	h.has(s1, true, a, b)
	h.audit(s1)
}
