package store

import (
	"github.com/cairn-ipfs/cairn/block"
)

// Kinds of work.
const (
	workExpand   = 0
	workCollapse = 1
)

// A workList is nodes with work of one kind.
type workList struct {
	nodes []node
	scan  bool // the index has more
}

// maxWorkList bounds a workList in memory; further nodes are read from the index
// later.
const maxWorkList = 64 << 10

func (w *workList) add(n node) {
	if len(w.nodes) < maxWorkList {
		w.nodes = append(w.nodes, n)
	} else {
		w.scan = true
	}
}

// A lastRow caches the row that was read from the index last: a row is often read
// just before it is changed.
type lastRow struct {
	mh  string
	row *row
}

// row returns the row of a multihash, or an empty one. Only change may change it.
func (c *committer) row(mh string) (*row, error) {
	if r, ok := c.rows[mh]; ok {
		return r, nil
	}
	if c.last.row != nil && c.last.mh == mh {
		return c.last.row, nil
	}
	r, err := c.s.index.row(mh)
	if err != nil {
		return nil, err
	}
	c.last = lastRow{mh, r}
	return r, nil
}

// change changes a row, and with it all that follows from the row alone: the
// counts of its pack, what is wanted, and what work is due.
func (c *committer) change(mh string, f func(*row)) error {
	r, err := c.row(mh)
	if err == nil {
		c.changeRow(mh, r, f)
	}
	return err
}

// changeRow is change for a caller that has the row already, from row.
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
		c.updateQueues(node{mh, f.codec}, dueOf(old, oldPresent), dueOf(f, r.present()))
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

// The queues that a node belongs into, as a set: see keyWanted and the following.
const (
	dueWanted = 1 << iota
	dueExpand
	dueCollapse
	dueFlagged
)

// dueOf derives from a ref which queues the node belongs into. Nothing else
// decides that.
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

// updateQueues adds a node to queues in the index, and removes it from others.
func (c *committer) updateQueues(n node, before, after int) {
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
		c.heldDue = true
	}
}

// count adds a block to the counts of its pack, or takes it away.
func (c *committer) count(l loc, live bool, n int64) {
	info := c.infos[l.pack]
	if info == nil {
		return // a row of a pack that is missing; Verify reports it
	}
	info.count(live, n, l.section())
	c.dirty[l.pack] = true
}
