package unixfs

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// Commit makes the blocks of a new root and puts them, children before parents.
// The Tree continues from the new root. Errors: those of the Getter and the
// Putter; block.ErrMalformed, block.ErrTooLarge for a directory that can't be
// made.
func (t *Tree) Commit(ctx context.Context) (cid.Cid, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := &committer{ctx: ctx, tree: t}
	link, err := c.commitDir(t.root)
	if err == nil {
		err = c.flush()
	}
	if err != nil {
		return cid.Undef, fmt.Errorf("unixfs: commit: %w", err)
	}
	t.root = &treeDir{link: link}
	return link.CID, nil
}

// A committer makes the directories of a changed Tree, and doesn't modify the
// Tree. It has one goroutine.
type committer struct {
	ctx  context.Context // of this Commit only
	tree *Tree
	// batch is the blocks for the next Put, of batchBytes bytes.
	batch      []block.Block
	batchBytes int
}

// emit makes a node's block.
func (c *committer) emit(n *Node) (part, error) {
	b, err := n.block(c.tree.options.Profile)
	if err != nil {
		return part{}, err
	}
	p := n.toPart(b)
	if block.IsIdentity(b.CID()) {
		return p, nil
	}
	c.batch = append(c.batch, b)
	c.batchBytes += b.Size()
	if c.batchBytes >= batchBytes || len(c.batch) >= batchBlocks {
		return p, c.flush()
	}
	return p, nil
}

func (c *committer) flush() error {
	if len(c.batch) == 0 {
		return nil
	}
	err := c.tree.put.Put(c.ctx, c.batch...)
	c.batch, c.batchBytes = nil, 0
	return err
}

// A dirChange is a change of one entry of a directory.
type dirChange struct {
	name string
	hash uint64
	new  Link // with its name; undefined: the entry is removed
	old  Link // undefined: the entry is added
}

// commitDir makes a directory and those in it, and returns its link. Without
// changes it returns the old link.
func (c *committer) commitDir(d *treeDir) (Link, error) {
	var base Node
	var err error
	isNew := !d.link.CID.Defined()
	if isNew {
		base.Type = TypeDirectory
	}
	var changes []dirChange
	for _, name := range slices.Sorted(maps.Keys(d.changes)) {
		e := d.changes[name]
		ch := dirChange{name: name}
		if e != nil {
			ch.new = e.link
			if e.dir != nil {
				if ch.new, err = c.commitDir(e.dir); err != nil {
					return Link{}, fmt.Errorf("%s: %w", name, err)
				}
			}
			ch.new.Name = name
		}
		changes = append(changes, ch)
	}
	if !isNew {
		if len(changes) == 0 {
			return d.link, nil
		}
		if base, err = load(c.ctx, c.tree.get, d.link.CID); err != nil {
			return Link{}, err
		}
		if changes, err = c.dropNoops(d.link.CID, base, changes); err != nil {
			return Link{}, err
		}
		if len(changes) == 0 {
			return d.link, nil
		}
	}
	p, err := c.applyChanges(d.link.CID, base, changes)
	return Link{CID: p.cid, Tsize: p.tsize}, err
}

// dropNoops sets the old links of changes, and drops those that change nothing.
func (c *committer) dropNoops(at cid.Cid, base Node, changes []dirChange) ([]dirChange, error) {
	var find func(name string) (Link, bool, error)
	if base.Type == TypeDirectory {
		byName := make(map[string]Link, len(base.Links))
		for _, l := range base.Links {
			if _, twice := byName[l.Name]; !twice {
				byName[l.Name] = l
			}
		}
		find = func(name string) (Link, bool, error) {
			l, there := byName[name]
			return l, there, nil
		}
	} else {
		find = func(name string) (Link, bool, error) { return c.find(at, base, name) }
	}
	kept := changes[:0]
	for _, ch := range changes {
		was, there, err := find(ch.name)
		if err != nil {
			return nil, err
		}
		if there {
			ch.old = was
		}
		if ch.new.CID == ch.old.CID {
			continue
		}
		kept = append(kept, ch)
	}
	return kept, nil
}

// applyChanges makes a directory of base, whose CID is at, with changes.
func (c *committer) applyChanges(at cid.Cid, base Node, changes []dirChange) (part, error) {
	a := attributes{base.Mode, base.Modified}
	p := c.tree.options.Profile
	if base.Type == TypeHAMTShard {
		links, plain, err := c.unshard(at, base, changes)
		if err != nil {
			return part{}, err
		}
		if !plain {
			return c.reshard(at, base, changes)
		}
		return makeDirectory(links, a, p, c.emit)
	}
	links := make([]Link, 0, len(base.Links)+len(changes))
	for l, err := range mergeChanges(plainEntries(base.Links), changes) {
		if err != nil {
			return part{}, err
		}
		links = append(links, l)
	}
	slices.SortStableFunc(links, func(a, b Link) int { return strings.Compare(a.Name, b.Name) })
	return makeDirectory(links, a, p, c.emit)
}

// mergeChanges yields the added and replaced entries first, then the unchanged
// ones.
func mergeChanges(entries iter.Seq2[Entry, error], changes []dirChange) iter.Seq2[Link, error] {
	return func(yield func(Link, error) bool) {
		changed := make(map[string]bool, len(changes))
		for _, ch := range changes {
			changed[ch.name] = true
			if ch.new.CID.Defined() && !yield(ch.new, nil) {
				return
			}
		}
		for e, err := range entries {
			if err == nil && changed[e.Name] {
				continue
			}
			if !yield(Link{CID: e.CID, Name: e.Name, Tsize: e.Tsize}, err) || err != nil {
				return
			}
		}
	}
}

// unshard reports whether a HAMT with changes becomes a plain directory, and
// then returns its entries. It reads entries only if the changes shrink the
// HAMT, and only up to the threshold.
func (c *committer) unshard(at cid.Cid, base Node, changes []dirChange) (links []Link, plain bool, err error) {
	p := c.tree.options.Profile
	grown := 0
	for _, ch := range changes {
		if ch.new.CID.Defined() {
			grown += ch.new.size(p.ShardRule)
		}
		if ch.old.CID.Defined() {
			was := ch.old
			was.Name = ch.name
			grown -= was.size(p.ShardRule)
		}
	}
	if p.ShardThreshold == 0 || grown >= 0 {
		return nil, false, nil
	}
	n := Node{Type: TypeDirectory}
	attributes{base.Mode, base.Modified}.set(&n)
	size := dirSize(&n, p.ShardRule)
	for l, err := range mergeChanges(entriesOf(c.ctx, c.tree.get, at, base), changes) {
		if err != nil {
			return nil, false, err
		}
		if size += l.size(p.ShardRule); size > p.ShardThreshold {
			return nil, false, nil
		}
		links = append(links, l)
	}
	slices.SortFunc(links, func(a, b Link) int { return strings.Compare(a.Name, b.Name) })
	return links, true, nil
}
