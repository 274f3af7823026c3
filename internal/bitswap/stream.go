package bitswap

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/cairn-ipfs/cairn/block"
)

const (
	// readBuffer takes what lies ready in a stream in few calls; the data of
	// larger blocks goes past it.
	readBuffer = 16 << 10

	// firstRead is how much of a message is read before it has a turn and a
	// buffer: the shortest messages need none.
	firstRead = 256

	// peerReaders is how many messages of a peer are read at once, on streams of
	// their own: some 100 KiB of memory each, besides blocks. Peers hardly ever
	// begin one before the end of the last. A message counts strangerReader if
	// nothing was asked of its peer.
	peerReaders    = 32
	strangerReader = 4

	// messageTime and slowest are how long a message may take to arrive, besides
	// the time that it waits for us. Peers allow themselves as much to send one.
	messageTime = 10 * time.Second
	slowest     = 100_000 / 8 // bytes a second

	// readPiece is how many bytes a peer must send within patience to keep the
	// memory of its block while others wait for it. It is as much as a peer must
	// read of an answer.
	readPiece = writeBuffer

	// delayNoted is how long we may keep a message waiting before its deadline
	// moves: less matters little.
	delayNoted = 100 * time.Millisecond
)

// read reads the messages of a stream, and reports whether it ended properly.
func (r *remote) read(s network.Stream) bool {
	in := receiver{r: r, s: s}
	err := in.messages()
	in.release()
	if err == nil {
		return true
	}
	switch {
	case errors.Is(err, errMalformed):
		r.violated(err)
	case errors.Is(err, ErrMisbehaved):
		r.b.log.Warn("bitswap: peer cut off", "peer", r.id, "error", err)
	default:
		r.b.log.Debug("bitswap: stream ended", "peer", r.id, "error", err)
	}
	return false
}

// A receiver reads the messages of a stream.
type receiver struct {
	r          *remote
	s          network.Stream
	peer, node int           // bytes taken from the peer's and the node's budget
	since      int64         // when the message's want list began, by the server's clock
	until      time.Time     // when the message must have arrived
	delay      time.Duration // by which that is too early, as we kept it waiting
	got        int           // bytes since piece
	piece      atomic.Int64  // when as many as readPiece had come, in ns
}

var _ sink = (*receiver)(nil)

