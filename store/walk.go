package store

import (
	"context"
	"errors"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cockroachdb/pebble/v2"
	"github.com/ipfs/go-cid"
)

// A walk visits DAGs depth-first and finds missing blocks. On its way back up it
// marks blocks whole, so that the next walk can stop there.
type walk struct {
	ctx   context.Context
	s     *Store
	sel   *selector
	seen  map[node]bool // blocks with links, and missing ones; true if whole
	yield func(node) bool

	// epoch and removals are from when the first DAG's walk began: blocks seen
	// since then may have been removed.
	begun    bool
	epoch    uint64
	removals uint64
	whole    []node // to be marked whole
	stopped  bool
}

// maxWholeMarks is the most blocks that are marked whole at a time.
const maxWholeMarks = 4096

// A frame is a block that a walk is below.
type frame struct {
	n     node
	links []node // still to be visited
	whole bool
	mark  bool // it is expanded, so it can be marked
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
	return w.markWhole()
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

// below walks one DAG without recursion, for a DAG's depth has no bound.
func (w *walk) below(root node) error {
	stack := []frame{{links: []node{root}}}
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
			} else if done.mark {
				w.whole = append(w.whole, done.n)
				if len(w.whole) >= maxWholeMarks {
					if err := w.markWhole(); err != nil {
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

// visit looks up one block. It returns a frame if the walk must go below it, and
// whether it is whole as far as that is known.
func (w *walk) visit(n node) (next *frame, whole bool, err error) {
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
		// It was here before, so its links are stored.
		links, err := w.s.linksOf(w.ctx, n, f)
		if err != nil {
			return nil, false, nil
		}
		return &frame{n: n, links: links}, false, nil
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
	// Whether it is whole is known when the walk comes back up. Until then the
	// walk can't meet it again, for a DAG has no cycles.
	return &frame{n: n, links: links, whole: true, mark: f.expanded()}, true, nil
}

// linksOf returns the links of a block: those it was expanded with, or else those
// in its bytes.
func (s *Store) linksOf(ctx context.Context, n node, f ref) ([]node, error) {
	if f.flags&refHasLinks != 0 {
		value, err := s.index.get(n.key(keyLinks))
		if err != nil {
			return nil, err
		}
		if value != nil {
			return parseLinks(n, value)
		}
		// It was collapsed meanwhile.
	}
	b, err := s.get(ctx, n.cid(), nil)
	if err != nil {
		return nil, err
	}
	return s.extract(b).nodes, nil
}

// markWhole marks the blocks in w.whole, unless a block has left the store since
// the walk began.
func (w *walk) markWhole() error {
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

// A reverseWalk finds out which blocks lead to some other block.
type reverseWalk struct {
	ctx   context.Context
	s     *Store
	r     pebble.Reader
	leads map[node]bool
}

// from reports whether root leads to a block that is sought. It keeps the answers
// for all blocks on the way.
func (w *reverseWalk) from(root node) (bool, error) {
	stack := []frame{{links: []node{root}}}
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
		stack = append(stack, frame{n: n, links: links})
	}
}
