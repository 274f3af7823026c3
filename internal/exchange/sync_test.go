package exchange

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/access"
	"github.com/cairn-ipfs/cairn/internal/crashfs"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// Each shape of DAG, from each kind of source.
func TestSync(t *testing.T) {
	f := newFixture(t)
	roots := map[string]cid.Cid{
		"file": f.file(8<<20+1, 1), "empty file": f.file(0, 2), "tree": f.tree(2000), "chain": f.chain(3000),
	}
	for what, root := range roots {
		for _, src := range []Source{
			&answerer{name: "peer", blocks: f.theirs},
			&gateway{name: "gateway", blocks: f.theirs},
			newNode("node", f.theirs),
		} {
			t.Run(what+" from a "+src.Name(), func(t *testing.T) {
				f := &fixture{TB: t, theirs: f.theirs, ours: f.open()}
				p, err := f.sync(Config{}, root, Options{From: []Source{src}, Alias: "got"})
				f.check(err)
				n := f.whole(f.ours, root)
				if p.Blocks != int64(n) || p.Duplicates > 0 || p.Wanted != 0 {
					t.Errorf("got %+v, want %d blocks, and no duplicates", p, n)
				}
				f.alias("got", root)
				f.alias(SyncName(root), cid.Undef)
				// Nothing is missing any more, so no source is asked.
				p, err = f.sync(Config{}, root, Options{Alias: "again"})
				f.check(err)
				if p.Blocks != 0 {
					t.Errorf("again: got %+v, want no blocks", p)
				}
				f.alias("again", root)
			})
		}
	}
}

// Blocks that no source has are an error. What came stays, and isn't fetched again.
func TestSyncResumes(t *testing.T) {
	for what, src := range map[string]func(f *fixture, n int) Source{
		"a peer that dies":                func(f *fixture, n int) Source { return &answerer{name: "x", blocks: f.theirs, limit: n} },
		"a stream that is cut":            func(f *fixture, n int) Source { return &gateway{name: "x", blocks: f.theirs, cutAt: n} },
		"a stream that ends without more": func(f *fixture, n int) Source { return &gateway{name: "x", blocks: f.theirs, endAt: n} },
	} {
		t.Run(what, func(t *testing.T) {
			f := newFixture(t)
			root := f.tree(1500)
			dying := src(f, 400)
			p, err := f.sync(Config{}, root, Options{From: []Source{dying}, Alias: "got"})
			if err == nil {
				t.Fatalf("got no error, %+v", p)
			}
			if p.Blocks < 400 {
				t.Errorf("got %d blocks before the error %v, want 400 at least", p.Blocks, err)
			}
			f.alias("got", cid.Undef)
			f.alias(SyncName(root), root)
			_, err = f.ours.Evict(t.Context(), store.EvictOptions{})
			f.check(err)
			rest, err := f.sync(Config{}, root, Options{From: []Source{newNode("whole", f.theirs)}, Alias: "got"})
			f.check(err)
			n := f.whole(f.ours, root)
			if rest.Blocks+p.Blocks != int64(n) || rest.Duplicates > int64(n)/100 {
				t.Errorf("got %d blocks and then %+v, want %d in all and hardly any duplicates", p.Blocks, rest, n)
			}
		})
	}
}

// Where several parts are missing, each is streamed. No stream counts as short
// because others are missing.
func TestParts(t *testing.T) {
	f := newFixture(t)
	root := f.tree(200)
	whole := newNode("node", f.theirs)
	for name, g := range map[string]*gateway{"a gateway": {name: "gateway", blocks: f.theirs}, "a node": whole.gateway} {
		src := Source(g)
		if g == whole.gateway {
			src = whole
		}
		t.Run(name, func(t *testing.T) {
			f := &fixture{TB: t, theirs: f.theirs, ours: f.open()}
			top, err := f.theirs.Get(t.Context(), root)
			f.check(err)
			f.check(f.ours.Put(t.Context(), top))
			p, err := f.sync(Config{}, root, Options{From: []Source{src}, Alias: "got"})
			f.check(err)
			f.whole(f.ours, root)
			if err := p.Sources[0].Err; err != nil {
				t.Errorf("got the error %v of a source that sent all", err)
			}
			if g.streams != 4 || len(whole.asked.asked) > 0 {
				t.Errorf("got %d streams and %d questions, want 4 and none", g.streams, len(whole.asked.asked))
			}
		})
	}
}

