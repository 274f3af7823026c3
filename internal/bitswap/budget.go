package bitswap

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// patience is how long a peer waits for memory before the peer that has moved
// nothing for longest is cut off, if it hasn't for as long; and then the next one.
const patience = time.Second

// A budget hands out a fixed amount of something (bytes, turns), first come,
// first served.
type budget struct {
	total     int
	semaphore *semaphore.Weighted
}

func newBudget(total int) *budget {
	return &budget{total: total, semaphore: semaphore.NewWeighted(int64(total))}
}

// acquire waits until n are free, and takes them. More than the total counts as
// the total. It returns what it took, for release.
func (b *budget) acquire(ctx context.Context, n int) (int, error) {
	n = min(n, b.total)
	if err := b.semaphore.Acquire(ctx, int64(n)); err != nil {
		return 0, err
	}
	return n, nil
}

// acquireEvicting is acquire, and calls evict each time it has waited for
// patience.
func (b *budget) acquireEvicting(ctx context.Context, n int, evict func()) (int, error) {
	n = min(n, b.total)
	if b.semaphore.TryAcquire(int64(n)) {
		return n, nil
	}
	var evicting sync.WaitGroup
	defer evicting.Wait()
	acquired := make(chan struct{})
	defer close(acquired)
	evicting.Go(func() {
		tick := time.NewTicker(patience)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				evict()
			case <-acquired:
				return
			}
		}
	})
	return b.acquire(ctx, n)
}

// release gives back what acquire took.
func (b *budget) release(n int) { b.semaphore.Release(int64(n)) }
