package exchange

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"sync"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// Two sessions for one root, with different aliases, succeed in any order.
func TestTwoOfOneRoot(t *testing.T) {
	f := newFixture(t)
	root := f.tree(50)
	begun, first := make(chan struct{}), make(chan struct{})
	slow := newNode("slow", f.theirs)
	slow.pace = sync.OnceFunc(func() {
		close(begun)
		<-first
	})
	ended := make(chan error)
	go func() {
		_, err := f.sync(Config{}, root, Options{From: []Source{slow}, Alias: "second"})
		ended <- err
	}()
	<-begun
	for {
		if _, err := f.ours.Resolve(t.Context(), SyncName(root)); err == nil {
			break
		}
		runtime.Gosched()
	}
	_, err := f.sync(Config{}, root, Options{From: []Source{newNode("fast", f.theirs)}, Alias: "first"})
	close(first)
	f.check(<-ended)
	f.check(err)
	f.alias("first", root)
	f.alias("second", root)
	f.alias(SyncName(root), cid.Undef)
}

// A source that is idle for a while isn't blamed for it.
func TestIdle(t *testing.T) {
	f := newFixture(t)
	root := f.chain(1000)
	var from []Source
	for i := range 4 {
		from = append(from, &answerer{name: fmt.Sprint("peer ", i), blocks: f.theirs})
	}
	p, err := f.sync(Config{}, root, Options{From: from, Alias: "got"})
	f.check(err)
	for _, s := range p.Sources {
		if s.Err != nil {
			t.Errorf("%s: got the error %v, want none", s.Name, s.Err)
		}
	}
}

// A source that is found after MaxSources others is asked once one of them is
// dropped, or none of them has more.
func TestFoundBehindMany(t *testing.T) {
	f := newFixture(t)
	root := f.tree(50)
	top, err := f.theirs.Get(t.Context(), root)
	f.check(err)
	nothing, part := f.open(), f.open()
	f.check(part.Put(t.Context(), top))
	for what, blocks := range map[string]block.Getter{"nothing": nothing, "a part": part} {
		t.Run("many have "+what, func(t *testing.T) {
			f := &fixture{TB: t, theirs: f.theirs, ours: f.open()}
			c := Config{Sources: func(context.Context, cid.Cid, bool) iter.Seq[Source] {
				return func(yield func(Source) bool) {
					for i := range 3 * MaxSources {
						if !yield(&answerer{name: fmt.Sprint("peer ", i), blocks: blocks}) {
							return
						}
					}
					yield(&answerer{name: "full", blocks: f.theirs})
				}
			}}
			_, err := f.sync(c, root, Options{Alias: "got"})
			f.check(err)
			f.whole(f.ours, root)
		})
	}
}

// A session ends with the loop over its progress, also by a panic.
func TestPanicInLoop(t *testing.T) {
	f := newFixture(t)
	root := f.chain(1)
	looked := make(chan struct{})
	c := Config{Store: f.ours, Sources: func(ctx context.Context, _ cid.Cid, _ bool) iter.Seq[Source] {
		return func(func(Source) bool) {
			<-ctx.Done()
			close(looked)
		}
	}}
	func() {
		defer func() { recover() }()
		for range New(c).Sync(t.Context(), root, Options{}) {
			panic("the caller's own")
		}
	}()
	<-looked
}

// A source that only streams, and sends only duplicates, is dropped.
func TestNothingNew(t *testing.T) {
	f := newFixture(t)
	root := f.chain(3)
	known, err := block.New(block.Raw, make([]byte, maxRepeated))
	f.check(err)
	f.check(f.ours.Put(t.Context(), known))
	src := &gateway{name: "bad", blocks: f.theirs, lie: []block.Block{known}}
	if _, err := f.sync(Config{}, root, Options{From: []Source{src}}); !errors.Is(err, ErrNoSource) {
		t.Errorf("got %v, want %v", err, ErrNoSource)
	}
	if src.streams != maxFailures {
		t.Errorf("got %d streams, want %d", src.streams, maxFailures)
	}
}

