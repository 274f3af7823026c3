package dag

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// A slowGetter answers after a second, and counts how many wait at a time.
type slowGetter struct {
	block.Getter
	mu            sync.Mutex // guards the following
	now, most, in int
}

func (g *slowGetter) Get(ctx context.Context, c cid.Cid) (block.Block, error) {
	g.mu.Lock()
	g.now++
	g.in++
	g.most = max(g.most, g.now)
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.now--
		g.mu.Unlock()
	}()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return block.Block{}, ctx.Err()
	}
	return g.Getter.Get(ctx, c)
}

// TestWalkAhead compares walks that read ahead with one that does not: the same
// steps, each block asked for once, and less time.
func TestWalkAhead(t *testing.T) {
	for _, order := range []Order{DepthFirst, BreadthFirst} {
		synctest.Test(t, func(t *testing.T) {
			g := newGraph(t)
			a, b := g.tree("a", 2, 5, nil), g.tree("b", 1, 3, nil)
			shared := g.node("shared", b, a, g.leaf("leaf"), g.leaf("leaf"))
			root := g.node("root", a, shared, b, a, cid.MustParse("bafkqaaa"))
			walk := func(get block.Getter, ahead int) (steps []cid.Cid) {
				for step, err := range Walk(t.Context(), get, []cid.Cid{root}, WalkOptions{Order: order, Ahead: ahead}) {
					if err != nil {
						t.Fatal(err)
					}
					steps = append(steps, step.Block.CID())
				}
				return steps
			}
			want := walk(g, 0)
			slow := &slowGetter{Getter: g}
			start := time.Now()
			got := walk(slow, 4)
			if !slices.Equal(got, want) {
				t.Errorf("order %d: got %v, want %v", order, got, want)
			}
			if slow.in != len(want) || slow.most > 5 {
				t.Errorf("order %d: got %d requests, %d at a time; want %d, and 5", order, slow.in, slow.most, len(want))
			}
			if took, most := time.Since(start), time.Duration(len(want)*2/3)*time.Second; took > most {
				t.Errorf("order %d: took %s, want %s at most", order, took, most)
			}
		})
	}
}

// TestWalkAheadEnds ends walks early: none leaves a request behind.
func TestWalkAheadEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGraph(t)
		root := g.node("root", g.leaf("1"), g.leaf("2"), g.node("3", newBlock(t, block.Raw, []byte("missing")).CID()), g.leaf("4"))
		slow := &slowGetter{Getter: g}
		for range Walk(t.Context(), slow, []cid.Cid{root}, WalkOptions{Ahead: 8}) {
			break
		}
		steps := 0
		var err error
		for _, err = range Walk(t.Context(), slow, []cid.Cid{root}, WalkOptions{Ahead: 8}) {
			steps++
		}
		if steps != 5 || !errors.Is(err, block.ErrNotFound) {
			t.Errorf("got %d steps and %v, want 5, and ErrNotFound", steps, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		for _, err = range Walk(ctx, slow, []cid.Cid{root}, WalkOptions{Ahead: 8}) {
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want DeadlineExceeded", err)
		}
		if slow.now != 0 {
			t.Errorf("%d requests were left", slow.now)
		}
	})
}
