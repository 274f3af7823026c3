package store

import (
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/crashfs"
)

// An index with errors, as a bug would leave them: Verify finds and repairs each
// kind.
func TestVerifyRepairs(t *testing.T) {
	for _, tt := range []struct {
		what  string
		wrong func(c *committer, h harness, a, dir block.Block) error
	}{
		{"a count too high", func(c *committer, _ harness, a, _ block.Block) error { return c.addCount(nodeOf(a.CID()), 3) }},
		{"a count too low", func(c *committer, _ harness, a, _ block.Block) error { return c.addCount(nodeOf(a.CID()), -1) }},
		{"a count of a block that does not exist", func(c *committer, h harness, _, _ block.Block) error {
			return c.addCount(nodeOf(h.leaf("nowhere").CID()), 1)
		}},
		{"a row that is gone", func(c *committer, h harness, _, _ block.Block) error {
			n := nodeOf(h.leaf("none").CID())
			if err := c.addCount(n, -1); err != nil {
				return err
			}
			delete(c.rows, n.mh)
			c.rows[n.mh] = &row{}
			return nil
		}},
		{"links that are gone", func(c *committer, _ harness, _, dir block.Block) error {
			c.unset(nodeOf(dir.CID()).key(keyLinks))
			return nil
		}},
		{"links of what isn't expanded", func(c *committer, h harness, a, _ block.Block) error {
			c.set(nodeOf(h.link("other").CID()).key(keyLinks), appendNodes(nil, []node{nodeOf(a.CID())}))
			return nil
		}},
		{"not wanted though missing", func(c *committer, h harness, _, _ block.Block) error {
			c.unset(nodeOf(h.leaf("none").CID()).key(keyWanted))
			return nil
		}},
		{"wanted though here", func(c *committer, _ harness, a, _ block.Block) error {
			c.set(nodeOf(a.CID()).key(keyWanted), []byte{})
			return nil
		}},
		{"to be expanded though it is", func(c *committer, _ harness, _, dir block.Block) error {
			c.set(nodeOf(dir.CID()).key(keyExpand), []byte{})
			return nil
		}},
		{"to be collapsed though it's live", func(c *committer, _ harness, _, dir block.Block) error {
			c.set(nodeOf(dir.CID()).key(keyCollapse), []byte{})
			return nil
		}},
		{"flagged though it's fine", func(c *committer, _ harness, _, dir block.Block) error {
			c.set(nodeOf(dir.CID()).flaggedKey(), []byte{})
			return nil
		}},
		{"a pack's counts", func(c *committer, _ harness, a, _ block.Block) error {
			r, err := c.row(string(a.CID().Hash()))
			if err == nil {
				c.infos[r.loc.pack].count(true, 1, 100)
				c.dirty[r.loc.pack] = true
			}
			return err
		}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			h := newHarness(t)
			fs := crashfs.New(1)
			s := h.open("repo", Options{fs: fs})
			a := h.leaf("a")
			dir := h.link("dir", a.CID(), h.leaf("none").CID())
			root := h.link("root", dir.CID(), h.link("", a.CID()).CID())
			h.put(s, a, dir, root, h.link("", a.CID()))
			h.alias(s, "x", root)
			h.wants(s, h.leaf("none"))
			h.misses(s, root.CID(), Selection{}, h.leaf("none"))
			h.audit(s)
			h.ok(s.do(&op{durable: true, apply: func(c *committer) error { return tt.wrong(c, h, a, dir) }}))

			rep, err := s.Verify(h.ctx, VerifyOptions{})
			h.ok(err)
			if rep.OK() || rep.WrongFacts == 0 || rep.Repaired {
				t.Fatalf("verify: got %+v, want something wrong", rep)
			}
			again, err := s.Verify(h.ctx, VerifyOptions{})
			h.ok(err)
			if again.WrongFacts != rep.WrongFacts {
				t.Errorf("verified again: got %d wrong facts, want %d as before: %v, %v", again.WrongFacts, rep.WrongFacts, again.Wrong, rep.Wrong)
			}
			if rep, err = s.Verify(h.ctx, VerifyOptions{Repair: true}); err != nil || !rep.Repaired {
				t.Fatalf("repair: got %+v, %v", rep, err)
			}
			h.wants(s, h.leaf("none"))
			h.misses(s, root.CID(), Selection{}, h.leaf("none"))
			h.counted(s, 2, a)
			h.counted(s, 1, dir, root, h.leaf("none"))
			h.audit(s)
			h.evict(s)
			h.has(s, true, a, dir, root)
			h.audit(s)
			h.ok(s.RemoveAlias(h.ctx, "x"))
			h.evict(s)
			h.audit(s)
			h.nothing(s)
		})
	}
}

// The audit sorts more references than it keeps in memory.
func TestVerifySpills(t *testing.T) {
	h := newHarness(t)
	fs := crashfs.New(1)
	x := &sorter{fs: fs, dir: "."}
	want := map[string]uint64{}
	for i := range 5000 {
		key := string(h.leaf("%d", i%1700).CID().Hash())
		want[key]++
		h.ok(x.add(key))
		if i%1000 == 999 {
			h.ok(x.spill())
		}
	}
	next, stop, err := x.sorted()
	h.ok(err)
	last := ""
	for {
		key, n, err := next()
		h.ok(err)
		if key == "" {
			break
		}
		if key <= last || n != want[key] {
			t.Fatalf("got %x %d times after %x, want it %d times and in order", key, n, last, want[key])
		}
		delete(want, key)
		last = key
	}
	if len(want) > 0 {
		t.Errorf("%d keys did not come", len(want))
	}
	stop()
	x.remove()
	names, err := fs.List(".")
	h.ok(err)
	if len(names) > 0 {
		t.Errorf("%q are left over", names)
	}
}