// A gate is a backing whose reads wait until it is open.
type gate struct {
	theirs  block.Getter
	entered chan struct{}
	open    chan struct{}
}

func (g *gate) ReadBlock(ctx context.Context, locator []byte, _ int) ([]byte, error) {
	select {
	case g.entered <- struct{}{}:
	default:
	}
	<-g.open
	_, c, err := cid.CidFromBytes(locator)
	if err != nil {
		return nil, err
	}
	b, err := g.theirs.Get(ctx, c)
	return b.Data(), err
}

// A session reports progress while it walks what is here.
func TestProgressDuringWalk(t *testing.T) {
	f := newFixture(t)
	root := f.chain(3)
	top, err := f.theirs.Get(t.Context(), root)
	f.check(err)
	links, err := f.theirs.Links(top)
	f.check(err)
	for what, here := range map[string]cid.Cid{"the root": root, "what is below it": links[0]} {
		t.Run(what+" is here", func(t *testing.T) {
			f := &fixture{TB: t, theirs: f.theirs}
			g := &gate{theirs: f.theirs, entered: make(chan struct{}, 1), open: make(chan struct{})}
			f.ours, err = store.Open(t.Context(), "", store.Options{Backings: map[string]store.Backing{"gate": g}})
			f.check(err)
			defer f.ours.Close()
			batch := f.ours.Batch()
			k, err := f.theirs.Get(t.Context(), here)
			f.check(err)
			f.check(batch.Refer(k, "gate", here.Bytes()))
			f.check(batch.Commit(t.Context()))
			src := &answerer{name: "n", blocks: f.theirs}
			for p, err := range New(Config{Store: f.ours}).Sync(t.Context(), root, Options{From: []Source{src}, NoPin: true}) {
				f.check(err)
				select {
				case <-g.entered:
					close(g.open)
				default:
				}
				if p.Done && p.Blocks != 2 {
					t.Errorf("got %d blocks, want 2", p.Blocks)
				}
			}
			f.whole(f.ours, root)
		})
	}
}

// Concurrent walks of what is here miss no block, and want none twice.
func TestConcurrentWalks(t *testing.T) {
	f := newFixture(t)
	var tops []cid.Cid
	batch, n := f.ours.Batch(), 0
	for i := range 23 {
		top := f.tree(200, i) // they share most
		tops = append(tops, top)
		for step, err := range dag.Walk(t.Context(), f.theirs, []cid.Cid{top}, dag.WalkOptions{}) {
			f.check(err)
			if n++; step.CID != top && (!isLeaf(step.CID) || n%2 == 0) {
				f.check(batch.Put(t.Context(), step.Block))
			}
		}
	}
	f.check(batch.Commit(t.Context()))
	links := []byte{0x80 | 23}
	for _, c := range tops {
		links = append(append(links, 0xd8, 0x2a, 0x58, byte(len(c.Bytes())+1), 0), c.Bytes()...)
	}
	root, err := block.New(block.DagCBOR, links)
	f.check(err)
	f.check(f.theirs.Put(t.Context(), root))
	missing := 0
	for step, err := range dag.Walk(t.Context(), f.theirs, []cid.Cid{root.CID()}, dag.WalkOptions{}) {
		f.check(err)
		if has, err := f.ours.Has(t.Context(), step.CID); err != nil || !has {
			missing++
		}
	}
	var from []Source
	for i := range 8 {
		from = append(from, &answerer{name: fmt.Sprint("peer ", i), blocks: f.theirs})
	}
	p, err := f.sync(Config{}, root.CID(), Options{From: from, Alias: "got"})
	f.check(err)
	f.whole(f.ours, root.CID())
	if int(p.Blocks) != missing {
		t.Errorf("got %d blocks, want %d", p.Blocks, missing)
	}
}
