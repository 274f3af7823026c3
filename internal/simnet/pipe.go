package simnet

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// chunk is how many bytes are read and delayed together: small against
	// what a link of 1 Mbit/s sends in 50 ms, and few calls at 1 Gbit/s.
	chunk = 4 << 10

	// ahead is how far the reading may run ahead of the wire. What is read
	// early is delivered no earlier; it keeps a slow link busy while a timer
	// oversleeps.
	ahead = 10 * time.Millisecond

	// maxBuffer bounds what is under way in one direction of one connection of
	// a link without a bandwidth limit, in bytes: 10 Gbit/s × 50 ms.
	maxBuffer = 64 << 20
)

// buffer is the bound of what is under way in one direction of one connection:
// twice what the link itself holds, so that it never limits.
func (l Link) buffer() int {
	if l.Bandwidth <= 0 {
		return maxBuffer
	}
	held := float64(l.Bandwidth) / 8 * (l.delay() + ahead).Seconds()
	return min(2*int(held)+2*chunk, maxBuffer)
}

// A wire is one direction of a link: bytes go over it one after the other,
// whichever connection they are of.
type wire struct {
	link    Link
	carried atomic.Int64 // bytes delivered

	mu   sync.Mutex
	free time.Time // when the last byte accepted so far has been sent
}

// send puts n bytes on the wire and tells when they have left this end, and
// when they reach the other.
func (w *wire) send(n int) (sent, due time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := time.Now(); w.free.Before(now) {
		w.free = now
	}
	w.free = w.free.Add(w.link.onWire(n))
	return w.free, w.free.Add(w.link.delay())
}

// A stream is an end of a connection: a *net.TCPConn, or what a test has.
type stream interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// A delayed is something under way.
type delayed struct {
	data []byte
	due  time.Time
	end  error // if set, nothing comes after it: io.EOF, or why reading failed
}

// errCut: the other side of the connection is gone.
var errCut = errors.New("simnet: connection cut")

// A queue holds what is under way in one direction of one connection.
type queue struct {
	bound int

	mu     sync.Mutex
	change *sync.Cond // broadcast when something below changes
	items  []delayed
	bytes  int
	cut    bool
}

func newQueue(bound int) *queue {
	q := &queue{bound: bound}
	q.change = sync.NewCond(&q.mu)
	return q
}

// push adds d as soon as there is room; false: the queue was cut.
func (q *queue) push(d delayed) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.bytes > q.bound && !q.cut {
		q.change.Wait()
	}
	if q.cut {
		return false
	}
	q.items = append(q.items, d)
	q.bytes += len(d.data)
	q.change.Broadcast()
	return true
}

// pop takes what is next; false: the queue was cut.
func (q *queue) pop() (delayed, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.items) == 0 && !q.cut {
		q.change.Wait()
	}
	if q.cut {
		return delayed{}, false
	}
	d := q.items[0]
	q.items[0] = delayed{}
	q.items = q.items[1:]
	q.bytes -= len(d.data)
	q.change.Broadcast()
	return d, true
}

// stop wakes who waits, and drops what is under way.
func (q *queue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.cut = true
	q.items = nil
	q.change.Broadcast()
}

// carry moves bytes from one stream to the other until the first one ends, and
// then ends the second for writing. If something fails, or cut is closed, it
// calls abort, which has to close both streams.
func (w *wire) carry(to, from stream, cut <-chan struct{}, abort func()) {
	q := newQueue(w.link.buffer())
	var reading sync.WaitGroup
	reading.Go(func() { w.read(q, from, cut) })
	if err := w.deliver(q, to, cut); err != nil {
		q.stop()
		abort()
	}
	reading.Wait()
}

// read puts what comes from a stream into the queue, no faster than the wire
// takes it.
func (w *wire) read(q *queue, from stream, cut <-chan struct{}) {
	for {
		data := make([]byte, chunk)
		n, err := from.Read(data)
		if n > 0 {
			sent, due := w.send(n)
			if !q.push(delayed{data: data[:n], due: due}) {
				return
			}
			if !sleepUntil(sent.Add(-ahead), cut) {
				return
			}
		}
		if err != nil {
			_, due := w.send(0)
			q.push(delayed{due: due, end: err})
			return
		}
	}
}

// deliver writes what is in the queue when it is due.
func (w *wire) deliver(q *queue, to stream, cut <-chan struct{}) error {
	for {
		d, ok := q.pop()
		if !ok || !sleepUntil(d.due, cut) {
			return errCut
		}
		if d.end == io.EOF {
			return to.CloseWrite()
		}
		if d.end != nil {
			return d.end
		}
		if _, err := to.Write(d.data); err != nil {
			return err
		}
		w.carried.Add(int64(len(d.data)))
	}
}

// sleepUntil returns at that moment, or, with false, when cut is closed.
func sleepUntil(moment time.Time, cut <-chan struct{}) bool {
	wait := time.Until(moment)
	if wait <= 0 {
		select {
		case <-cut:
			return false
		default:
			return true
		}
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-cut:
		return false
	}
}
