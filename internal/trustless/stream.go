package trustless

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/car"
	"github.com/ipfs/go-cid"
)

const (
	// aheadBytes is how much is read ahead of what is written, in bytes: the
	// next few blocks, or thousands of small ones.
	aheadBytes = 2 << 20
	// aheadBlocks is how many blocks.
	aheadBlocks = 256
	// firstGuess is the assumed size of a leaf before one has been read, in bytes:
	// rather too large, as memory beyond the guess isn't counted in time.
	firstGuess = 1 << 20
	// leafReaders is how many leaves are read at a time: while one waits for
	// the disk, the other is copied.
	leafReaders = 2

	// writeBuffer gathers small blocks, so that they share system calls.
	writeBuffer = 32 << 10
	// writePiece is what a client must read within a WriteTimeout, in bytes.
	writePiece = 256 << 10
	// flushAfter is how long written bytes may wait in the buffer for more.
	flushAfter = 10 * time.Millisecond
)

// stream sends a CAR. Errors abort the connection from here on.
func (h *handler) stream(w http.ResponseWriter, r *http.Request, remote string, way resolved, c content) {
	ctx, cancel := context.WithCancel(r.Context())
	a := newReadAhead(h.Blocks, h.memory, remote)
	defer a.release()
	stop := context.AfterFunc(ctx, a.stop)
	defer a.reading.Wait()
	defer stop()
	defer a.stop()
	defer cancel()
	a.reading.Go(func() { a.run(ctx, way, c) })

	out := &pieceWriter{w: w, control: http.NewResponseController(w), timeout: h.WriteTimeout, buffer: make([]byte, 0, writeBuffer)}
	err := a.send(out, c.root.cid)
	// What was found is sent, even before an error.
	if errFlush := out.flush(); err == nil {
		err = errFlush
	}
	if err == nil {
		// Reading ends without an error if the request is cancelled.
		err = r.Context().Err()
	}
	if err == nil {
		return
	}
	if !errors.Is(err, block.ErrNotFound) && !errors.Is(err, errWrite) && r.Context().Err() == nil {
		h.Logger.Warn("trustless: CAR aborted", "root", c.root.cid, "err", err)
	}
	_ = out.control.Flush()
	panic(http.ErrAbortHandler)
}

// A readAhead reads a CAR's blocks in order while the ones before are written.
type readAhead struct {
	get     block.Getter
	memory  *quota
	remote  string
	slots   chan *slot // in the order of the CAR; closed at its end
	reading sync.WaitGroup

	mu      sync.Mutex // guards the following fields
	freed   sync.Cond
	left    int // bytes that may be read
	held    int // bytes taken of memory
	guess   int // bytes of a leaf: the largest so far
	leaves  int // being read
	stopped bool
}

func newReadAhead(get block.Getter, q *quota, remote string) *readAhead {
	a := &readAhead{
		get: get, memory: q, remote: remote, slots: make(chan *slot, aheadBlocks), left: aheadBytes, guess: firstGuess,
	}
	a.freed.L = &a.mu
	return a
}

// A slot holds the place of a block in the CAR.
type slot struct {
	ready chan struct{} // closed once the others are set; nil if they are
	block block.Block
	err   error
}

// run reads the blocks on the path, and then those of the walk, if there is one.
func (a *readAhead) run(ctx context.Context, way resolved, c content) {
	defer close(a.slots)
	for _, through := range way.through {
		if !block.Equal(through, way.end) && !a.put(ctx, a.leaf(ctx, through)) {
			return
		}
	}
	if c.walk == nil {
		return
	}
	for v, err := range c.walk.from(ctx, c.root) {
		var s *slot
		switch {
		case err != nil:
			s = &slot{err: err}
		case v.quiet:
			continue
		case v.block.CID().Defined():
			if a.take(ctx, v.block.Size(), false) {
				s = &slot{block: v.block}
			}
		default:
			s = a.leaf(ctx, v.cid)
		}
		if !a.put(ctx, s) {
			return
		}
	}
}

// put hands a slot on, and reports whether to go on.
func (a *readAhead) put(ctx context.Context, s *slot) bool {
	if s == nil {
		return false
	}
	select {
	case a.slots <- s:
		return true
	case <-ctx.Done():
		return false
	}
}

