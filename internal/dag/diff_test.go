package dag

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/cairn-ipfs/cairn/block"
)

func TestDiff(t *testing.T) {
	g := newGraph(t)
	old := g.tree("t", 3, 3, nil)
	changed := g.tree("t", 3, 3, map[string]cid.Cid{"t/1/2/0": g.leaf("new file")})
	wrapped := g.node("wrapper", old, g.leaf("beside"))
	branch := g.tree("t/2", 2, 3, nil) // t/2 of old
	moved := g.tree("t", 3, 3, map[string]cid.Cid{"t/0": g.leaf("new file"), "t/1": branch})
	unlike := g.tree("u", 2, 2, nil)
	v0 := cid.NewCidV0(old.Hash())
	never := leaf(t, "never here")

	for _, tt := range []struct {
		name     string
		root     cid.Cid
		old      []cid.Cid
		o        WalkOptions
		want     string
		honoured int
	}{
		{"nothing old", unlike, nil, WalkOptions{}, "u u/0 u/0/0 u/0/1 u/1 u/1/0 u/1/1", 0},
		{"nothing in common", unlike, []cid.Cid{old}, WalkOptions{}, "u u/0 u/0/0 u/0/1 u/1 u/1/0 u/1/1", 1},
		{"the same", old, []cid.Cid{old}, WalkOptions{}, "t", 1},
		{"the same in version 0", old, []cid.Cid{v0}, WalkOptions{}, "t", 1},
		{"a leaf", g.leaf("a leaf"), []cid.Cid{old}, WalkOptions{}, "a leaf", 1},
		{"one file changed", changed, []cid.Cid{old}, WalkOptions{}, "t t/1 t/1/2 new file", 1},
		{"one file changed back", old, []cid.Cid{changed}, WalkOptions{}, "t t/1 t/1/2 t/1/2/0", 1},
		{"wrapped", wrapped, []cid.Cid{old}, WalkOptions{}, "wrapper beside", 1},
		{"unwrapped", old, []cid.Cid{wrapped}, WalkOptions{}, "t", 1},
		{"a part", branch, []cid.Cid{old}, WalkOptions{}, "t/2", 1},
		{"a part of a wrapped one", branch, []cid.Cid{wrapped}, WalkOptions{}, "t/2", 1},
		{"moved", moved, []cid.Cid{old}, WalkOptions{}, "t new file", 1},
		{"two old ones", wrapped, []cid.Cid{unlike, old}, WalkOptions{}, "wrapper beside", 2},
		{"one old one isn't here", changed, []cid.Cid{never, old}, WalkOptions{}, "t t/1 t/1/2 new file", 1},
		{"no old one is here", unlike, []cid.Cid{never}, WalkOptions{}, "u u/0 u/0/0 u/0/1 u/1 u/1/0 u/1/1", 0},
		{"without leaves", changed, []cid.Cid{old}, WalkOptions{Skip: func(c cid.Cid) bool { return Leaf(c.Type()) }}, "t t/1 t/1/2", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g.t = t
			d, err := Diff(t.Context(), g, tt.root, tt.old, DiffOptions{})
			if err != nil {
				t.Fatalf("Diff: %v", err)
			}
			if got, err := g.run(d.Blocks(t.Context(), tt.o)); err != nil || got != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
			want := slices.DeleteFunc(slices.Clone(tt.old), func(c cid.Cid) bool { return c == never })
			if len(want) != tt.honoured || !slices.Equal(d.Honoured, want) {
				t.Errorf("Honoured: got %v, want %v", d.Honoured, want)
			}
		})
	}
}

