package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/pack"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/ipfs/go-cid"
)

// A batch that finds a block here protects it, also from an eviction that has chosen
// it already.
func TestHasWhileEvicting(t *testing.T) {
	h := newHarness(t)
	fs := &gateFS{FS: vfs.NewMem()}
	s := h.open("repo", Options{fs: fs})
	garbage, live := h.leaf("garbage"), h.leaf("live")
	h.put(s, garbage, live)
	h.alias(s, "live", live)

	// The live block is moved to a new pack. The gate stops that when the
	// garbage beside it is being removed, but readers still find it.
	var next pack.ID
	h.ok(s.do(&op{apply: func(c *committer) error { next = c.meta.nextPack; return nil }}))
	g := fs.stop("write", next)
	over := make(chan error, 1)
	go func() {
		_, err := s.Evict(h.ctx, EvictOptions{})
		over <- err
	}()
	<-g.arrived
	b := s.Batch()
	here, err := b.Has(h.ctx, garbage.CID())
	h.ok(err)
	close(g.open)
	h.ok(<-over)
	if !here {
		h.ok(b.Put(h.ctx, garbage))
	}
	root := h.link("root", garbage.CID())
	h.ok(b.Put(h.ctx, root))
	b.Alias("root", root.CID(), AliasOptions{})
	h.ok(b.Commit(h.ctx))
	h.has(s, true, garbage, root, live)
	h.wants(s)
	h.audit(s)

	// The batch has ended, and its protection of the block.
	h.ok(s.RemoveAlias(h.ctx, "root"))
	h.evict(s)
	h.has(s, false, garbage, root)
}

// Blocks that batches put or find are here when they have committed, also with
// concurrent evictions.
func TestCommitWhileEvicting(t *testing.T) {
	const workers, rounds, perRoot = 8, 60, 6
	h := newHarness(t)
	s := h.open("", Options{PackSize: 64 << 10, MaxCached: 10})
	rng := rand.New(rand.NewPCG(1, 2))
	var leaves []block.Block
	for range 48 {
		leaves = append(leaves, h.random(rng, 2000))
	}
	stop := make(chan struct{})
	evicted := make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				evicted <- nil
				return
			default:
			}
			if _, err := s.Evict(h.ctx, EvictOptions{}); err != nil {
				evicted <- err
				return
			}
		}
	}()
	deleted := make(chan error, 1)
	go func() {
		rng := rand.New(rand.NewPCG(5, 6))
		for {
			select {
			case <-stop:
				deleted <- nil
				return
			default:
			}
			if err := s.Delete(h.ctx, leaves[rng.IntN(len(leaves))].CID()); err != nil && !errors.Is(err, ErrLive) {
				deleted <- err
				return
			}
		}
	}()
	work := func(worker int) error {
		rng := rand.New(rand.NewPCG(3, uint64(worker)))
		name := fmt.Sprint("worker ", worker)
		for round := range rounds {
			b := s.Batch()
			var to []block.Block
			var links []cid.Cid
			for range perRoot {
				k := leaves[rng.IntN(len(leaves))]
				here, err := b.Has(h.ctx, k.CID())
				if err == nil && (!here || rng.IntN(3) == 0) {
					err = b.Put(h.ctx, k)
				}
				if err != nil {
					return err
				}
				to, links = append(to, k), append(links, k.CID())
			}
			root := h.link(fmt.Sprint(worker, round), links...)
			if err := b.Put(h.ctx, root); err != nil {
				return err
			}
			b.Alias(name, root.CID(), AliasOptions{})
			if err := b.Commit(h.ctx); err != nil {
				return err
			}
			for _, k := range append(to, root) {
				if _, err := s.Get(h.ctx, k.CID()); err != nil {
					return fmt.Errorf("round %d: %w", round, err)
				}
			}
			if rng.IntN(2) == 0 {
				if err := s.RemoveAlias(h.ctx, name); err != nil {
					return err
				}
			}
		}
		return nil
	}
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			if err := work(worker); err != nil {
				t.Errorf("worker %d: %v", worker, err)
			}
		})
	}
	wg.Wait()
	close(stop)
	h.ok(<-evicted)
	h.ok(<-deleted)
	h.wants(s)
	h.audit(s)
}

