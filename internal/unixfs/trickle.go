package unixfs

// trickleRepeat is how many subtrees of one depth follow each other before
// they grow deeper, as in Kubo.
const trickleRepeat = 4

// trickle arranges leaves as Kubo's trickle layout does: a node holds width
// leaves first, then trickleRepeat subtrees of depth 1, as many of depth 2, and
// so on without end in the root, and up to its own depth in a subtree. A
// subtree of depth 1 holds leaves alone.
//
// It holds the nodes on the way to the place where the next leaf goes, which
// are at most as many as the file is deep.
type trickleLayout struct {
	width int
	emit  func(*Node) (part, error)
	// open are the nodes being filled, the root first.
	open []trickleNode
}

type trickleNode struct {
	parts []part
	// depth is that of the node as a subtree; 0 for the root, which has no
	// bound.
	depth int
}

var _ layout = (*trickleLayout)(nil)

// full tells whether a node takes nothing more.
func (t *trickleLayout) full(n *trickleNode) bool {
	if n.depth == 0 {
		return false
	}
	return len(n.parts) == t.width+(n.depth-1)*trickleRepeat
}

func (t *trickleLayout) add(leaf part) error {
	if len(t.open) == 0 {
		t.open = append(t.open, trickleNode{})
	}
	for t.full(&t.open[len(t.open)-1]) {
		if err := t.close(); err != nil {
			return err
		}
	}
	for {
		n := &t.open[len(t.open)-1]
		if len(n.parts) < t.width {
			n.parts = append(n.parts, leaf)
			return nil
		}
		t.open = append(t.open, trickleNode{depth: (len(n.parts)-t.width)/trickleRepeat + 1})
	}
}

// close makes a node of the innermost open one, in the one around it.
func (t *trickleLayout) close() error {
	p, err := t.emit(joinParts(t.open[len(t.open)-1].parts, attributes{}))
	if err != nil {
		return err
	}
	t.open = t.open[:len(t.open)-1]
	around := &t.open[len(t.open)-1]
	around.parts = append(around.parts, p)
	return nil
}

func (t *trickleLayout) finish(a attributes) (part, error) {
	defer func() { t.open = nil }()
	for len(t.open) > 1 {
		if err := t.close(); err != nil {
			return part{}, err
		}
	}
	var parts []part
	if len(t.open) == 1 {
		parts = t.open[0].parts
	}
	return t.emit(joinParts(parts, a))
}