// checkDiff checks the properties of a difference: with the old DAGs it is the new one,
// in the order of a walk, and its cost is bounded.
func checkDiff(t *testing.T, g *graph, root cid.Cid, old []cid.Cid, o DiffOptions) *Difference {
	t.Helper()
	d, err := Diff(t.Context(), g, root, old, o)
	if err != nil {
		t.Fatalf("Diff: %v", err)
	}
	sent := g.walked(d.Blocks(t.Context(), WalkOptions{}))
	if len(sent) == 0 || sent[0] != root {
		t.Fatalf("got %v, want the root first", sent)
	}
	held := make(map[cid.Cid]bool)
	for _, c := range g.walked(Walk(t.Context(), g, d.Honoured, WalkOptions{})) {
		held[c] = true
	}
	isSent := make(map[cid.Cid]bool)
	for _, c := range sent {
		isSent[c] = true
	}
	var order []cid.Cid
	for _, c := range g.preorder(root, make(map[cid.Cid]bool)) {
		if isSent[c] {
			order = append(order, c)
		} else if !held[c] {
			t.Errorf("%s is neither in an old DAG nor sent", g.name(c))
		}
	}
	if len(order) != len(sent) {
		t.Errorf("%d blocks were sent, %d of them in the new DAG", len(sent), len(order))
	}
	if o.MaxBlocks > 0 && (d.Held() > o.MaxBlocks || d.NewReads > o.MaxBlocks) {
		t.Errorf("%d old CIDs were held and %d new ones read, want at most %d", d.Held(), d.NewReads, o.MaxBlocks)
	}
	if d.OldReads > 2*d.NewReads+1000 {
		t.Errorf("got %d old reads and %d new ones", d.OldReads, d.NewReads)
	}
	return d
}

func TestDiffRandom(t *testing.T) {
	for seed := range uint64(200) {
		g := newGraph(t)
		r := rand.New(rand.NewPCG(seed, 3))
		old := g.randomDAG(r, "old", 1+r.IntN(80), nil)
		// A root above some of the old blocks, all, or none.
		all := g.randomDAG(r, "new", 1+r.IntN(40), old[:r.IntN(len(old)+1)])
		roots := []cid.Cid{old[len(old)-1]}
		for range r.IntN(3) {
			roots = append(roots, old[r.IntN(len(old))])
		}
		checkDiff(t, g, all[len(all)-1], roots, DiffOptions{})
		// With little memory more blocks are sent, never fewer.
		checkDiff(t, g, all[len(all)-1], roots, DiffOptions{MaxBlocks: 1 + r.IntN(20)})
	}
}

// A small new DAG beside a large old one costs no more than the bound allows,
// wherever in the old one it may be.
func TestDiffBounded(t *testing.T) {
	g := newGraph(t)
	old := g.tree("t", 7, 3, nil) // 1,093 link blocks, 2,187 leaves
	other := g.tree("u", 6, 3, nil)
	small := g.node("small", g.leaf("small leaf"))
	d := checkDiff(t, g, small, []cid.Cid{old, other}, DiffOptions{})
	if d.NewReads != 1 || d.OldReads != 2*1+1000 {
		t.Errorf("got %d new reads, %d old ones, want 1 and 1,002", d.NewReads, d.OldReads)
	}
	if d := checkDiff(t, g, old, []cid.Cid{other}, DiffOptions{}); d.OldReads != 364 {
		t.Errorf("got %d old reads, want 364, all there are", d.OldReads)
	}
	// If all but one path is equal, only paths are read.
	changed := g.tree("t", 7, 3, map[string]cid.Cid{"t/0/1/2/0/1/2/0": g.leaf("new")})
	if d := checkDiff(t, g, changed, []cid.Cid{old}, DiffOptions{}); d.NewReads != 7 || d.OldReads != 7 {
		t.Errorf("one leaf changed: got %d new reads, %d old ones, want 7 and 7", d.NewReads, d.OldReads)
	}
}

