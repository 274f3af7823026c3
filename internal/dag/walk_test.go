package dag

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/block/blocktest"
)

// A graph makes DAGs for tests: blocks under short names, in a store.
type graph struct {
	t testing.TB
	blocktest.Mem
	names map[cid.Cid]string
}

func newGraph(t testing.TB) *graph { return &graph{t: t, names: make(map[cid.Cid]string)} }

func (g *graph) put(name string, b block.Block) cid.Cid {
	g.t.Helper()
	if err := g.Put(context.Background(), b); err != nil {
		g.t.Fatal(err)
	}
	g.names[block.V1(b.CID())] = name
	return b.CID()
}

// leaf puts a raw block.
func (g *graph) leaf(name string) cid.Cid {
	g.t.Helper()
	return g.put(name, newBlock(g.t, block.Raw, []byte(name)))
}

// node puts a dag-pb block with those links, its name in the data.
func (g *graph) node(name string, links ...cid.Cid) cid.Cid {
	g.t.Helper()
	var p []byte
	for _, c := range links {
		p = append(p, pbLink(c, "")...)
	}
	return g.put(name, newBlock(g.t, block.DagPB, append(p, pbBytes(1, []byte(name))...)))
}

// tree puts a tree with the given depth and number of links a node, whose
// leaves' names begin with a prefix; or other trees in place of some branches.
func (g *graph) tree(prefix string, depth, width int, other map[string]cid.Cid) cid.Cid {
	g.t.Helper()
	if c, ok := other[prefix]; ok {
		return c
	}
	if depth == 0 {
		return g.leaf(prefix)
	}
	var links []cid.Cid
	for i := range width {
		links = append(links, g.tree(fmt.Sprint(prefix, "/", i), depth-1, width, other))
	}
	return g.node(prefix, links...)
}

func (g *graph) delete(c cid.Cid) {
	g.t.Helper()
	if err := g.Delete(context.Background(), c); err != nil {
		g.t.Fatal(err)
	}
}

func (g *graph) name(c cid.Cid) string { return g.names[block.V1(c)] }

// run returns the names that a walk yields, with "!" before those that come
// with an error, and the last error.
func (g *graph) run(steps iter.Seq2[Step, error]) (string, error) {
	var names []string
	var last error
	for step, err := range steps {
		name := g.name(step.CID)
		switch {
		case err != nil:
			last = err
			name = "!" + name
		case step.Block.CID() != step.CID:
			g.t.Errorf("step of %s has the block %s", step.CID, step.Block.CID())
		}
		names = append(names, name)
	}
	return strings.Join(names, " "), last
}

