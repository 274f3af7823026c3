package bitswap

import "container/heap"

// A wantQueue is a heap of the wants that are to be sent: the highest priority
// first, then the oldest.
type wantQueue []*want

var _ heap.Interface = (*wantQueue)(nil)

func (q wantQueue) Len() int { return len(q) }

func (q wantQueue) Less(i, j int) bool {
	if q[i].priority != q[j].priority {
		return q[i].priority > q[j].priority
	}
	return int32(q[i].seq-q[j].seq) < 0
}

func (q wantQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements heap.Interface.
func (q *wantQueue) Push(x any) {
	w := x.(*want)
	w.index = len(*q)
	*q = append(*q, w)
}

// Pop implements heap.Interface.
func (q *wantQueue) Pop() any {
	last := len(*q) - 1
	w := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	w.index = -1
	return w
}
