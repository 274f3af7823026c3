package store

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

func (h harness) reverse(s *Store, c cid.Cid) []string {
	h.Helper()
	names := []string{}
	for a, err := range s.ReverseAlias(h.ctx, c) {
		h.ok(err)
		names = append(names, a.Name)
	}
	return names
}

func TestIdentityLinks(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	a, b, c := h.leaf("a"), h.leaf("b"), h.leaf("c")
	nested := h.inline(a.CID(), h.inline(b.CID()).CID())
	plain := h.inline()
	root := h.link("root", nested.CID(), plain.CID(), c.CID(), a.CID())
	h.put(s, root, nested, plain, c)
	h.alias(s, "x", root)
	h.wants(s, a, b)
	h.misses(s, root.CID(), Selection{}, a, b)
	h.misses(s, nested.CID(), Selection{}, a, b)
	h.counted(s, 1, a, b, c, root)
	h.put(s, a, b)
	h.evict(s)
	h.has(s, true, a, b, c, root, nested, plain)
	h.wants(s)
	h.audit(s)
	for _, k := range []block.Block{a, b, c, root} {
		if got := h.reverse(s, k.CID()); !slices.Equal(got, []string{"x"}) {
			t.Errorf("what keeps %s: got %v, want x", k.CID(), got)
		}
	}
	// Identity CIDs are in no index: they are neither stored nor listed.
	n := 0
	for k, err := range s.Blocks(h.ctx) {
		h.ok(err)
		if n++; block.IsIdentity(k) {
			t.Errorf("%s is listed", k)
		}
	}
	if n != 4 {
		t.Errorf("%d blocks are listed, want 4", n)
	}
	h.ok(s.Delete(h.ctx, nested.CID()))
	h.has(s, true, nested)
	h.ok(s.RemoveAlias(h.ctx, "x"))
	h.evict(s)
	h.audit(s)
	h.nothing(s)
}

func TestIdentityRoots(t *testing.T) {
	for _, how := range []string{"alias", "pin"} {
		t.Run(how, func(t *testing.T) {
			h := newHarness(t)
			s := h.open("", Options{})
			a, b := h.leaf("a"), h.leaf("b")
			dir := h.link("dir", b.CID())
			root := h.inline(a.CID(), h.inline(dir.CID()).CID())
			pin := s.TempPin()
			if how == "alias" {
				h.alias(s, "x", root)
			} else {
				h.ok(pin.Add(h.ctx, root.CID()))
				h.ok(pin.Add(h.ctx, root.CID())) // twice counts once
			}
			h.wants(s, a, dir)
			h.misses(s, root.CID(), Selection{}, a, dir)
			h.put(s, a, dir)
			h.wants(s, b)
			h.put(s, b)
			h.counted(s, 1, a, b, dir)
			h.evict(s)
			h.has(s, true, a, b, dir, root)
			h.audit(s)
			if how == "alias" {
				h.ok(s.RemoveAlias(h.ctx, "x"))
			} else {
				h.ok(pin.Release(h.ctx))
			}
			h.counted(s, 0, a, b, dir)
			h.evict(s)
			h.has(s, false, a, b, dir)
			h.has(s, true, root)
			h.audit(s)
			h.nothing(s)
		})
	}
}

// An identity CID without links can have an alias, too.
func TestIdentityRootWithoutLinks(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	raw, err := block.NewWithPrefix(cid.Prefix{Version: 1, Codec: block.Raw, MhType: block.Identity, MhLength: -1}, []byte("inline"))
	h.ok(err)
	for i, root := range []block.Block{raw, h.inline()} {
		name := fmt.Sprint(i)
		h.alias(s, name, root)
		h.misses(s, root.CID(), Selection{})
		h.wants(s)
		al, err := s.GetAlias(h.ctx, name)
		h.ok(err)
		if al.Root != root.CID() {
			t.Errorf("resolve: got %s, want %s", al.Root, root.CID())
		}
		if got := h.reverse(s, root.CID()); !slices.Equal(got, []string{name}) {
			t.Errorf("what keeps %s: got %q, want %q", root.CID(), got, name)
		}
		h.audit(s)
		h.ok(s.RemoveAlias(h.ctx, name))
	}
	h.audit(s)
}

