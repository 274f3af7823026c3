package simnet

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// chunkSize is the number of bytes that are read and delayed together: few
	// against what a link of 1 Mbit/s sends in 50 ms, and few calls at 1 Gbit/s.
	chunkSize = 4 << 10

	// ahead is how far reading may run ahead of the wire. Bytes read early are
	// delivered no earlier, but they keep a slow link busy while a timer is late.
	ahead = 10 * time.Millisecond

	// maxBuffer bounds the bytes in flight in one direction of one connection of a
	// link without a bandwidth limit: 10 Gbit/s × 50 ms.
	maxBuffer = 64 << 20
)

// buffer returns the bound of the bytes in flight in one direction of one
// connection: twice the bytes that the link holds, so that it never limits.
func (l Link) buffer() int {
	if l.Bandwidth <= 0 {
		return maxBuffer
	}
	held := float64(l.Bandwidth) / 8 * (l.delay() + ahead).Seconds()
	return min(2*int(held)+2*chunkSize, maxBuffer)
}

// A wire is one direction of a link. It sends the bytes of all connections one
// after the other.
type wire struct {
	link      Link
	delivered atomic.Int64 // bytes

	mu   sync.Mutex // guards free
	free time.Time  // when all bytes accepted so far have been sent
}

// send accepts n bytes, and returns when they have been sent and when they arrive.
func (w *wire) send(n int) (sent, due time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := time.Now(); w.free.Before(now) {
		w.free = now
	}
	w.free = w.free.Add(w.link.sendTime(n))
	return w.free, w.free.Add(w.link.delay())
}

// A stream is one end of a connection, such as a *net.TCPConn.
type stream interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// A chunk is a piece of data in flight, or the end of the data.
type chunk struct {
	data []byte
	due  time.Time
	end  error // if set, this is the last chunk: io.EOF, or why reading failed
}

// errCut means that the connection was cut.
var errCut = errors.New("simnet: connection cut")

// A queue holds the chunks in flight in one direction of one connection.
type queue struct {
	bound int // bytes

	mu     sync.Mutex // guards the following
	change *sync.Cond // signals a change of the following
	chunks []chunk
	bytes  int
	cut    bool
}

func newQueue(bound int) *queue {
	q := &queue{bound: bound}
	q.change = sync.NewCond(&q.mu)
	return q
}

// push adds a chunk as soon as there is room. It returns false if the queue was cut.
func (q *queue) push(c chunk) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.bytes > q.bound && !q.cut {
		q.change.Wait()
	}
	if q.cut {
		return false
	}
	q.chunks = append(q.chunks, c)
	q.bytes += len(c.data)
	q.change.Broadcast()
	return true
}

// pop waits for the next chunk and removes it. It returns false if the queue was
// cut.
func (q *queue) pop() (chunk, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.chunks) == 0 && !q.cut {
		q.change.Wait()
	}
	if q.cut {
		return chunk{}, false
	}
	c := q.chunks[0]
	q.chunks[0] = chunk{}
	q.chunks = q.chunks[1:]
	q.bytes -= len(c.data)
	q.change.Broadcast()
	return c, true
}

// stop cuts the queue: it wakes push and pop, and discards the chunks.
func (q *queue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.cut = true
	q.chunks = nil
	q.change.Broadcast()
}

// carry copies bytes from one stream to the other until the first one ends, and
// then ends the second for writing. On an error, or when cut is closed, it calls
// abort, which has to close both streams.
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

// read reads a stream into the queue, no faster than the wire sends.
func (w *wire) read(q *queue, from stream, cut <-chan struct{}) {
	for {
		data := make([]byte, chunkSize)
		n, err := from.Read(data)
		if n > 0 {
			sent, due := w.send(n)
			if !q.push(chunk{data: data[:n], due: due}) {
				return
			}
			if !sleepUntil(sent.Add(-ahead), cut) {
				return
			}
		}
		if err != nil {
			_, due := w.send(0)
			q.push(chunk{due: due, end: err})
			return
		}
	}
}

// deliver writes each chunk of the queue when it is due.
func (w *wire) deliver(q *queue, to stream, cut <-chan struct{}) error {
	for {
		c, ok := q.pop()
		if !ok || !sleepUntil(c.due, cut) {
			return errCut
		}
		if c.end == io.EOF {
			return to.CloseWrite()
		}
		if c.end != nil {
			return c.end
		}
		if _, err := to.Write(c.data); err != nil {
			return err
		}
		w.delivered.Add(int64(len(c.data)))
	}
}

// sleepUntil returns true at the given moment, or false as soon as cut is closed.
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
