package bitswap

import (
	"container/heap"
	"container/list"
	"time"
)

// heldBack are the wants that the peer is not told of yet, as a heap: the
// highest priority first, then the oldest.
type heldBack []*want

var _ heap.Interface = (*heldBack)(nil)

func (h heldBack) Len() int { return len(h) }

func (h heldBack) Less(i, j int) bool {
	if h[i].priority != h[j].priority {
		return h[i].priority > h[j].priority
	}
	return int32(h[i].seq-h[j].seq) < 0
}

func (h heldBack) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is for package heap.
func (h *heldBack) Push(x any) {
	w := x.(*want)
	w.index = len(*h)
	*h = append(*h, w)
}

// Pop is for package heap.
func (h *heldBack) Pop() any {
	last := len(*h) - 1
	w := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	w.index = -1
	return w
}

// A lateSet counts, for wants that are over, how many blocks may still come;
// the oldest are forgotten beyond maxLate, and after lateTime.
type lateSet struct {
	order list.List // of string, the oldest first
	at    map[string]*lateWant
}

type lateWant struct {
	n     int
	e     *list.Element
	since time.Time
}

func (l *lateSet) add(k string, now time.Time) {
	if l.at == nil {
		l.at = make(map[string]*lateWant)
	}
	if w := l.at[k]; w != nil {
		w.n++
		w.since = now
		l.order.MoveToBack(w.e)
		return
	}
	l.at[k] = &lateWant{1, l.order.PushBack(k), now}
	if l.order.Len() > maxLate {
		delete(l.at, l.order.Remove(l.order.Front()).(string))
	}
}

// expire forgets those that are too late.
func (l *lateSet) expire(now time.Time) {
	for e := l.order.Front(); e != nil; e = l.order.Front() {
		k := e.Value.(string)
		if now.Sub(l.at[k].since) < lateTime {
			return
		}
		l.order.Remove(e)
		delete(l.at, k)
	}
}

// take tells whether a block for k may have come, and counts it.
func (l *lateSet) take(k string) bool {
	w := l.at[k]
	if w == nil {
		return false
	}
	if w.n--; w.n == 0 {
		l.order.Remove(w.e)
		delete(l.at, k)
	}
	return true
}
