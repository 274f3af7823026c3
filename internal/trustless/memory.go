package trustless

import (
	"context"
	"sync"
)

const (
	// blocksEach is how many bytes of blocks are held for one remote that has
	// not read them yet, over all of its requests; those beyond wait.
	blocksEach = 2 << 20
	// blocksInAll is how many are held for all remotes; blocksSpare is what
	// there is besides for those who hold nothing, so that a few can't take
	// everything.
	blocksInAll = 32 << 20
	blocksSpare = 32 << 20

	// stateEach is how many bytes of what walks and comparisons remember are
	// held for one remote, over all of its requests, and stateInAll for all.
	// Each request may have some 100 KiB besides.
	stateEach  = 1 << 20
	stateInAll = 32 << 20
)

// A memory counts the bytes that are held, in all and for each remote.
type memory struct {
	most, mostEach, spare int

	mu    sync.Mutex // guards the following
	freed sync.Cond
	all   int
	held  map[string]int
}

func newMemory(most, mostEach, spare int) *memory {
	m := &memory{most: most, mostEach: mostEach, spare: spare, held: make(map[string]int)}
	m.freed.L = &m.mu
	return m
}

// take waits until there is room for n bytes more, and counts them. Who holds
// nothing gets as much as one block.
func (m *memory) take(ctx context.Context, remote string, n int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.room(remote, n) {
		defer context.AfterFunc(ctx, func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.freed.Broadcast()
		})()
		for !m.room(remote, n) {
			if err := ctx.Err(); err != nil {
				return err
			}
			m.freed.Wait()
		}
	}
	m.add(remote, n)
	return nil
}

// room tells whether n bytes more may be held. The lock is held.
func (m *memory) room(remote string, n int) bool {
	if m.held[remote] == 0 {
		return m.all < m.most+m.spare
	}
	return m.held[remote]+n <= m.mostEach && m.all+n <= m.most
}

// try counts n bytes more if there is room for them, without waiting.
func (m *memory) try(remote string, n int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held[remote]+n > m.mostEach || m.all+n > m.most {
		return false
	}
	m.add(remote, n)
	return true
}

// give gives bytes back; less than zero are taken without waiting.
func (m *memory) give(remote string, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(remote, -n)
	m.freed.Broadcast()
}

func (m *memory) add(remote string, n int) {
	m.all += n
	if m.held[remote] += n; m.held[remote] == 0 {
		delete(m.held, remote)
	}
}

// A share is what one request holds of a memory. A nil one has all it wants.
type share struct {
	memory *memory
	remote string
	held   int
}

// more takes n bytes, and tells whether there was room.
func (s *share) more(n int) bool {
	if s == nil {
		return true
	}
	ok := s.memory.try(s.remote, n)
	if ok {
		s.held += n
	}
	return ok
}

// release gives everything back.
func (s *share) release() {
	s.memory.give(s.remote, s.held)
	s.held = 0
}
