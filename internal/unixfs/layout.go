package unixfs

import (
	"time"

	"github.com/ipfs/go-cid"
)

// A part is a finished subtree of a file or directory: a leaf, or a node.
type part struct {
	cid   cid.Cid
	size  uint64 // bytes of file content
	tsize uint64 // bytes of all its blocks
}

// attributes are the metadata of a file or a directory (UnixFS: mode, mtime).
// The zero value has none.
type attributes struct {
	mode     uint32
	modified time.Time
}

func (a attributes) isZero() bool { return a.mode == 0 && a.modified.IsZero() }

// set writes the attributes into a node.
func (a attributes) set(n *Node) { n.Mode, n.Modified = a.mode, a.modified }

// A layout arranges a file's leaves, added in order, under a root.
type layout interface {
	// add adds the next leaf.
	add(leaf part) error
	// finish returns the root, with the attributes unless it is a leaf, and
	// resets the layout for the next file.
	finish(a attributes) (part, error)
}

func newLayout(p Profile, emit func(*Node) (part, error)) layout {
	if p.Layout == Trickle {
		return &trickleLayout{width: p.Width, emit: emit}
	}
	return &balancedLayout{width: p.Width, emit: emit}
}

// joinParts makes the parent node of parts of a file.
func joinParts(parts []part, a attributes) *Node {
	n := &Node{Type: TypeFile, BlockSizes: make([]uint64, len(parts)), Links: make([]Link, len(parts))}
	for i, p := range parts {
		n.Links[i] = Link{CID: p.cid, Tsize: p.tsize}
		n.BlockSizes[i] = p.size
		n.FileSize += p.size
	}
	a.set(n)
	return n
}

// A balancedLayout is the layout of both profiles: all leaves at one depth, each
// node full before the next begins (IPIP-499: balanced). It holds at most width
// parts of each level. At least one leaf must be added before finish.
type balancedLayout struct {
	width int
	emit  func(*Node) (part, error)
	// levels holds, from the leaves up, the parts that have no parent yet.
	levels [][]part
}

var _ layout = (*balancedLayout)(nil)

func (b *balancedLayout) add(leaf part) error { return b.addAt(0, leaf) }

// addAt closes a full level only when one more part comes: a root of exactly
// width parts gets no parent.
func (b *balancedLayout) addAt(level int, p part) error {
	if level == len(b.levels) {
		b.levels = append(b.levels, nil)
	}
	if len(b.levels[level]) == b.width {
		if err := b.close(level); err != nil {
			return err
		}
	}
	b.levels[level] = append(b.levels[level], p)
	return nil
}

// close makes the parent of a level's parts.
func (b *balancedLayout) close(level int) error {
	p, err := b.emit(joinParts(b.levels[level], attributes{}))
	if err != nil {
		return err
	}
	b.levels[level] = b.levels[level][:0]
	return b.addAt(level+1, p)
}

func (b *balancedLayout) finish(a attributes) (part, error) {
	defer b.reset()
	for level := 0; ; level++ {
		parts := b.levels[level]
		switch {
		case b.anyAbove(level):
			if len(parts) > 0 {
				if err := b.close(level); err != nil {
					return part{}, err
				}
			}
		case len(parts) == 1:
			return parts[0], nil
		default:
			return b.emit(joinParts(parts, a))
		}
	}
}

// anyAbove reports whether a higher level holds parts.
func (b *balancedLayout) anyAbove(level int) bool {
	for _, parts := range b.levels[level+1:] {
		if len(parts) > 0 {
			return true
		}
	}
	return false
}

// reset drops the parts, and keeps their memory.
func (b *balancedLayout) reset() {
	for level := range b.levels {
		b.levels[level] = b.levels[level][:0]
	}
}
