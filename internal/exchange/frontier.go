package exchange

import (
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// A want is a block that a session lacks.
type want struct {
	cid  cid.Cid
	leaf bool // by its codec it has no links

	// The list of a queue.
	queued     bool
	prev, next *want

	// asked are the questions without an answer.
	asked []question
	// lacking are the sources that don't have it.
	lacking []*worker
}

// A question is a want that a source was asked for.
type question struct {
	worker *worker
	at     time.Time
}

func (w *want) askedOf(by *worker) bool {
	for _, a := range w.asked {
		if a.worker == by {
			return true
		}
	}
	return false
}

func (w *want) lackedBy(by *worker) bool {
	for _, l := range w.lacking {
		if l == by {
			return true
		}
	}
	return false
}

// removeAsk removes the question to a source.
func (w *want) removeAsk(by *worker) {
	for i, a := range w.asked {
		if a.worker == by {
			w.asked = append(w.asked[:i], w.asked[i+1:]...)
			return
		}
	}
}

// A frontier is what a session wants: the blocks that it knows of and that are
// missing. Those that no source was asked for are in two queues, in the order of
// the DAG: blocks that may have links, and leaves.
type frontier struct {
	wants  map[string]*want
	links  queue
	leaves queue
	// linkWants is how many of the wants may have links.
	linkWants int
}

func newFrontier() frontier { return frontier{wants: map[string]*want{}} }

// key identifies a block: CIDs of versions 0 and 1 have the same.
func key(c cid.Cid) string { return block.V1(c).KeyString() }

func isLeaf(c cid.Cid) bool { return c.Type() == block.Raw }

func (f *frontier) queueOf(w *want) *queue {
	if w.leaf {
		return &f.leaves
	}
	return &f.links
}

// add adds the missing blocks below one block, in the order of its links, to the
// front of the queues or to the back.
func (f *frontier) add(cids []cid.Cid, front bool) {
	if front {
		for i := len(cids) - 1; i >= 0; i-- {
			f.addOne(cids[i], true)
		}
		return
	}
	for _, c := range cids {
		f.addOne(c, false)
	}
}

func (f *frontier) addOne(c cid.Cid, front bool) {
	k := key(c)
	if f.wants[k] != nil {
		return
	}
	w := &want{cid: c, leaf: isLeaf(c)}
	f.wants[k] = w
	if !w.leaf {
		f.linkWants++
	}
	f.queueOf(w).push(w, front)
}

// remove removes the want of a block that has come.
func (f *frontier) remove(w *want) {
	f.unqueue(w)
	delete(f.wants, key(w.cid))
	if !w.leaf {
		f.linkWants--
	}
}

func (f *frontier) unqueue(w *want) {
	if w.queued {
		f.queueOf(w).remove(w)
	}
}

// requeue puts a want back that is still open and that no source is asked for.
func (f *frontier) requeue(w *want, front bool) {
	if !w.queued && len(w.asked) == 0 && f.wants[key(w.cid)] == w {
		f.queueOf(w).push(w, front)
	}
}

// queued is how many wants no source was asked for.
func (f *frontier) queued() int { return f.links.n + f.leaves.n }

// A queue is a list that is linked through its wants.
type queue struct {
	head, tail *want
	n          int
}

func (q *queue) push(w *want, front bool) {
	w.queued = true
	q.n++
	switch {
	case q.head == nil:
		q.head, q.tail = w, w
	case front:
		w.next, q.head.prev = q.head, w
		q.head = w
	default:
		w.prev, q.tail.next = q.tail, w
		q.tail = w
	}
}

func (q *queue) remove(w *want) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		q.head = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		q.tail = w.prev
	}
	w.prev, w.next, w.queued = nil, nil, false
	q.n--
}

// maxPassed bounds how many wants are passed over to find one that a source may
// have.
const maxPassed = 1000

// first returns the first want, from the front or the back, that a source may be
// asked for, or nil.
func (q *queue) first(by *worker, front bool) *want {
	w := q.tail
	if front {
		w = q.head
	}
	for range maxPassed {
		if w == nil || !w.lackedBy(by) {
			return w
		}
		if front {
			w = w.next
		} else {
			w = w.prev
		}
	}
	return nil
}