// The comparison stops at a block that is missing or can't be decoded, on either side.
// The walk returns the error of a block that is missing in the new DAG.
func TestDiffIncomplete(t *testing.T) {
	g := newGraph(t)
	bad := g.put("bad", newBlock(t, block.DagCBOR, []byte("no cbor")))
	gone := g.node("gone", g.leaf("below gone"))
	old := g.node("old", g.tree("t", 2, 2, nil), gone, bad)
	root := g.node("root", g.tree("t", 2, 2, nil), g.node("new", g.leaf("below gone")), gone)
	missing := g.node("missing")
	incomplete := g.node("incomplete", missing, bad, g.leaf("new leaf"))
	g.delete(gone)
	g.delete(missing)
	d, err := Diff(t.Context(), g, root, []cid.Cid{old}, DiffOptions{})
	if err != nil {
		t.Fatalf("Diff: %v", err)
	}
	if got, err := g.run(d.Blocks(t.Context(), WalkOptions{})); err != nil || got != "root new below gone" {
		t.Errorf("got %q, %v, want what isn't known to be in the old DAG", got, err)
	}
	d, err = Diff(t.Context(), g, incomplete, []cid.Cid{old}, DiffOptions{})
	if err != nil {
		t.Fatalf("Diff: %v", err)
	}
	if got, err := g.run(d.Blocks(t.Context(), WalkOptions{})); !errors.Is(err, block.ErrNotFound) || got != "incomplete !missing" {
		t.Errorf("got %q, %v, want ErrNotFound at the missing block", got, err)
	}
}

func TestDiffCancelled(t *testing.T) {
	g := newGraph(t)
	a, b := g.tree("a", 3, 3, nil), g.tree("b", 3, 3, nil)
	for n := range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		left := n
		_, err := Diff(ctx, g, a, []cid.Cid{b}, DiffOptions{LinksOf: func(ctx context.Context, c cid.Cid) ([]cid.Cid, error) {
			if left--; left < 0 {
				cancel()
			}
			return linksBy(g)(ctx, c)
		}})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled after %d reads: got %v, want Canceled", n, err)
		}
	}
}

// With LinksOf, comparing reads no blocks.
func TestDiffLinksOf(t *testing.T) {
	g := newGraph(t)
	old := g.tree("t", 3, 3, nil)
	root := g.tree("t", 3, 3, map[string]cid.Cid{"t/1/2/0": g.leaf("new file")})
	links := make(map[cid.Cid][]cid.Cid)
	for step, err := range Walk(t.Context(), g, []cid.Cid{old, root}, WalkOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if links[step.CID], err = Links(step.Block); err != nil {
			t.Fatal(err)
		}
	}
	// A getter with only the blocks to be sent.
	sparse := newGraph(t)
	d, err := Diff(t.Context(), g, root, []cid.Cid{old}, DiffOptions{})
	if err != nil {
		t.Fatalf("Diff: %v", err)
	}
	for step := range d.Blocks(t.Context(), WalkOptions{}) {
		sparse.put(g.name(step.CID), step.Block)
	}
	d, err = Diff(t.Context(), sparse, root, []cid.Cid{old}, DiffOptions{LinksOf: func(_ context.Context, c cid.Cid) ([]cid.Cid, error) {
		l, ok := links[c]
		if !ok {
			return nil, fmt.Errorf("links of %s: %w", c, block.ErrNotFound)
		}
		return l, nil
	}})
	if err != nil {
		t.Fatalf("Diff: %v", err)
	}
	if got, err := sparse.run(d.Blocks(t.Context(), WalkOptions{})); err != nil || got != "t t/1 t/1/2 new file" {
		t.Errorf("got %q, %v, want %q", got, err, "t t/1 t/1/2 new file")
	}
}

// One leaf of 10,000 changed.
func BenchmarkDiff(b *testing.B) {
	g := newGraph(b)
	old := g.tree("t", 4, 10, nil)
	root := g.tree("t", 4, 10, map[string]cid.Cid{"t/3/1/4/1": g.leaf("new")})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Diff(context.Background(), g, root, []cid.Cid{old}, DiffOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