func (in *receiver) messages() error {
	for {
		// An idle stream holds no other buffer.
		var first [firstRead]byte
		n, err := in.s.Read(first[:])
		if n > 0 {
			err = in.burst(first[:n]) // which reads the error again
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// burst reads the message that begins with first, and those that have arrived
// behind it.
func (in *receiver) burst(first []byte) error {
	turn := 1
	if !in.r.expecting() {
		turn = strangerReader
	}
	turn, err := in.r.readers.acquire(in.r.b.ctx, turn)
	if err != nil {
		return err
	}
	defer in.r.readers.release(turn)
	r := in.r.b.readers.Get().(*bufio.Reader)
	r.Reset(&resumed{first: first, r: in.s, in: in})
	defer func() {
		r.Reset(nil)
		in.r.b.readers.Put(r)
	}()
	d := decoder{r: r}
	for more := true; more; more = r.Buffered() > 0 {
		// No deadline for what has arrived: messages may be very short, and many.
		if !d.begun() {
			in.within(messageTime)
		}
		n, err := d.start()
		if err != nil {
			return truncated(err)
		}
		if n > r.Buffered() {
			in.within(messageTime + time.Duration(n)*time.Second/slowest)
		}
		if err := in.r.refused(); err != nil {
			return err
		}
		in.since = in.r.server.now()
		if err := d.message(n, in); err != nil {
			return err
		}
	}
	return in.s.SetReadDeadline(time.Time{})
}

// within sets the deadline for what comes next.
func (in *receiver) within(d time.Duration) {
	in.until, in.delay = time.Now().Add(d), 0
	in.s.SetReadDeadline(in.until)
}

// waited moves the deadline, as we kept the message waiting since began: a QUIC
// stream can't be read after its deadline, even if all has arrived.
func (in *receiver) waited(began time.Time) {
	if in.delay += time.Since(began); in.delay >= delayNoted {
		in.until, in.delay = in.until.Add(in.delay), 0
		in.s.SetReadDeadline(in.until)
	}
}

// A resumed stream begins with what was read of it before.
type resumed struct {
	first []byte
	r     io.Reader
	in    *receiver // counts reads
}

func (s *resumed) Read(p []byte) (int, error) {
	if len(s.first) > 0 {
		n := copy(p, s.first)
		s.first = s.first[n:]
		s.in.count(n)
		return n, nil
	}
	n, err := s.r.Read(p)
	if n > 0 {
		s.in.count(n)
	}
	return n, err
}

// count counts a read of n bytes.
func (in *receiver) count(n int) {
	in.r.reads.Add(1)
	if in.got += n; in.got >= readPiece {
		in.got = 0
		in.piece.Store(time.Now().UnixNano())
	}
}

func (in *receiver) wants(entries []entry) error {
	if in.r.b.blocks == nil {
		return nil
	}
	defer in.waited(time.Now())
	in.r.server.add(entries)
	return in.r.server.pace(in.r.b.ctx, len(entries))
}

func (in *receiver) endWants(full bool) error {
	if full {
		in.r.server.keepSince(in.since)
	}
	return nil
}

func (in *receiver) buffer(n int) ([]byte, error) {
	if n > block.MaxSize || !in.r.expecting() {
		return nil, nil
	}
	defer in.waited(time.Now())
	var err error
	if in.peer, err = in.r.memory.acquire(in.r.b.ctx, n); err != nil {
		return nil, err
	}
	if in.node, err = in.r.b.memoryIn.acquireEvicting(in.r.b.ctx, n, in.r.b.dropStalled); err != nil {
		return nil, err
	}
	in.got = 0
	in.piece.Store(time.Now().UnixNano())
	in.r.b.fill(in)
	return make([]byte, n), nil
}

func (in *receiver) block(p cid.Prefix, data []byte, n int) error {
	defer in.waited(time.Now())
	defer in.release()
	in.r.b.filled(in)
	if data == nil || p.MhType == block.Identity {
		return in.r.unwanted(n)
	}
	b, err := block.NewWithPrefix(p, data)
	if err != nil {
		return in.r.unwanted(n)
	}
	return in.r.received(b)
}

func (in *receiver) presence(c cid.Cid, have bool) error {
	in.r.presence(c, have)
	return nil
}

// release gives back the memory of a block that was handed on or dropped.
func (in *receiver) release() {
	in.r.b.filled(in)
	in.r.memory.release(in.peer)
	in.r.b.memoryIn.release(in.node)
	in.peer, in.node = 0, 0
}

// fill records that a receiver holds memory, and waits for the bytes of a block.
func (b *Bitswap) fill(in *receiver) {
	b.fillMu.Lock()
	defer b.fillMu.Unlock()
	if b.filling == nil {
		b.filling = make(map[*receiver]struct{})
	}
	b.filling[in] = struct{}{}
}

// filled removes the record of fill, if there is one.
func (b *Bitswap) filled(in *receiver) {
	b.fillMu.Lock()
	defer b.fillMu.Unlock()
	delete(b.filling, in)
}

// dropStalled resets the stream whose block has been waiting for bytes for longest:
// peers that don't go on sending must not keep the memory.
func (b *Bitswap) dropStalled() {
	var stalled *receiver
	since := time.Now().Add(-patience).UnixNano()
	b.fillMu.Lock()
	for in := range b.filling {
		if t := in.piece.Load(); t <= since {
			stalled, since = in, t
		}
	}
	b.fillMu.Unlock()
	if stalled != nil {
		stalled.s.Reset()
	}
}

// An outbound is a stream that we opened, for wants or for answers.
type outbound struct {
	r      *remote
	s      network.Stream
	broken chan struct{} // closed when the peer has reset it
	done   chan struct{} // closed when reading has ended
	stop   func() bool
	since  atomic.Int64 // when the write of the current piece began, in ns; else 0
	// dropped: other peers need its memory.
	dropped atomic.Bool
}

// drop ends the current write.
func (o *outbound) drop() {
	o.dropped.Store(true)
	o.s.SetWriteDeadline(time.Now())
}

// open opens a stream to the peer. With dial it connects first, if need be.
func (r *remote) open(ctx context.Context, dial bool) (*outbound, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if !dial {
		ctx = network.WithNoDial(ctx, "answering")
	}
	s, err := r.b.host.NewStream(ctx, r.id, protocols()...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGone, err)
	}
	o := &outbound{r: r, s: s, broken: make(chan struct{}), done: make(chan struct{})}
	o.stop = context.AfterFunc(r.b.ctx, func() { s.Reset() })
	// Reading shows that the peer has reset the stream, or doesn't speak the
	// protocol after all. And some peers answer on the stream of the question.
	if !r.b.run(func() {
		defer close(o.done)
		if !r.read(s) {
			close(o.broken)
		}
	}) {
		s.Reset()
		return nil, ErrClosed
	}
	return o, nil
}

// isBroken reports whether the peer has reset the stream.
func (o *outbound) isBroken() bool {
	select {
	case <-o.broken:
		return true
	default:
		return false
	}
}

// Write writes p, each piece of it within StallTimeout.
func (o *outbound) Write(p []byte) (n int, err error) {
	defer o.since.Store(0)
	for len(p) > 0 && err == nil {
		now := time.Now()
		o.since.Store(now.UnixNano())
		if err := o.s.SetWriteDeadline(now.Add(o.r.b.config.StallTimeout)); err != nil {
			return n, err
		}
		if o.dropped.Load() {
			return n, os.ErrDeadlineExceeded
		}
		var m int
		m, err = o.s.Write(p[:min(len(p), writeBuffer)])
		n += m
		p = p[m:]
	}
	return n, err
}

// close ends the stream once the peer has read everything. It doesn't wait.
func (o *outbound) close() {
	if !o.r.b.run(func() {
		defer o.stop()
		o.s.CloseWrite()
		late := time.NewTimer(closeTimeout)
		defer late.Stop()
		select {
		case <-o.done:
			o.s.Close()
		case <-late.C:
			o.s.Reset()
		}
	}) {
		o.reset()
	}
}

// isReset reports whether a write failed because the peer has reset the stream,
// and not because it doesn't read.
func isReset(err error) bool { return errors.Is(err, network.ErrReset) }

// reset ends the stream at once.
func (o *outbound) reset() {
	o.stop()
	o.s.Reset()
}
