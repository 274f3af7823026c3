package bitswap

import (
	"container/list"
	"context"
	"sync"
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
	select {
	case <-g.given:
		return n, nil
	case <-ctx.Done():
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
