package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/crashfs"
	"github.com/ipfs/go-cid"
)

func (h harness) part(s *Store, name string, root block.Block, sel Selection) {
	h.Helper()
	h.ok(s.SetAlias(h.ctx, name, root.CID(), AliasOptions{Selection: sel}))
}

func skip(blocks ...block.Block) Selection {
	var sel Selection
	for _, b := range blocks {
		sel.Skip = append(sel.Skip, b.CID())
	}
	return sel
}

func TestSelectionSkips(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	a, b, both := h.leaf("a"), h.leaf("b"), h.leaf("both")
	left := h.link("left", a.CID(), both.CID())
	right := h.link("right", b.CID(), both.CID())
	root := h.link("root", left.CID(), right.CID())
	sel := skip(right)
	h.part(s, "x", root, sel)
	h.wants(s, root)
	h.put(s, root)
	h.wants(s, left)
	h.misses(s, root.CID(), sel, left)
	h.misses(s, root.CID(), Selection{}, left, right)
	h.put(s, left)
	// A block that is reached on another path, too, is not skipped.
	h.wants(s, a, both)

	// Blocks of the unselected part that are here are kept all the same, and
	// their links are not wanted.
	h.put(s, right)
	h.wants(s, a, both)
	h.misses(s, root.CID(), sel, a, both)
	h.misses(s, root.CID(), Selection{}, a, b, both)
	h.put(s, b)
	h.evict(s)
	h.has(s, true, root, left, right, b)
	h.put(s, a, both)
	h.wants(s)
	h.misses(s, root.CID(), sel)
	h.misses(s, root.CID(), Selection{})
	h.audit(s)
	h.ok(s.RemoveAlias(h.ctx, "x"))
	h.evict(s)
	h.audit(s)
	h.nothing(s)
}

// A block that one of several aliases selects is wanted.
func TestSelectionsAdd(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	a, b, c := h.leaf("a"), h.leaf("b"), h.leaf("c")
	left, right := h.link("left", a.CID()), h.link("right", b.CID(), c.CID())
	root := h.link("root", left.CID(), right.CID())
	h.put(s, root, left, right)
	h.part(s, "left", root, skip(right))
	h.wants(s, a)
	h.part(s, "right", root, skip(left, c))
	h.wants(s, a, b)
	h.alias(s, "all", right)
	h.wants(s, a, b, c)
	h.ok(s.RemoveAlias(h.ctx, "all"))
	h.wants(s, a, b)
	pin := s.TempPin()
	h.ok(pin.Add(h.ctx, right.CID()))
	h.wants(s, a, b, c)
	h.ok(pin.Release(h.ctx))
	h.wants(s, a, b)
	// An alias of everything, beside partial ones of the same root.
	h.alias(s, "all", root)
	h.wants(s, a, b, c)
	h.ok(s.RemoveAlias(h.ctx, "left"))
	h.ok(s.RemoveAlias(h.ctx, "right"))
	h.wants(s, a, b, c)
	h.part(s, "all", root, skip(root))
	h.wants(s)
	h.audit(s)
}

func TestSelectionShares(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	var leaves []block.Block
	var links []cid.Cid
	for i := range 60 {
		leaves = append(leaves, h.leaf("%d", i))
		links = append(links, leaves[i].CID())
	}
	dir := h.link("dir", links...)
	gone := h.link("gone")
	root := h.link("root", dir.CID(), gone.CID())
	h.put(s, root, dir)
	count := map[cid.Cid]int{}
	for share := uint32(1); share <= 3; share++ {
		sel := Selection{Share: share, Of: 3}
		h.part(s, "x", root, sel)
		want := []block.Block{gone} // blocks with links are part of every share
		for _, k := range leaves {
			digest, err := block.Digest(k.CID().Hash())
			h.ok(err)
			if binary.BigEndian.Uint64(digest)%3 == uint64(share-1) {
				want = append(want, k)
				count[k.CID()]++
			}
		}
		if len(want) < 5 {
			t.Fatalf("share %d has %d blocks, want about 20", share, len(want))
		}
		h.wants(s, want...)
		h.misses(s, root.CID(), sel, want...)
		h.put(s, want[1])
		h.wants(s, slices.Delete(slices.Clone(want), 1, 2)...)
		h.ok(s.RemoveAlias(h.ctx, "x"))
		h.ok(s.Delete(h.ctx, want[1].CID()))
	}
	for _, k := range leaves {
		if count[k.CID()] != 1 {
			t.Errorf("%s is part of %d shares, want 1", k.CID(), count[k.CID()])
		}
	}
	h.part(s, "x", root, Selection{Share: 1, Of: 1, Skip: []cid.Cid{gone.CID()}})
	h.wants(s, leaves...)
	h.audit(s)
}

// A partial alias is whole when its selected blocks are here.
func TestSelectionSwap(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	a, b, c := h.leaf("a"), h.leaf("b"), h.leaf("c")
	one, two := h.link("one", a.CID()), h.link("two", b.CID(), c.CID())
	h.put(s, a, one, two)
	h.alias(s, "x", one)
	next := h.listen(s)
	h.ok(s.SetAlias(h.ctx, "x", two.CID(), AliasOptions{Hold: true, Selection: skip(c)}))
	h.wants(s, b)
	h.holds(s, "x", one.CID())
	h.put(s, b)
	next(EventWhole)
	h.holds(s, "x", cid.Undef)
	h.evict(s)
	h.has(s, true, two, b)
	h.has(s, false, one, a)
	h.wants(s)
	h.audit(s)
}