// leaf begins to read a block. It returns nil if the response has ended.
func (a *readAhead) leaf(ctx context.Context, c cid.Cid) *slot {
	a.mu.Lock()
	guess := a.guess
	a.mu.Unlock()
	if !a.take(ctx, guess, true) {
		return nil
	}
	s := &slot{ready: make(chan struct{})}
	a.reading.Go(func() {
		defer close(s.ready)
		s.block, s.err = a.get.Get(ctx, c)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.giveLocked(guess - s.block.Size())
		a.guess = max(a.guess, s.block.Size())
		a.leaves--
		a.freed.Broadcast()
	})
	return s
}

// take waits for room, and takes n bytes of it. For a leaf, it also waits for a
// reader. It returns false if the response has ended.
func (a *readAhead) take(ctx context.Context, n int, leaf bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for !a.stopped && (a.left <= 0 || leaf && a.leaves >= leafReaders) {
		a.freed.Wait()
	}
	a.left -= n
	if leaf {
		a.leaves++
	}
	if a.stopped {
		return false
	}
	a.mu.Unlock()
	err := a.memory.take(ctx, a.remote, n)
	a.mu.Lock()
	if err == nil {
		a.held += n
	}
	return err == nil
}

func (a *readAhead) give(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.giveLocked(n)
	a.freed.Broadcast()
}

// giveLocked gives n bytes back. The lock is held.
func (a *readAhead) giveLocked(n int) {
	a.left += n
	a.held -= n
	a.memory.give(a.remote, n)
}

// release gives back the rest, after all readers have ended.
func (a *readAhead) release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.memory.give(a.remote, a.held)
	a.held = 0
}

func (a *readAhead) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopped = true
	a.freed.Broadcast()
}

// send writes the header, and the blocks in order.
func (a *readAhead) send(out *pieceWriter, root cid.Cid) error {
	w, err := car.NewWriter(out, []cid.Cid{root})
	if err != nil {
		return err
	}
	for {
		s, err := await(out, a.slots)
		if err != nil || s == nil {
			return err
		}
		if s.ready != nil {
			if _, err := await(out, s.ready); err != nil {
				return err
			}
		}
		if s.err != nil {
			return s.err
		}
		if err := w.Put(s.block); err != nil {
			return err
		}
		a.give(s.block.Size())
	}
}

// await receives from c. If that takes flushAfter, it flushes what was written.
func await[T any](out *pieceWriter, c <-chan T) (T, error) {
	select {
	case v := <-c:
		return v, nil
	default:
	}
	if len(out.buffer) == 0 && !out.held {
		return <-c, nil
	}
	timer := time.NewTimer(flushAfter)
	defer timer.Stop()
	select {
	case v := <-c:
		return v, nil
	case <-timer.C:
	}
	err := out.flush()
	if err == nil {
		err = out.control.Flush()
		out.held = false
	}
	if err != nil {
		var none T
		return none, err
	}
	return <-c, nil
}

// A pieceWriter writes a response in pieces, each with its own timeout.
type pieceWriter struct {
	w       io.Writer
	control *http.ResponseController
	timeout time.Duration
	buffer  []byte // not yet written; of a capacity of writeBuffer
	held    bool   // net/http may have buffered bytes
}

var errWrite = errors.New("writing to the client")

// Write implements io.Writer.
func (o *pieceWriter) Write(p []byte) (int, error) {
	if len(o.buffer)+len(p) > cap(o.buffer) {
		if err := o.flush(); err != nil {
			return 0, err
		}
	}
	if len(p) < cap(o.buffer) {
		o.buffer = append(o.buffer, p...)
		return len(p), nil
	}
	return len(p), o.write(p)
}

// flush writes what the buffer holds.
func (o *pieceWriter) flush() error {
	if len(o.buffer) == 0 {
		return nil
	}
	err := o.write(o.buffer)
	o.buffer = o.buffer[:0]
	return err
}

func (o *pieceWriter) write(p []byte) error {
	o.held = true
	for len(p) > 0 {
		_ = o.control.SetWriteDeadline(time.Now().Add(o.timeout)) // where it can be set
		n, err := o.w.Write(p[:min(len(p), writePiece)])
		if err != nil {
			return errors.Join(errWrite, err)
		}
		p = p[n:]
	}
	return nil
}
