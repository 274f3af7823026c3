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
	"github.com/ipfs/go-cid"
)

// Two sessions for one root, with aliases of their own: both end well, whichever
// is first.
func TestTwoOfOneRoot(t *testing.T) {
	b := newBench(t)
	root := b.tree(50)
	begun, first := make(chan struct{}), make(chan struct{})
	slow := newNode("slow", b.theirs)
	slow.pace = sync.OnceFunc(func() {
		close(begun)
		<-first
	})
	ended := make(chan error)
	go func() {
		_, err := b.sync(Config{}, root, Options{From: []Source{slow}, Alias: "second"})
		ended <- err
	}()
	<-begun
	for {
		if _, err := b.ours.Resolve(t.Context(), SyncName(root)); err == nil {
			break
		}
		runtime.Gosched()
	}
	_, err := b.sync(Config{}, root, Options{From: []Source{newNode("fast", b.theirs)}, Alias: "first"})
	close(first)
	b.check(<-ended)
	b.check(err)
	b.alias("first", root)
	b.alias("second", root)
	b.alias(SyncName(root), cid.Undef)
}

// A source that there's nothing to ask for the time being has done nothing wrong.
func TestIdle(t *testing.T) {
	b := newBench(t)
	root := b.chain(1000)
	var from []Source
	for i := range 4 {
		from = append(from, &answerer{name: fmt.Sprint("peer ", i), blocks: b.theirs})
	}
	p, err := b.sync(Config{}, root, Options{From: from, Alias: "got"})
	b.check(err)
	for _, s := range p.Sources {
		if s.Err != nil {
			t.Errorf("%s: got the error %v, want none", s.Name, s.Err)
		}
	}
}

// Who is found when as many are asked as may be has its turn when one of them
// turns out to be no use, or none has more.
func TestFoundBehindMany(t *testing.T) {
	b := newBench(t)
	root := b.tree(50)
	top, err := b.theirs.Get(t.Context(), root)
	b.check(err)
	nothing, part := b.open(), b.open()
	b.check(part.Put(t.Context(), top))
	for what, blocks := range map[string]block.Getter{"nothing": nothing, "a part": part} {
		t.Run("many have "+what, func(t *testing.T) {
			b := &bench{T: t, theirs: b.theirs, ours: b.open()}
			c := Config{Sources: func(context.Context, cid.Cid) iter.Seq[Source] {
				return func(yield func(Source) bool) {
					for i := range 3 * maxSources {
						if !yield(&answerer{name: fmt.Sprint("peer ", i), blocks: blocks}) {
							return
						}
					}
					yield(&answerer{name: "full", blocks: b.theirs})
				}
			}}
			_, err := b.sync(c, root, Options{Alias: "got"})
			b.check(err)
			b.whole(b.ours, root)
		})
	}
}

// A session doesn't outlive the loop over its progress, however that is left.
func TestPanicInLoop(t *testing.T) {
	b := newBench(t)
	root := b.chain(1)
	looked := make(chan struct{})
	c := Config{Store: b.ours, Sources: func(ctx context.Context, _ cid.Cid) iter.Seq[Source] {
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

// Who can only stream, and sends nothing but what is here, is given up.
func TestNothingNew(t *testing.T) {
	b := newBench(t)
	root := b.chain(3)
	known, err := block.New(block.Raw, make([]byte, maxAgain))
	b.check(err)
	b.check(b.ours.Put(t.Context(), known))
	src := &gateway{name: "bad", blocks: b.theirs, lie: []block.Block{known}}
	if _, err := b.sync(Config{}, root, Options{From: []Source{src}}); !errors.Is(err, ErrNoSource) {
		t.Errorf("got %v, want %v", err, ErrNoSource)
	}
	if src.streams != maxFailures {
		t.Errorf("got %d streams, want %d", src.streams, maxFailures)
	}
}