// A swap between roots where one inlines what the other links to.
func TestIdentityRootSwapped(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	a, b := h.leaf("a"), h.leaf("b")
	one := h.inline(a.CID(), b.CID())
	two := h.link("two", h.inline(b.CID()).CID())
	h.put(s, a, b, two)
	h.alias(s, "x", one)
	h.counted(s, 1, a, b)
	h.alias(s, "x", two)
	h.counted(s, 0, a)
	h.counted(s, 1, b, two)
	h.evict(s)
	h.has(s, false, a)
	h.has(s, true, b, two)
	h.alias(s, "x", one)
	h.wants(s, a)
	h.evict(s)
	h.has(s, true, b)
	h.has(s, false, two)
	h.audit(s)
}

func TestSameBytesTwoCodecs(t *testing.T) {
	for _, first := range []string{"raw", "cbor"} {
		t.Run(first+" goes first", func(t *testing.T) {
			h := newHarness(t)
			s := h.open("", Options{})
			a := h.leaf("a")
			asCBOR := h.link("b", a.CID())
			asRaw := asCBOR.WithCodec(block.Raw)
			parent := h.link("parent", asRaw.CID())
			// Wanted under both codecs before it is here; bytes under either serve both.
			h.alias(s, "cbor", asCBOR)
			h.alias(s, "raw", parent)
			h.put(s, parent)
			h.wants(s, asCBOR, asRaw)
			h.put(s, asRaw)
			h.wants(s, a)
			h.put(s, a)
			h.counted(s, 1, asCBOR, asRaw, a)
			h.has(s, true, asCBOR, asRaw)
			st, err := s.Stats(h.ctx)
			h.ok(err)
			if st.LiveBlocks != 3 {
				t.Errorf("got %d live blocks, want 3: bytes count once", st.LiveBlocks)
			}
			h.evict(s)
			h.audit(s)

			h.ok(s.RemoveAlias(h.ctx, first))
			h.evict(s)
			h.audit(s)
			h.has(s, true, asCBOR, asRaw)
			h.has(s, first == "raw", a)
			h.has(s, first == "cbor", parent)
			if err := s.Delete(h.ctx, asRaw.CID()); err == nil {
				t.Errorf("delete of what lives under one codec: got no error")
			}
			for _, name := range []string{"raw", "cbor"} {
				if name != first {
					h.ok(s.RemoveAlias(h.ctx, name))
				}
			}
			h.evict(s)
			h.has(s, false, asCBOR, asRaw, a, parent)
			h.audit(s)
			h.nothing(s)
		})
	}
}

// CIDv0 and CIDv1 dag-pb are the same.
func TestBothVersions(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	v0, err := block.NewWithPrefix(cid.Prefix{Version: 0, Codec: block.DagPB, MhType: block.SHA2_256, MhLength: 32}, nil)
	h.ok(err)
	v1, err := v0.WithCID(block.V1(v0.CID()))
	h.ok(err)
	byV0, byV1 := h.link("0", v0.CID()), h.link("1", v1.CID())
	h.put(s, byV0, byV1)
	h.alias(s, "0", byV0)
	h.alias(s, "1", byV1)
	h.alias(s, "root", v0)
	h.wants(s, v1)
	h.put(s, v0)
	h.counted(s, 3, v1)
	h.has(s, true, v0, v1)
	h.alias(s, "root", v1)
	h.counted(s, 3, v0)
	h.ok(s.RemoveAlias(h.ctx, "0"))
	h.ok(s.RemoveAlias(h.ctx, "1"))
	h.evict(s)
	h.has(s, true, v0, v1)
	h.audit(s)
}