// A source isn't asked for more at a time than it has streams to answer, even if
// the blocks are small.
func TestStreamLimit(t *testing.T) {
	f := newFixture(t)
	root := f.file(64<<20, 9)
	src := &answerer{name: "peer", blocks: f.theirs}
	src.delay = time.Millisecond
	_, err := f.sync(Config{}, root, Options{From: []Source{src}, Alias: "got"})
	f.check(err)
	f.whole(f.ours, root)
	if want := maxAnswers; src.most > want || src.most < want/2 {
		t.Errorf("got %d blocks of 64 KiB wanted at a time, want %d at most, and half of it at least", src.most, want)
	}
}

// onDisk returns options for a store on that disk.
func onDisk(disk *crashfs.FS) store.Options {
	return store.Internal(access.Key{}).OnFS(disk, store.Options{})
}

// What came first is durable before the rest has come: it survives a crash.
func TestCommitsEarly(t *testing.T) {
	f := newFixture(t)
	root := f.file(16<<20, 10)
	disk := crashfs.New(1)
	o := onDisk(disk)
	ours, err := store.Open(t.Context(), "repo", o)
	f.check(err)
	defer ours.Close()
	src := &gateway{name: "gateway", blocks: f.theirs}
	s, err := New(Config{Store: ours}).newSession(root, Options{From: []Source{src}, Alias: "got"})
	f.check(err)
	src.pace = func() {
		if src.sent != 100 { // 6.25 MiB
			return
		}
		for done := false; !done; runtime.Gosched() {
			s.mu.Lock()
			done = !s.committing
			if s.batchFull == firstBytes {
				t.Error("got no commit after 6 MiB")
			}
			s.mu.Unlock()
		}
		o = onDisk(disk.CrashKeeping(0))
	}
	if err := s.run(t.Context()); err == nil {
		t.Fatal("got no error from a store without power")
	}
	after, err := store.Open(t.Context(), "repo", o)
	f.check(err)
	defer after.Close()
	if has, err := after.Has(t.Context(), root); !has || err != nil {
		t.Errorf("the root after the crash: got %v, %v, want true", has, err)
	}
}

// A source fails during the sync, and another goes on.
func TestSyncBesideFailures(t *testing.T) {
	f := newFixture(t)
	root := f.tree(3000)
	stranger, err := block.New(block.Raw, make([]byte, 1<<20))
	f.check(err)
	var lies []block.Block
	for range 8 {
		lies = append(lies, stranger)
	}
	for what, bad := range map[string]Source{
		"dies":            &answerer{name: "bad", blocks: f.theirs, limit: 100},
		"lies":            &answerer{name: "bad", blocks: f.theirs, lie: func(cid.Cid) []block.Block { return []block.Block{stranger} }},
		"has nothing":     &answerer{name: "bad", blocks: f.open()},
		"streams lies":    &gateway{name: "bad", blocks: f.theirs, lie: lies},
		"streams a part":  &gateway{name: "bad", blocks: f.theirs, endAt: 1000},
		"streams nothing": &gateway{name: "bad", blocks: f.open()},
		"is cut":          &gateway{name: "bad", blocks: f.theirs, cutAt: 1000},
	} {
		t.Run("one "+what, func(t *testing.T) {
			f := &fixture{TB: t, theirs: f.theirs, ours: f.open()}
			good := &answerer{name: "good", blocks: f.theirs}
			_, err := f.sync(Config{Stall: time.Minute}, root, Options{From: []Source{bad, good}, Alias: "got"})
			f.check(err)
			f.whole(f.ours, root)
		})
	}
}

// One source sends nothing until it is dropped. Time is simulated here and below,
// so that a busy machine isn't taken for a slow source.
func TestMute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		root := f.tree(3000)
		bad, good := &answerer{name: "bad", blocks: f.theirs, mute: true}, &answerer{name: "good", blocks: f.theirs}
		p, err := f.sync(Config{}, root, Options{From: []Source{bad, good}, Alias: "got"})
		f.check(err)
		f.whole(f.ours, root)
		if p.Sources[1].Err != nil {
			t.Errorf("the good one: got %v, want no error", p.Sources[1].Err)
		}
	})
}