func TestSelectionIsKept(t *testing.T) {
	h := newHarness(t)
	fs := crashfs.New(1)
	s := h.open("repo", Options{fs: fs})
	a, b := h.leaf("a"), h.leaf("b")
	root := h.link("root", a.CID(), b.CID())
	h.put(s, root)
	sel := Selection{Skip: []cid.Cid{b.CID()}, Share: 1, Of: 1}
	h.part(s, "x", root, sel)
	check := func(s *Store) {
		t.Helper()
		al, err := s.GetAlias(h.ctx, "x")
		h.ok(err)
		if want := (Alias{Name: "x", Root: root.CID(), Selection: sel}); !al.wantsSame(want) || al.Name != "x" {
			t.Errorf("resolve: got %+v, want %+v", al, want)
		}
		for al, err := range s.Aliases(h.ctx, "") {
			h.ok(err)
			if al.Selection.IsAll() || al.Selection.Of != 1 || !slices.Equal(al.Selection.Skip, sel.Skip) {
				t.Errorf("list: got %+v, want the selection %+v", al, sel)
			}
		}
		h.wants(s, a)
	}
	check(s)
	h.ok(s.Close())
	s = h.open("repo", Options{fs: fs})
	check(s)
	h.ok(s.Close())
	_, err := Rebuild(h.ctx, "repo", Options{fs: fs}, nil)
	h.ok(err)
	check(h.open("repo", Options{fs: fs}))
}

func TestAliasesRefused(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	root := h.leaf("root")
	other := h.leaf("other")
	unknown, err := block.New(private, nil)
	h.ok(err)
	md5 := cid.NewCidV1(block.Raw, append([]byte{0xd5, 0x01, 16}, make([]byte, 16)...))
	long := make([]cid.Cid, maxSkip+1)
	for i := range long {
		long[i] = root.CID()
	}
	for _, tt := range []struct {
		what string
		name string
		root cid.Cid
		sel  Selection
		want error // nil if there is no sentinel
	}{
		{what: "no name", root: root.CID()},
		{what: "a long name", name: strings.Repeat("x", maxName+1), root: root.CID()},
		{what: "an invalid name", name: "\xff", root: root.CID()},
		{what: "an undefined root", name: "x", want: block.ErrMalformed},
		{what: "a refused hash", name: "x", root: md5, want: block.ErrHashRefused},
		{what: "an unknown codec", name: "x", root: unknown.CID(), want: block.ErrUnknownCodec},
		{what: "share 0", name: "x", root: root.CID(), sel: Selection{Of: 3}},
		{what: "share 4 of 3", name: "x", root: root.CID(), sel: Selection{Share: 4, Of: 3}},
		{what: "to skip nothing", name: "x", root: root.CID(), sel: Selection{Skip: []cid.Cid{cid.Undef}}, want: block.ErrMalformed},
		{what: "to skip much", name: "x", root: root.CID(), sel: Selection{Skip: long}, want: block.ErrTooLarge},
	} {
		b := s.Batch()
		b.Set("space", []byte(tt.what), nil)
		b.Alias("fine", other.CID(), AliasOptions{})
		b.Alias(tt.name, tt.root, AliasOptions{Selection: tt.sel})
		err := b.Commit(h.ctx)
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: got error %v, want %v", tt.what, err, tt.want)
		}
	}
	// No refused batch changed anything.
	for al, err := range s.Aliases(h.ctx, "") {
		t.Errorf("there is an alias: %+v, %v", al, err)
	}
	for item, err := range s.Space("space").All(h.ctx, nil) {
		t.Errorf("there is an item: %+v, %v", item, err)
	}
	h.counted(s, 0, root, other)
	h.wants(s)
	for _, name := range []string{"x", strings.Repeat("x", maxName), "ümläut/☃", " ", "a\x00b"} {
		h.alias(s, name, root)
		al, err := s.GetAlias(h.ctx, name)
		if err != nil || al.Name != name {
			t.Errorf("resolve %q: got %q, %v", name, al.Name, err)
		}
	}
	h.counted(s, 5, root)
}

func TestAliasesAreListedInOrder(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	root := h.leaf("root")
	for i := range 25 {
		h.alias(s, fmt.Sprintf("pin/%02d", 24-i), root)
	}
	h.alias(s, "mirror/x", root)
	h.alias(s, "pinned", root)
	var names []string
	for al, err := range s.Aliases(h.ctx, "pin/") {
		h.ok(err)
		if names = append(names, al.Name); len(names) == 10 {
			break
		}
	}
	if len(names) != 10 || names[0] != "pin/00" || !slices.IsSorted(names) {
		t.Errorf("got %q, want the first ten of pin/ in order", names)
	}
	n := 0
	for range s.Aliases(h.ctx, "pin/") {
		n++
	}
	if n != 25 {
		t.Errorf("got %d aliases of pin/, want 25", n)
	}
}
