package trustless

import (
	"context"
	"sync"
)

const (
	// blocksEach bounds the bytes of blocks that wait to be read by one remote,
	// over all of its requests; further blocks wait to be loaded.
	blocksEach = 2 << 20
	// blocksInAll bounds those of all remotes. blocksSpare is reserved for remotes
	// that hold nothing, so that a few can't take everything.
	blocksInAll = 32 << 20
	blocksSpare = 32 << 20

	// stateEach bounds the bytes that walks and comparisons remember for one
	// remote, over all of its requests, and stateInAll for all. Each request may
	// have some 100 KiB more.
	stateEach  = 1 << 20
	stateInAll = 32 << 20
)

// A quota counts what is held, bytes or turns, in all and for each remote.
// (golang.org/x/sync/semaphore counts in all only, and keeps none spare.)
type quota struct {
	most, mostEach, spare int

	mu    sync.Mutex // guards the following
	freed sync.Cond
	all   int
	held  map[string]int
}

func newQuota(most, mostEach, spare int) *quota {
	q := &quota{most: most, mostEach: mostEach, spare: spare, held: make(map[string]int)}
	q.freed.L = &q.mu
	return q
}

// take waits until there is room for n more, and counts them. A remote that holds
// nothing gets as much as one block.
func (q *quota) take(ctx context.Context, remote string, n int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.room(remote, n) {
		defer context.AfterFunc(ctx, func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			q.freed.Broadcast()
		})()
		for !q.room(remote, n) {
			if err := ctx.Err(); err != nil {
				return err
			}
			q.freed.Wait()
		}
	}
	q.add(remote, n)
	return nil
}

// room reports whether n more may be held. The lock is held.
func (q *quota) room(remote string, n int) bool {
	if q.held[remote] == 0 {
		return q.all < q.most+q.spare
	}
	return q.held[remote]+n <= q.mostEach && q.all+n <= q.most
}

// try counts n more if there is room, without waiting.
func (q *quota) try(remote string, n int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.held[remote]+n > q.mostEach || q.all+n > q.most {
		return false
	}
	q.add(remote, n)
	return true
}

// give gives n back; a negative n is taken without waiting.
func (q *quota) give(remote string, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(remote, -n)
	q.freed.Broadcast()
}

func (q *quota) add(remote string, n int) {
	q.all += n
	if q.held[remote] += n; q.held[remote] == 0 {
		delete(q.held, remote)
	}
}

// A share is what one request holds of a quota. A nil share has no bound.
type share struct {
	quota  *quota
	remote string
	held   int
}

// more takes n, and reports whether there was room.
func (s *share) more(n int) bool {
	if s == nil {
		return true
	}
	ok := s.quota.try(s.remote, n)
	if ok {
		s.held += n
	}
	return ok
}

// release gives everything back.
func (s *share) release() {
	s.quota.give(s.remote, s.held)
	s.held = 0
}