// A block that comes just when its source is dropped is accepted, and the rest comes
// from others.
func TestTardy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		root := f.tree(10)
		tardy := tardySource{&answerer{name: "tardy", blocks: f.theirs}}
		came := make(chan struct{})
		arrived := sync.OnceFunc(func() { close(came) })
		c := Config{
			Arrived: func(...cid.Cid) { arrived() },
			Sources: func(context.Context, cid.Cid, bool) iter.Seq[Source] {
				return func(yield func(Source) bool) {
					<-came
					yield(&answerer{name: "good", blocks: f.theirs})
				}
			},
		}
		p, err := f.sync(c, root, Options{From: []Source{tardy}, Alias: "got"})
		f.check(err)
		f.whole(f.ours, root)
		if p.Sources[0].Blocks != 1 {
			t.Errorf("got %d blocks from the tardy one, want 1", p.Sources[0].Blocks)
		}
	})
}

// A source that sends blocks that it was not asked for is dropped.
func TestUnwanted(t *testing.T) {
	f := newFixture(t)
	root := f.tree(100)
	stranger, err := block.New(block.Raw, make([]byte, 1<<20))
	f.check(err)
	for _, bad := range []Source{
		&answerer{name: "bad", blocks: f.theirs, lie: func(cid.Cid) []block.Block {
			return []block.Block{stranger, stranger, stranger, stranger, stranger, stranger}
		}},
		&gateway{name: "bad", blocks: f.theirs, lie: []block.Block{stranger, stranger, stranger, stranger, stranger, stranger}},
	} {
		_, err := f.sync(Config{}, root, Options{From: []Source{bad}})
		if !errors.Is(err, ErrMisbehaved) || !errors.Is(err, ErrNoSource) || !errors.Is(err, block.ErrNotFound) {
			t.Errorf("got %v, want ErrMisbehaved and ErrNoSource", err)
		}
		if has, err := f.ours.Has(t.Context(), stranger.CID()); has || err != nil {
			t.Errorf("the unwanted block: got %v, %v, want false", has, err)
		}
	}
}

// Many sources share the work, and hardly a block comes twice.
func TestFanIn(t *testing.T) {
	for _, kind := range []string{"nodes", "peers"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { fanIn(t, kind == "nodes") })
		})
	}
}

func fanIn(t *testing.T, stream bool) {
	f := newFixture(t)
	root := f.file(32<<20, 3)
	var from []Source
	var peers []*answerer
	for i := range 8 {
		n := newNode(fmt.Sprint("n", i), f.theirs)
		n.asked.delay = time.Millisecond
		n.pace = func() { time.Sleep(time.Millisecond) }
		peers = append(peers, n.asked)
		if stream {
			from = append(from, n)
		} else {
			from = append(from, n.asked)
		}
	}
	p, err := f.sync(Config{}, root, Options{From: from, Alias: "got"})
	f.check(err)
	f.whole(f.ours, root)
	// What is under way when the stream meets the answerers comes twice.
	if p.DuplicateBytes > 8<<20 {
		t.Errorf("got %d bytes twice, of %d, want less than what is under way", p.DuplicateBytes, p.Bytes)
	}
	used := 0
	for _, p := range peers {
		if p.sent > 0 {
			used++
		}
	}
	if used < 6 {
		t.Errorf("%d of 8 were asked for single blocks, want nearly all", used)
	}
}

// Sources send only the difference to a former version.
func TestHave(t *testing.T) {
	f := newFixture(t)
	old := f.tree(5000)
	changed := f.tree(5000, 17, 1234, 4000)
	first := newNode("first", f.theirs)
	_, err := f.sync(Config{}, old, Options{From: []Source{first}, Alias: "site"})
	f.check(err)
	for _, honours := range []bool{true, false} {
		t.Run(fmt.Sprintf("honoured %v", honours), func(t *testing.T) {
			n := newNode("n", f.theirs)
			n.have = honours
			f := &fixture{TB: t, theirs: f.theirs, ours: f.ours}
			p, err := f.sync(Config{}, changed, Options{From: []Source{n}, Alias: "new", Have: []cid.Cid{old}})
			f.check(err)
			f.whole(f.ours, changed)
			// Three files, three directories, the root.
			if sent := n.sent + n.asked.sent; p.Blocks > 7 || sent > 7 {
				t.Errorf("got %d blocks of %d that were sent, want 7 at most", p.Blocks, sent)
			}
			f.check(f.ours.RemoveAlias(t.Context(), "new"))
			_, err = f.ours.Evict(t.Context(), store.EvictOptions{})
			f.check(err)
		})
	}
}