func TestWalk(t *testing.T) {
	g := newGraph(t)
	a, b, c, d := g.leaf("a"), g.leaf("b"), g.leaf("c"), g.leaf("d")
	left := g.node("left", a, b)
	deep := g.node("deep", d)
	right := g.node("right", b, deep, c)
	root := g.node("root", left, right, d)
	inlined := inline(t, block.DagCBOR, cborList(left, c))
	g.names[inlined.CID()] = "inlined"
	through := g.put("through", newBlock(t, block.DagCBOR, cborList(inlined.CID(), d)))
	v0 := cid.NewCidV0(left.Hash())

	only := func(names ...string) func(cid.Cid) bool {
		return func(c cid.Cid) bool { return slices.Contains(names, g.name(c)) }
	}
	for _, tt := range []struct {
		name  string
		roots []cid.Cid
		o     WalkOptions
		want  string
	}{
		{"nothing", nil, WalkOptions{}, ""},
		{"a leaf", []cid.Cid{a}, WalkOptions{}, "a"},
		{"depth first", []cid.Cid{root}, WalkOptions{}, "root left a b right deep d c"},
		{"breadth first", []cid.Cid{root}, WalkOptions{Order: BreadthFirst}, "root left right d a b deep c"},
		{"two roots", []cid.Cid{deep, root, deep}, WalkOptions{}, "deep d root left a b right c"},
		{"two roots, breadth first", []cid.Cid{deep, root}, WalkOptions{Order: BreadthFirst}, "deep root d left right a b c"},
		{"both versions of a root", []cid.Cid{v0, left}, WalkOptions{}, "left a b"},
		{"skipping", []cid.Cid{root}, WalkOptions{Skip: only("left", "c")}, "root right b deep d"},
		{"skipping the root", []cid.Cid{root}, WalkOptions{Skip: only("root")}, ""},
		{"skipping leaves", []cid.Cid{root}, WalkOptions{Skip: func(c cid.Cid) bool { return Leaf(c.Type()) }}, "root left right deep"},
		{"one link deep", []cid.Cid{root}, WalkOptions{MaxDepth: 1}, "root left right d"},
		{"two links deep", []cid.Cid{root}, WalkOptions{MaxDepth: 2}, "root left a b right deep c d"},
		{"through an identity CID", []cid.Cid{through}, WalkOptions{}, "through left a b c d"},
		{"from an identity CID", []cid.Cid{inlined.CID()}, WalkOptions{}, "inlined left a b c"},
		{"as many blocks as allowed", []cid.Cid{root}, WalkOptions{MaxBlocks: 8}, "root left a b right deep d c"},
		{"other links", []cid.Cid{a}, WalkOptions{Links: func(b block.Block) ([]cid.Cid, error) {
			if b.CID() == a {
				return []cid.Cid{deep}, nil
			}
			return nil, nil
		}}, "a deep"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g.t = t
			for range 2 { // a walk may be run again
				if got, err := g.run(Walk(t.Context(), g, tt.roots, tt.o)); err != nil || got != tt.want {
					t.Errorf("got %q, %v, want %q", got, err, tt.want)
				}
			}
		})
	}
}

func TestWalkErrors(t *testing.T) {
	g := newGraph(t)
	a, b, c := g.leaf("a"), g.leaf("b"), g.leaf("c")
	gone := g.node("gone", a)
	bad := g.put("bad", newBlock(t, block.DagCBOR, []byte("no cbor")))
	strange := g.put("strange", newBlock(t, 0x72, []byte("of a codec nobody knows")))
	left := g.node("left", gone, b)
	root := g.node("root", left, bad, gone, strange, c)
	g.delete(gone)
	for _, tt := range []struct {
		name string
		root cid.Cid
		o    WalkOptions
		want string
		err  error
	}{
		{"missing", root, WalkOptions{}, "root left !gone", block.ErrNotFound},
		{"missing root", gone, WalkOptions{}, "!gone", block.ErrNotFound},
		{"missing root, going on", gone, WalkOptions{KeepGoing: true}, "!gone", block.ErrNotFound},
		{"malformed", bad, WalkOptions{}, "!bad", block.ErrMalformed},
		{"unknown codec", strange, WalkOptions{}, "!strange", block.ErrUnknownCodec},
		{"going on", root, WalkOptions{KeepGoing: true}, "root left !gone b !bad !strange c", block.ErrUnknownCodec},
		{"going on, breadth first", root, WalkOptions{KeepGoing: true, Order: BreadthFirst}, "root left !bad !gone !strange c b", block.ErrUnknownCodec},
		// At the maximum depth, a block without known links is no error.
		{"malformed at the limit", root, WalkOptions{KeepGoing: true, MaxDepth: 1}, "root left bad !gone strange c", block.ErrNotFound},
		{"too many blocks", root, WalkOptions{KeepGoing: true, MaxBlocks: 5}, "root left !gone b !bad !strange", block.ErrTooLarge},
		{"too many links", root, WalkOptions{MaxBlocks: 2}, "root !left", block.ErrTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g.t = t
			if got, err := g.run(Walk(t.Context(), g, []cid.Cid{tt.root}, tt.o)); got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("got %q, %v, want %q, %v", got, err, tt.want, tt.err)
			}
		})
	}
	// A block whose links can't be found is still yielded.
	for step, err := range Walk(t.Context(), g, []cid.Cid{bad}, WalkOptions{}) {
		if err == nil || string(step.Block.Data()) != "no cbor" {
			t.Errorf("got %q, %v, want the block and an error", step.Block.Data(), err)
		}
	}
}

