package exchange

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

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
