package unixfs

// trickleRepeat is the number of subtrees of each depth, as in Kubo.
const trickleRepeat = 4

// A trickleLayout is Kubo's trickle layout. A node holds width leaves first, then
// trickleRepeat subtrees of depth 1, as many of depth 2, and so on: without end
// in the root, and up to its own depth in a subtree. A subtree of depth 1 holds
// only leaves.
//
// It holds the nodes from the root to the position of the next leaf.
type trickleLayout struct {
	width int
	emit  func(*Node) (part, error)
	// open are the nodes being filled, the root first.
	open []trickleNode
}

type trickleNode struct {
	parts []part
	// depth is the depth of the subtree; 0 for the root, which is unbounded.
	depth int
}

var _ layout = (*trickleLayout)(nil)

// full reports whether a node is full.
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

// close makes the innermost open node, and adds it to its parent.
func (t *trickleLayout) close() error {
	p, err := t.emit(joinParts(t.open[len(t.open)-1].parts, attributes{}))
	if err != nil {
		return err
	}
	t.open = t.open[:len(t.open)-1]
	parent := &t.open[len(t.open)-1]
	parent.parts = append(parent.parts, p)
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
