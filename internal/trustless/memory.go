package trustless

import (
	"context"
	"sync"
)

const (
	// memoryEach is how many bytes of blocks are held for one remote that has
	// not read them yet, over all of its requests; those beyond wait.
	memoryEach = 4 << 20
	// memoryInAll is how many are held for all remotes; memorySpare is what
	// there is besides for those who hold nothing, so that a few can't take
	// everything.
	memoryInAll = 64 << 20
	memorySpare = 64 << 20
)

// A memory counts the bytes of blocks that wait to be written, in all and for
// each remote.
type memory struct {
	mu    sync.Mutex // guards the following
	freed sync.Cond
	all   int
	held  map[string]int
}

func newMemory() *memory {
	m := &memory{held: make(map[string]int)}
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
		return m.all < memoryInAll+memorySpare
	}
	return m.held[remote]+n <= memoryEach && m.all+n <= memoryInAll
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