// A reader of a pack can finish while the pack is compacted; later readers find the
// block elsewhere.
func TestSlowReaderWhileCompacting(t *testing.T) {
	h := newHarness(t)
	mem := vfs.NewMem()
	fs := &gateFS{FS: mem}
	s := h.open("repo", Options{fs: fs})
	live, garbage := h.leaf("live"), h.random(rand.New(rand.NewPCG(1, 1)), 10_000)
	root := h.link("root", live.CID())
	h.put(s, live, garbage, root)
	h.alias(s, "x", root)
	at := func(b block.Block) loc {
		f, err := s.locate(string(b.CID().Hash()))
		h.ok(err)
		return f.loc
	}
	was := at(live)
	if was.pack != at(garbage).pack {
		t.Fatalf("live block and garbage lie in packs %d and %d, want the same", was.pack, at(garbage).pack)
	}

	g := fs.stop("read", was.pack)
	type result struct {
		b   block.Block
		err error
	}
	slow := make(chan result, 1)
	go func() {
		b, err := s.Get(h.ctx, garbage.CID())
		slow <- result{b, err}
	}()
	<-g.arrived
	e := h.evict(s)
	if e.Packs == 0 || e.Blocks != 1 {
		t.Fatalf("evict: got %+v, want a block and its pack gone", e)
	}
	h.has(s, true, live, root)
	h.has(s, false, garbage)
	if now := at(live); now.pack == was.pack {
		t.Fatalf("the live block lies in pack %d still", now.pack)
	}
	if _, err := mem.Stat(s.packs.Path(was.pack)); err != nil {
		t.Fatalf("the pack is unlinked under its reader: %v", err)
	}
	close(g.open)
	r := <-slow
	h.ok(r.err)
	if string(r.b.Data()) != string(garbage.Data()) {
		t.Fatal("the slow reader got other bytes")
	}
	if _, err := mem.Stat(s.packs.Path(was.pack)); err == nil {
		t.Fatal("the pack is there still, when its last reader is done")
	}
	h.audit(s)
}

// A reader that looked up a block finds it where it was moved to meanwhile.
func TestReaderComesTooLate(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{PackSize: 64 << 10})
	rng := rand.New(rand.NewPCG(1, 1))
	root := h.random(rng, 1000)
	h.put(s, root)
	h.alias(s, "x", root)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if b, err := s.Get(h.ctx, root.CID()); err != nil || string(b.Data()) != string(root.Data()) {
					t.Errorf("get a live block: got %d bytes, %v", b.Size(), err)
					return
				}
				runtime.Gosched() // give the committer a share of few cores
			}
		})
	}
	moved := map[uint64]bool{}
	for range 100 {
		// Garbage beside it makes the pack worth rewriting.
		h.put(s, h.random(rng, 1500))
		h.evict(s)
		f, err := s.locate(string(root.CID().Hash()))
		h.ok(err)
		moved[uint64(f.loc.pack)] = true
	}
	close(stop)
	wg.Wait()
	if len(moved) < 50 {
		t.Errorf("the block lay in %d packs, want it moved often", len(moved))
	}
	h.audit(s)
}

// The DAG of a new alias is live at once, also before its links are counted.
func TestDeleteWhileExpanding(t *testing.T) {
	const dirs, width = 30, 1000
	h := newHarness(t)
	s := h.open("", Options{})
	b := s.Batch()
	var here []block.Block
	var links []cid.Cid
	for i := range dirs {
		var to []cid.Cid
		for j := range width {
			to = append(to, h.leaf("%d/%d", i, j).CID())
		}
		dir, leaf := h.link(fmt.Sprint(i), to...), h.leaf("%d/0", i)
		h.ok(b.Put(h.ctx, dir, leaf))
		here, links = append(here, leaf), append(links, dir.CID())
	}
	root := h.link("root", links...)
	h.ok(b.Put(h.ctx, root))
	h.ok(b.Commit(h.ctx))
	h.alias(s, "x", root)
	for _, k := range here {
		if err := s.Delete(h.ctx, k.CID()); !errors.Is(err, ErrLive) {
			t.Errorf("delete %s: got %v, want ErrLive", k.CID(), err)
		}
	}
	h.has(s, true, here...)
}

// A running eviction evicts no block that an alias made live meanwhile, also before
// the links to it are counted.
func TestEvictWhileExpanding(t *testing.T) {
	const dirs, width = 20, 1000
	h := newHarness(t)
	fs := &gateFS{FS: vfs.NewMem()}
	s := h.open("repo", Options{fs: fs})
	b := s.Batch()
	var here []block.Block
	var links []cid.Cid
	for i := range dirs {
		leaf := h.leaf("leaf %d", i)
		dir := h.link(fmt.Sprint(i), append(manyLinks(h, i, width), leaf.CID())...)
		h.ok(b.Put(h.ctx, dir, leaf))
		here, links = append(here, leaf), append(links, dir.CID())
	}
	root := h.link("root", links...)
	h.ok(b.Put(h.ctx, root))
	h.ok(b.Commit(h.ctx))
	f, err := s.locate(string(root.CID().Hash()))
	h.ok(err)

	// All of it is garbage. The gate stops the eviction after all links are
	// counted, at its first pack.
	g := fs.stop("read", f.loc.pack)
	over := make(chan error, 1)
	go func() {
		_, err := s.Evict(h.ctx, EvictOptions{})
		over <- err
	}()
	<-g.arrived
	h.alias(s, "x", root)
	close(g.open)
	h.ok(<-over)
	h.has(s, true, here...)
	h.has(s, true, root)
	h.audit(s)
}
