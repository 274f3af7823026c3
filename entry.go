package cairn

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// entryTime is how long a question to the network waits for the first peer, as
// long as one to the DHT does: handshakes around the world, over lines that lose
// packets.
const entryTime = 10 * time.Second

// An entry tells when the network has been entered: one of the bootstrap peers
// is connected, or none can be had. Who asks before has nobody to ask.
type entry struct {
	left atomic.Int64
	once sync.Once
	done chan struct{} // closed then
}

func newEntry(peers int) *entry {
	e := &entry{done: make(chan struct{})}
	e.left.Store(int64(peers))
	if peers == 0 {
		e.pass()
	}
	return e
}

func (e *entry) pass() { e.once.Do(func() { close(e.done) }) }

// tried notes what came of calling one of the peers.
func (e *entry) tried(err error) {
	if err == nil || e.left.Add(-1) == 0 {
		e.pass()
	}
}

// over tells whether there's nothing to wait for.
func (e *entry) over() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}

// wait waits for the entry, as long as that's worth it.
func (e *entry) wait(ctx context.Context) error {
	enough := time.NewTimer(entryTime)
	defer enough.Stop()
	select {
	case <-e.done:
		return nil
	case <-enough.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