// Follow gets each block of a chain before the next is asked for.
func TestFollow(t *testing.T) {
	f := newFixture(t)
	root := f.chain(50)
	src := newNode("n", f.theirs)
	n := 0
	enough := errors.New("that's enough")
	_, err := f.sync(Config{}, root, Options{From: []Source{src}, Follow: func(_ block.Block, links []cid.Cid) ([]cid.Cid, error) {
		if n++; n > 10 {
			return nil, enough
		}
		return links, nil
	}})
	if !errors.Is(err, enough) {
		t.Errorf("got %v, want the error of Follow", err)
	}
	if len(src.asked.asked) != 11 || src.sent != 0 {
		t.Errorf("asked for %d blocks, and streamed %d, want 11 and 0", len(src.asked.asked), src.sent)
	}
	if has, _ := f.ours.Has(t.Context(), src.asked.asked[10]); has {
		t.Error("the block that was refused is here")
	}
	// Follow returns a part of the links.
	n = 0
	_, err = f.sync(Config{}, root, Options{From: []Source{src}, Alias: "part", Follow: func(_ block.Block, links []cid.Cid) ([]cid.Cid, error) {
		if n++; n == 20 {
			return nil, nil
		}
		return links, nil
	}})
	f.check(err)
	f.alias("part", root)
	here := 0
	for _, err := range f.ours.Blocks(t.Context()) {
		f.check(err)
		here++
	}
	if here != 20 {
		t.Errorf("%d blocks are here, want 20", here)
	}
}

func TestSelection(t *testing.T) {
	f := newFixture(t)
	root := f.file(4<<20, 4)
	sel := store.Selection{Share: 1, Of: 2}
	p, err := f.sync(Config{}, root, Options{From: []Source{newNode("n", f.theirs)}, Alias: "half", Selection: sel})
	f.check(err)
	if p.Blocks < 20 || p.Blocks > 45 {
		t.Errorf("got %d blocks, want about half of 65", p.Blocks)
	}
	for c, err := range f.ours.Missing(t.Context(), root, sel) {
		t.Errorf("missing: %v, %v", c, err)
	}
}

func TestFetch(t *testing.T) {
	f := newFixture(t)
	root := f.tree(100)
	src := newNode("n", f.theirs)
	x := New(Config{Store: f.ours})
	k, err := x.Fetch(t.Context(), root, Options{From: []Source{src}})
	f.check(err)
	if k.CID() != root || len(src.asked.asked) != 1 {
		t.Errorf("got %s, and %d were asked for, want the root alone", k.CID(), len(src.asked.asked))
	}
	f.alias(SyncName(root), cid.Undef)
	if _, err := x.Fetch(t.Context(), f.chain(1), Options{}); !errors.Is(err, block.ErrNotFound) || !errors.Is(err, ErrNoSource) {
		t.Errorf("without a source: got %v, want ErrNoSource", err)
	}
	if _, err := x.Fetch(t.Context(), root, Options{}); err != nil {
		t.Errorf("a block that is here: got %v", err)
	}
}

// Sources may be found during a sync. Those that don't have the root are asked for
// nothing else.
func TestFound(t *testing.T) {
	f := newFixture(t)
	root := f.tree(300)
	empty := &answerer{name: "empty", blocks: f.open()}
	full := &answerer{name: "full", blocks: f.theirs}
	late := make(chan struct{})
	c := Config{
		Sources: func(ctx context.Context, root cid.Cid, _ bool) iter.Seq[Source] {
			return func(yield func(Source) bool) {
				if !yield(empty) {
					return
				}
				<-late
				yield(full)
			}
		},
		Fallback: []Source{&gateway{name: "fallback", blocks: f.theirs, cutAt: 10}}, FallbackDelay: 10 * time.Millisecond,
	}
	time.AfterFunc(50*time.Millisecond, func() { close(late) })
	_, err := f.sync(c, root, Options{Alias: "got"})
	f.check(err)
	f.whole(f.ours, root)
	if len(empty.asked) > 0 {
		t.Errorf("the empty source was asked for %d blocks", len(empty.asked))
	}
	if full.sent == 0 {
		t.Error("the source that was found late was not asked")
	}
}