// A block that one path reaches within the limit and another at it is walked below,
// yielded once, and its error, too.
func TestWalkMaxDepthShorterWay(t *testing.T) {
	g := newGraph(t)
	leaf := g.leaf("leaf")
	x := g.node("x", leaf)
	bad := g.put("bad", newBlock(t, block.DagCBOR, []byte("no cbor")))
	y := g.node("y", x, bad)
	root := g.node("root", y, x, bad, leaf)
	got, err := g.run(Walk(t.Context(), g, []cid.Cid{root}, WalkOptions{MaxDepth: 2, KeepGoing: true}))
	if want := "root y x bad leaf !bad"; got != want || !errors.Is(err, block.ErrMalformed) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	got, err = g.run(Walk(t.Context(), g, []cid.Cid{root}, WalkOptions{MaxDepth: 3, KeepGoing: true}))
	if want := "root y x leaf !bad"; got != want || !errors.Is(err, block.ErrMalformed) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestWalkCancelled(t *testing.T) {
	g := newGraph(t)
	root := g.tree("t", 3, 4, nil)
	for _, keepGoing := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		var steps int
		var last error
		for _, err := range Walk(ctx, g, []cid.Cid{root}, WalkOptions{KeepGoing: keepGoing}) {
			if steps++; steps == 5 {
				cancel()
			}
			last = err
		}
		cancel()
		if steps != 6 || !errors.Is(last, context.Canceled) {
			t.Errorf("KeepGoing %v: got %d steps, %v, want 6, the last one Canceled", keepGoing, steps, last)
		}
	}
}

