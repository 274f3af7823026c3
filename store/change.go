package store

import (
	"github.com/cairn-ipfs/cairn/block"
)

// Kinds of work.
const (
	workExpand   = 0
	workCollapse = 1
)

type workList struct {
	nodes []node
	scan  bool
}

// maxWorkList bounds a workList in memory; what goes beyond is found again in
// the index.
const maxWorkList = 64 << 10

func (w *workList) add(n node) {
	if len(w.nodes) < maxWorkList {
		w.nodes = append(w.nodes, n)
	} else {
		w.scan = true
	}
}

// A lookedUp is a row as the index has it: who changes one has often just
// looked at it.
type lookedUp struct {
	mh  string
	row *row
}

// row returns what is known of a multihash; an empty row where nothing is. It
// may be changed only through change.
func (c *committer) row(mh string) (*row, error) {
	if r, ok := c.rows[mh]; ok {
		return r, nil
	}
	if c.looked.row != nil && c.looked.mh == mh {
		return c.looked.row, nil
	}
	r, err := c.s.index.row(mh)
	if err != nil {
		return nil, err
	}
	c.looked = lookedUp{mh, r}
	return r, nil
}

// change changes a row, and with it whatever follows from the row alone: the
// counts of its pack, what is wanted, and what work is due.
func (c *committer) change(mh string, f func(*row)) error {
	r, err := c.row(mh)
	if err == nil {
		c.changeRow(mh, r, f)
	}
	return err
}

// changeRow is change for who has the row already, from row.
func (c *committer) changeRow(mh string, r *row, f func(*row)) {
	oldLoc, oldLive := r.loc, r.live()
	var buf [4]ref
	oldRefs := append(buf[:0], r.refs...)
	oldPresent := r.present()

	f(r)
	for i := range r.refs {
		settleLeaf(r, &r.refs[i])
	}
	c.rows[mh] = r

	live := r.live()
	if oldLoc.kind == locPack && (oldLoc != r.loc || oldLive != live) {
		c.count(oldLoc, oldLive, -1)
	}
	if r.loc.kind == locPack && (oldLoc != r.loc || oldLive != live) {
		c.count(r.loc, live, 1)
	}
	if oldLoc != r.loc {
		c.moved[mh] = r.loc
		if r.loc.kind == locNone {
			c.meta.removals++
		}
	}
	for _, f := range r.refs {
		old := ref{codec: f.codec}
		for _, o := range oldRefs {
			if o.codec == f.codec {
				old = o
			}
		}
		c.due(node{mh, f.codec}, dueOf(old, oldPresent), dueOf(f, r.present()))
	}
}

// settleLeaf expands and collapses a ref whose codec has no links: there is
// nothing to count.
func settleLeaf(r *row, f *ref) {
	if f.codec != block.Raw {
		return
	}
	if f.count == 0 {
		f.flags, f.version = 0, 0
	} else if r.present() {
		f.flags = refExpanded
	}
}

// What is due with a node, as a set: see keyWanted and the like.
const (
	dueWanted = 1 << iota
	dueExpand
	dueCollapse
	dueFlagged
)

// dueOf derives from a ref what is due. This is the one place that says so.
func dueOf(f ref, present bool) int {
	due := 0
	if f.count > 0 && !present {
		due |= dueWanted
	}
	if f.count > 0 && present && !f.expanded() {
		due |= dueExpand
	}
	if f.count == 0 && f.expanded() {
		due |= dueCollapse
	}
	if f.flags&(refUnknown|refUndecodable) != 0 {
		due |= dueFlagged
	}
	return due
}

// due writes to the index what has become due or ceased to be.
func (c *committer) due(n node, before, after int) {
	if before == after {
		return
	}
	for _, k := range []struct {
		bit    int
		prefix byte
	}{{dueWanted, keyWanted}, {dueExpand, keyExpand}, {dueCollapse, keyCollapse}} {
		switch {
		case before&k.bit == after&k.bit:
		case after&k.bit != 0:
			c.set(n.key(k.prefix), []byte{})
		default:
			c.unset(n.key(k.prefix))
		}
	}
	switch {
	case before&dueFlagged == after&dueFlagged:
	case after&dueFlagged != 0:
		c.set(n.flaggedKey(), []byte{})
	default:
		c.unset(n.flaggedKey())
	}
	if after&^before&dueExpand != 0 {
		c.work[workExpand].add(n)
	}
	if after&^before&dueCollapse != 0 {
		c.work[workCollapse].add(n)
	}
	if before&^after&dueWanted != 0 {
		c.keeperDue = true
	}
}

// count adds a block to the counts of its pack, or takes it away.
func (c *committer) count(l loc, live bool, n int64) {
	info := c.infos[l.pack]
	if info == nil {
		return // a row of a pack that is missing; Verify speaks of it
	}
	info.count(live, n, l.section())
	c.dirty[l.pack] = true
}