// A cancelled session ends its goroutines, and keeps what came.
func TestCancel(t *testing.T) {
	f := newFixture(t)
	root := f.file(64<<20, 5)
	before := runtime.NumGoroutine()
	for i, src := range []Source{
		&answerer{name: "p", blocks: f.theirs, delay: 30 * time.Millisecond},
		&gateway{name: "g", blocks: f.theirs, pace: func() { time.Sleep(5 * time.Millisecond) }},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		x := New(Config{Store: f.ours})
		var last error
		for p, err := range x.Sync(ctx, root, Options{From: []Source{src}, Alias: "got"}) {
			last = err
			if p.Blocks > 0 {
				if i == 0 {
					break
				}
				cancel()
			}
		}
		cancel()
		if i == 1 && !errors.Is(last, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", last)
		}
		f.alias("got", cid.Undef)
		f.alias(SyncName(root), root)
	}
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > before && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > before {
		buf := make([]byte, 1<<20)
		t.Errorf("%d goroutines are left, of %d before\n%s", n, before, buf[:runtime.Stack(buf, true)])
	}
}

func TestFrontier(t *testing.T) {
	var cids []cid.Cid
	for i := range 6 {
		k, err := block.New(block.Raw, []byte{byte(i)})
		if err != nil {
			t.Fatal(err)
		}
		cids = append(cids, k.CID())
	}
	f := newFrontier()
	f.add(cids[2:4], true)
	f.add(cids[:2], true)
	f.add(cids[4:], false)
	f.add(cids[:1], false) // known
	var got []cid.Cid
	for w := f.leaves.head; w != nil; w = w.next {
		got = append(got, w.cid)
	}
	if !slices.Equal(got, cids) || f.queued() != 6 {
		t.Errorf("got %v, want %v", got, cids)
	}
	middle := f.wants[key(cids[3])]
	f.remove(middle)
	f.remove(f.wants[key(cids[0])])
	f.remove(f.wants[key(cids[5])])
	if f.leaves.head.cid != cids[1] || f.leaves.tail.cid != cids[4] || f.leaves.n != 3 || len(f.wants) != 3 {
		t.Errorf("after three were removed: got %d, from %v to %v", f.leaves.n, f.leaves.head.cid, f.leaves.tail.cid)
	}
	f.requeue(middle, true)
	if f.leaves.n != 3 {
		t.Error("a want that had ended was queued again")
	}
}

// A full disk ends a sync with an error. With space again, what came isn't fetched
// again.
func TestDiskFull(t *testing.T) {
	f := newFixture(t)
	root := f.file(64<<20, 6)
	disk := crashfs.New(1)
	open := func() *store.Store {
		s, err := store.Open(t.Context(), "repo", onDisk(disk))
		f.check(err)
		t.Cleanup(func() { s.Close() })
		return s
	}
	f.ours = open()
	disk.Full(100 << 20) // less the reserve
	p, err := f.sync(Config{}, root, Options{From: []Source{newNode("n", f.theirs)}, Alias: "got"})
	if !errors.Is(err, store.ErrDiskFull) {
		t.Fatalf("got %v, %+v, want ErrDiskFull", err, p)
	}
	disk.Full(1 << 30)
	if err := f.ours.Close(); err != nil && !errors.Is(err, store.ErrBatchLost) {
		t.Fatal(err)
	}
	f.ours = open()
	rest, err := f.sync(Config{}, root, Options{From: []Source{newNode("n", f.theirs)}, Alias: "got"})
	f.check(err)
	if n := int64(f.whole(f.ours, root)); rest.Blocks >= n {
		t.Errorf("got %d blocks of %d again, want only those that were missing", rest.Blocks, n)
	}
}

// After a power loss, what was committed isn't fetched again.
func TestPowerLoss(t *testing.T) {
	f := newFixture(t)
	root := f.file(64<<20, 7)
	disk := crashfs.New(1)
	o := onDisk(disk)
	s, err := store.Open(t.Context(), "repo", o)
	f.check(err)
	f.ours = s
	src := newNode("n", f.theirs)
	src.cutAt, src.asked.limit = 900, 1
	if _, err := f.sync(Config{}, root, Options{From: []Source{src}, Alias: "got"}); err == nil {
		t.Fatal("got no error from a source that dies")
	}
	o = onDisk(disk.CrashKeeping(0))
	after, err := store.Open(t.Context(), "repo", o)
	f.check(err)
	defer after.Close()
	f.ours = after
	f.alias(SyncName(root), root)
	rest, err := f.sync(Config{}, root, Options{From: []Source{newNode("n", f.theirs)}, Alias: "got"})
	f.check(err)
	n := int64(f.whole(after, root))
	if rest.Blocks > n-900 {
		t.Errorf("got %d blocks of %d, 900 of which had been committed", rest.Blocks, n)
	}
	s.Close()
}
