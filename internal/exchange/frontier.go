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

	// In the queue of those that nobody was asked for.
	queued     bool
	prev, next *want

	// asked are those who were asked, and have not answered.
	asked []asking
	// lacking are the sources that haven't got it.
	lacking []*worker
}

// asking is a question that is under way.
type asking struct {
	who *worker
	at  time.Time
}

func (w *want) askedOf(who *worker) bool {
	for _, a := range w.asked {
		if a.who == who {
			return true
		}
	}
	return false
}

func (w *want) lackedBy(who *worker) bool {
	for _, l := range w.lacking {
		if l == who {
			return true
		}
	}
	return false
}

// forget takes note that who won't answer any more.
func (w *want) forget(who *worker) {
	for i, a := range w.asked {
		if a.who == who {
			w.asked = append(w.asked[:i], w.asked[i+1:]...)
			return
		}
	}
}

// A frontier is what a session wants: all that it knows of and hasn't got. The
// part that nobody was asked for is in two queues, in the order of the DAG:
// blocks that may have links, and leaves.
type frontier struct {
	wants  map[string]*want
	links  queue
	leaves queue
	// linkWants is how many of the wants may have links.
	linkWants int
}

func newFrontier() frontier { return frontier{wants: map[string]*want{}} }

// key is what a block is known by: CIDs of versions 0 and 1 are one.
func key(c cid.Cid) string { return block.V1(c).KeyString() }

func isLeaf(c cid.Cid) bool { return c.Type() == block.Raw }

func (f *frontier) queueOf(w *want) *queue {
	if w.leaf {
		return &f.leaves
	}
	return &f.links
}

// add takes in what is missing below one block, in the order of its links:
// before all that is queued, or behind.
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

// remove takes note that a block has come.
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

// again puts back what was asked for in vain.
func (f *frontier) again(w *want, front bool) {
	if !w.queued && len(w.asked) == 0 && f.wants[key(w.cid)] == w {
		f.queueOf(w).push(w, front)
	}
}

// queued is how many wants nobody was asked for.
func (f *frontier) queued() int { return f.links.n + f.leaves.n }

// A queue is a list of wants, linked through them.
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

// maxPassed bounds how many wants that a source hasn't got are passed over to
// find one for it.
const maxPassed = 1000

// first returns the first want, from the front or the back, that who may be
// asked for; nil where there is none.
func (q *queue) first(who *worker, front bool) *want {
	w := q.tail
	if front {
		w = q.head
	}
	for range maxPassed {
		if w == nil || !w.lackedBy(who) {
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
