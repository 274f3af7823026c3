package bitswap

import (
	"container/list"
	"time"
)

const (
	// maxLate is how many ended wants are remembered for which a block may still
	// come: several times what can be under way.
	maxLate = 8 << 10

	// lateTime is for how long it may still come: longer than one block takes at
	// the slowest.
	lateTime = 5 * time.Minute
)

// A lateSet counts, for wants that have ended, how many blocks may still come. It
// forgets the oldest beyond maxLate, and each after lateTime.
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

// expire forgets the wants whose time is over.
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

// take reports whether a block for k may have come late, and counts it.
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
