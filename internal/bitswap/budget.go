package bitswap

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// A budget hands out a fixed amount of something (bytes, turns), to whoever
// has waited longest first.
type budget struct {
	total int

	mu      sync.Mutex // guards the following
	free    int
	waiting list.List // of *grant
}

type grant struct {
	n     int
	given chan struct{}
}

func newBudget(total int) *budget { return &budget{total: total, free: total} }

// acquire waits until n are free and takes them. More than there are in all
// counts as all. It returns what was taken, for release.
func (b *budget) acquire(ctx context.Context, n int) (int, error) {
	return b.insist(ctx, n, nil)
}

// insist is acquire, and calls hurry whenever it has waited for patience.
func (b *budget) insist(ctx context.Context, n int, hurry func()) (int, error) {
	n = min(n, b.total)
	b.mu.Lock()
	if b.waiting.Len() == 0 && b.free >= n {
		b.free -= n
		b.mu.Unlock()
		return n, nil
	}
	g := &grant{n: n, given: make(chan struct{})}
	e := b.waiting.PushBack(g)
	b.mu.Unlock()
	var late <-chan time.Time
	if hurry != nil {
		ticker := time.NewTicker(patience)
		defer ticker.Stop()
		late = ticker.C
	}
	for waiting := true; waiting; {
		select {
		case <-g.given:
			return n, nil
		case <-late:
			hurry()
		case <-ctx.Done():
			waiting = false
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-g.given:
		return n, nil
	default:
	}
	b.waiting.Remove(e)
	b.serve()
	return 0, ctx.Err()
}

// release gives back what acquire took.
func (b *budget) release(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free += n
	b.serve()
}

// serve gives what is free to those who wait. The lock is held.
func (b *budget) serve() {
	for e := b.waiting.Front(); e != nil; e = b.waiting.Front() {
		g := e.Value.(*grant)
		if g.n > b.free {
			return
		}
		b.free -= g.n
		b.waiting.Remove(e)
		close(g.given)
	}
}
