package store

import (
	"context"
	"errors"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cockroachdb/pebble/v2"
	"github.com/ipfs/go-cid"
)

// A walk goes through DAGs depth-first and finds what is missing. On its way
// back up it notes which blocks are whole, so that the next walk can stop
// there.
type walk struct {
	ctx   context.Context
	s     *Store
	sel   *selector
	seen  map[node]bool // blocks with links, and missing ones; whether whole
	yield func(node) bool

	// As they were when the walk began, with the first DAG: what was seen then
	// may be gone since.
	begun    bool
	epoch    uint64
	removals uint64
	whole    []node // to be noted as whole
	stopped  bool
}

// maxWholeNotes is how many blocks are noted as whole at a time.
const maxWholeNotes = 4096

// step is one block that a walk is below.
type step struct {
	n     node
	links []node // still to be visited
	whole bool
	note  bool // it's expanded, so that a mark would hold
}

func (w *walk) run(root cid.Cid) error {
	if err := block.CheckCID(root); err != nil {
		return err
	}
	targets, err := w.s.targets(root)
	if err != nil {
		return err
	}
	return w.runNodes(targets)
}

func (w *walk) runNodes(roots []node) error {
	if err := w.begin(); err != nil {
		return err
	}
	for _, root := range roots {
		if err := w.below(root); err != nil {
			return err
		}
		if w.stopped {
			break
		}
	}
	return w.noteWhole()
}

func (w *walk) begin() error {
	if err := w.s.begin(w.ctx); err != nil {
		return err
	}
	defer w.s.end()
	if w.begun {
		return nil
	}
	err := w.s.do(&op{frees: true, apply: func(c *committer) error {
		w.epoch, w.removals = c.meta.epoch, c.meta.removals
		return nil
	}})
	w.begun = err == nil
	return err
}

// below walks one DAG without recursion, for DAGs are as deep as they like.
func (w *walk) below(root node) error {
	stack := []step{{links: []node{root}}}
	for {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		top := &stack[len(stack)-1]
		if len(top.links) == 0 {
			done := *top
			stack = stack[:len(stack)-1]
			if len(stack) == 0 {
				return nil
			}
			w.seen[done.n] = done.whole
			if !done.whole {
				stack[len(stack)-1].whole = false
			} else if done.note {
				w.whole = append(w.whole, done.n)
				if len(w.whole) >= maxWholeNotes {
					if err := w.noteWhole(); err != nil {
						return err
					}
				}
			}
			continue
		}
		n := top.links[0]
		top.links = top.links[1:]
		next, whole, err := w.visit(n)
		if err != nil {
			return err
		}
		if w.stopped {
			return nil
		}
		if !whole {
			top.whole = false
		}
		if next != nil {
			stack = append(stack, *next)
		}
	}
}

// visit looks at one block: it's whole, or not, or there is something below it
// to look at.
func (w *walk) visit(n node) (next *step, whole bool, err error) {
	if !w.sel.selects(n) {
		return nil, false, nil
	}
	if whole, ok := w.seen[n]; ok {
		return nil, whole, nil
	}
	r, err := w.s.lookup(n.mh)
	if err != nil {
		return nil, false, err
	}
	f, _ := r.find(n.codec)
	if !r.present() {
		w.seen[n] = false
		w.stopped = !w.yield(n)
		if f.flags&refHasLinks == 0 || w.stopped {
			return nil, false, nil
		}
		// It was here once: what is below it is known.
		links, err := w.s.linksOf(w.ctx, n, f)
		if err != nil {
			return nil, false, nil
		}
		return &step{n: n, links: links}, false, nil
	}
	if n.codec == block.Raw || f.expanded() && (f.flags&refHasLinks == 0 || f.whole == w.epoch && w.sel == nil) {
		return nil, true, nil
	}
	links, err := w.s.linksOf(w.ctx, n, f)
	if errors.Is(err, block.ErrDamaged) || errors.Is(err, block.ErrNotFound) {
		w.seen[n] = false
		w.stopped = !w.yield(n)
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	if len(links) == 0 {
		return nil, true, nil
	}
	// A shared block may be met again before it's done: not while walking
	// down a DAG. That it's whole is told when it's done.
	return &step{n: n, links: links, whole: true, note: f.expanded()}, true, nil
}

// linksOf returns the links of a block: those it was expanded with, or else
// what is in its bytes.
func (s *Store) linksOf(ctx context.Context, n node, f ref) ([]node, error) {
	if f.flags&refHasLinks != 0 {
		value, err := s.index.get(n.key(keyLinks))
		if err != nil {
			return nil, err
		}
		if value != nil {
			return parseLinks(n, value)
		}
		// Collapsed meanwhile.
	}
	b, err := s.get(ctx, n.cid(), nil)
	if err != nil {
		return nil, err
	}
	return s.extract(b).nodes, nil
}

// noteWhole has the committer mark blocks as whole, unless any block has left
// the store since the walk began.
func (w *walk) noteWhole() error {
	nodes := w.whole
	w.whole = nil
	if len(nodes) == 0 {
		return nil
	}
	return w.s.do(&op{frees: true, apply: func(c *committer) error {
		if c.meta.epoch != w.epoch || c.meta.removals != w.removals {
			return nil
		}
		for _, n := range nodes {
			r, err := c.row(n.mh)
			if err != nil {
				return err
			}
			f, ok := r.find(n.codec)
			if !ok || !f.expanded() || f.whole == w.epoch || f.count == 0 {
				continue
			}
			if err := c.change(n.mh, func(r *row) { r.ref(n.codec).whole = w.epoch }); err != nil {
				return err
			}
		}
		return nil
	}})
}

// reverseWalk finds out which blocks lead to some other.
type reverseWalk struct {
	ctx   context.Context
	s     *Store
	r     pebble.Reader
	leads map[node]bool
}

// from tells whether the blocks that are sought can be reached from n. All
// answers on the way are remembered.
func (w *reverseWalk) from(root node) (bool, error) {
	stack := []step{{links: []node{root}}}
	for {
		if err := w.ctx.Err(); err != nil {
			return false, err
		}
		top := &stack[len(stack)-1]
		if len(top.links) == 0 {
			done := *top
			stack = stack[:len(stack)-1]
			if len(stack) == 0 {
				return w.leads[root], nil
			}
			w.leads[done.n] = done.whole
			if done.whole {
				stack[len(stack)-1].whole = true
			}
			continue
		}
		n := top.links[0]
		top.links = top.links[1:]
		if leads, ok := w.leads[n]; ok {
			top.whole = top.whole || leads
			continue
		}
		if n.codec == block.Raw {
			continue
		}
		value, err := getFrom(w.r, n.key(keyLinks))
		if err != nil {
			return false, err
		}
		if value == nil {
			w.leads[n] = false
			continue
		}
		links, err := parseLinks(n, value)
		if err != nil {
			return false, err
		}
		stack = append(stack, step{n: n, links: links})
	}
}