// A walk that is cancelled while it waits for a block returns one error.
func TestWalkCancelledInGet(t *testing.T) {
	g := newGraph(t)
	root := g.node("root", g.leaf("a"), g.leaf("b"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	get := getterFunc(func(ctx context.Context, c cid.Cid) (block.Block, error) {
		if g.name(c) == "a" {
			cancel()
		}
		return g.Get(ctx, c)
	})
	got, err := g.run(Walk(ctx, get, []cid.Cid{root}, WalkOptions{KeepGoing: true}))
	if got != "root !a" || !errors.Is(err, context.Canceled) {
		t.Errorf("got %q, %v, want %q and Canceled", got, err, "root !a")
	}
}

type getterFunc func(context.Context, cid.Cid) (block.Block, error)

func (f getterFunc) Get(ctx context.Context, c cid.Cid) (block.Block, error) { return f(ctx, c) }

func TestWalkLeft(t *testing.T) {
	g := newGraph(t)
	root := g.tree("t", 2, 2, nil)
	missing := g.node("missing")
	g.delete(missing)
	for _, c := range []cid.Cid{root, missing} {
		var steps int
		for range Walk(t.Context(), g, []cid.Cid{c, root}, WalkOptions{KeepGoing: true}) {
			steps++
			break
		}
		if steps != 1 {
			t.Errorf("got %d steps, want 1", steps)
		}
	}
}

// A long chain takes neither a stack nor a front for each block.
func TestWalkChain(t *testing.T) {
	g := newGraph(t)
	c := g.leaf("end")
	const n = 10_000
	for i := range n {
		c = g.node(fmt.Sprint(i), c)
	}
	for _, order := range []Order{DepthFirst, BreadthFirst} {
		var steps int
		for step, err := range Walk(t.Context(), g, []cid.Cid{c}, WalkOptions{Order: order}) {
			if err != nil || step.Depth != steps {
				t.Fatalf("step %d: got depth %d, %v", steps, step.Depth, err)
			}
			steps++
		}
		if steps != n+1 {
			t.Errorf("got %d steps, want %d", steps, n+1)
		}
	}
}

// randomDAG puts n nodes, each with links to earlier ones, and returns all.
func (g *graph) randomDAG(r *rand.Rand, prefix string, n int, below []cid.Cid) []cid.Cid {
	cids := slices.Clone(below)
	for i := range n {
		name := fmt.Sprint(prefix, i)
		if len(cids) == 0 || r.IntN(3) == 0 {
			cids = append(cids, g.leaf(name))
			continue
		}
		var links []cid.Cid
		for range 1 + r.IntN(4) {
			links = append(links, cids[r.IntN(len(cids))])
		}
		cids = append(cids, g.node(name, links...))
	}
	return cids
}

// preorder is the definition of a depth-first Walk.
func (g *graph) preorder(c cid.Cid, seen map[cid.Cid]bool) []cid.Cid {
	if seen[c] {
		return nil
	}
	seen[c] = true
	order := []cid.Cid{c}
	b, err := g.Get(context.Background(), c)
	if err != nil {
		g.t.Fatal(err)
	}
	links, err := Links(b)
	if err != nil {
		g.t.Fatal(err)
	}
	for _, link := range links {
		order = append(order, g.preorder(link, seen)...)
	}
	return order
}

func (g *graph) walked(steps iter.Seq2[Step, error]) []cid.Cid {
	var cids []cid.Cid
	for step, err := range steps {
		if err != nil {
			g.t.Fatalf("walk: %v", err)
		}
		cids = append(cids, step.CID)
	}
	return cids
}

func TestWalkRandom(t *testing.T) {
	for seed := range uint64(200) {
		g := newGraph(t)
		r := rand.New(rand.NewPCG(seed, 1))
		all := g.randomDAG(r, "n", 1+r.IntN(60), nil)
		root := all[len(all)-1]
		want := g.preorder(root, make(map[cid.Cid]bool))
		if got := g.walked(Walk(t.Context(), g, []cid.Cid{root}, WalkOptions{})); !slices.Equal(got, want) {
			t.Fatalf("seed %d: got %v, want %v", seed, got, want)
		}
		breadth := g.walked(Walk(t.Context(), g, []cid.Cid{root}, WalkOptions{Order: BreadthFirst}))
		// With a limit beyond all depths, the walk is complete.
		limited := g.walked(Walk(t.Context(), g, []cid.Cid{root}, WalkOptions{MaxDepth: 100}))
		sortCIDs(want)
		sortCIDs(breadth)
		sortCIDs(limited)
		if !slices.Equal(breadth, want) || !slices.Equal(limited, want) {
			t.Fatalf("seed %d: got %d breadth first, %d with a limit, want %d", seed, len(breadth), len(limited), len(want))
		}
	}
}

func sortCIDs(cids []cid.Cid) {
	slices.SortFunc(cids, func(a, b cid.Cid) int { return strings.Compare(a.KeyString(), b.KeyString()) })
}

// Walks limited in depth yield the blocks within the limit on the shortest path, in
// either order.
func TestWalkMaxDepthRandom(t *testing.T) {
	for seed := range uint64(200) {
		g := newGraph(t)
		r := rand.New(rand.NewPCG(seed, 2))
		all := g.randomDAG(r, "n", 1+r.IntN(60), nil)
		root := all[len(all)-1]
		for limit := 1; limit < 5; limit++ {
			depth := g.walked(Walk(t.Context(), g, []cid.Cid{root}, WalkOptions{MaxDepth: limit}))
			breadth := g.walked(Walk(t.Context(), g, []cid.Cid{root}, WalkOptions{MaxDepth: limit, Order: BreadthFirst}))
			sortCIDs(depth)
			sortCIDs(breadth)
			if !slices.Equal(depth, breadth) {
				t.Fatalf("seed %d, limit %d: got %d depth first, %d breadth first", seed, limit, len(depth), len(breadth))
			}
		}
	}
}

func BenchmarkWalk(b *testing.B) {
	g := newGraph(b)
	root := g.tree("t", 4, 10, nil) // 11,111 blocks
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range Walk(context.Background(), g, []cid.Cid{root}, WalkOptions{}) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}
