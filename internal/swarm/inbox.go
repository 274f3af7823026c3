package swarm

import (
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
	"net"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// maxUnreadPeer bounds the memory that holds unread bytes of one peer; beyond
	// it, its connections are not read. It does not bound how fast a peer sends:
	// bytes in flight don't count.
	maxUnreadPeer = 1 << 20
	// maxUnreadTotal bounds the memory for all peers. unreadReserve is what each
	// peer may always have, two frames, so that a few peers can't block the others.
	maxUnreadTotal = 32 << 20
	unreadReserve  = 2 * (64<<10 + frameOverhead)
	// unreadTimeout is how long a connection stays unread before it is closed: our
	// readers are quicker unless the peer makes them wait.
	unreadTimeout = 30 * time.Second

	// acceptBacklog bounds the streams of a connection that wait to be accepted:
	// more than one peer may have.
	acceptBacklog = 2 * peerStreams

	// frameOverhead is the memory that yamux uses for a frame besides its bytes.
	frameOverhead = 64
)

// errUnread ends a connection whose peer sends more than our readers read.
var errUnread = errors.New("the peer has sent too much that was not read for too long")

// errReopened ends a connection whose peer opens a stream with a number that it
// has used before, which yamux forbids ("StreamID Field").
var errReopened = errors.New("the peer has opened a stream twice")

// An inbox counts the unread bytes on streams that peers opened, over all
// connections with yamux.
type inbox struct {
	mu    sync.Mutex // guards the following, and the counts of its connections
	total int
	peers map[peer.ID]*peerInbox
	freed sync.Cond // some bytes were read
	// waiting counts the connections that wait for memory.
	waiting int
}

// A peerInbox counts the unread bytes of one peer. It goes with the peer's last
// connection.
type peerInbox struct {
	bytes int
	conns int
}

func newInbox() *inbox {
	in := &inbox{peers: make(map[peer.ID]*peerInbox)}
	in.freed.L = &in.mu
	return in
}

// newConn wraps a secured connection to a peer, for yamux. If yamux does not take
// it, the caller calls finish.
func (in *inbox) newConn(c net.Conn, id peer.ID, server bool) *countedConn {
	in.mu.Lock()
	defer in.mu.Unlock()
	u := in.peers[id]
	if u == nil {
		u = &peerInbox{}
		in.peers[id] = u
	}
	u.conns++
	// The side that dialled gives its streams odd numbers.
	parity := uint32(0)
	if server {
		parity = 1
	}
	return &countedConn{Conn: c, in: in, peer: id, parity: parity, unread: u, streams: make(map[uint32]*inStream)}
}

// A countedConn is a connection that yamux reads from. It parses the frames that
// pass: https://github.com/hashicorp/yamux/blob/master/spec.md.
type countedConn struct {
	net.Conn
	in     *inbox
	peer   peer.ID
	parity uint32 // of the numbers of streams that the peer opens

	// For Read, which one goroutine calls.
	header [yamuxHeader]byte
	passed int    // bytes of the header that Read has returned
	left   uint32 // bytes of the frame's data that it has not

	// Guarded by in.mu:
	unread   *peerInbox
	streams  map[uint32]*inStream // opened by the peer
	order    []*inStream          // the ones not accepted yet, in order
	finished bool
}

// An inStream is a stream that the peer opened.
type inStream struct {
	id    uint32
	bytes int  // unread
	extra int  // memory held besides
	reset bool // by the peer
}

// The header of a yamux frame: version, type, flags (2), stream (4), length (4).
const (
	yamuxHeader = 12
	yamuxData   = 0
	yamuxWindow = 1
	yamuxSYN    = 1
	yamuxRST    = 8
)

// Read implements net.Conn. It waits before a frame that exceeds the bounds.
func (c *countedConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.passed == yamuxHeader && c.left == 0 {
		c.passed = 0
	}
	if c.passed == 0 {
		if _, err := io.ReadFull(c.Conn, c.header[:]); err != nil {
			return 0, err
		}
		if err := c.countFrame(); err != nil {
			return 0, err
		}
	}
	if c.passed < yamuxHeader {
		n := copy(p, c.header[c.passed:])
		c.passed += n
		return n, nil
	}
	n, err := c.Conn.Read(p[:min(len(p), int(c.left))])
	c.left -= uint32(n)
	return n, err
}

// countFrame counts the frame whose header was read.
func (c *countedConn) countFrame() error {
	kind := c.header[1]
	flags := binary.BigEndian.Uint16(c.header[2:])
	id := binary.BigEndian.Uint32(c.header[4:])
	if kind == yamuxData {
		c.left = binary.BigEndian.Uint32(c.header[8:])
	}
	// A ping may have a number and the flag of a new stream, but opens none.
	if kind > yamuxWindow || id%2 != c.parity || id == 0 {
		return nil
	}
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if flags&yamuxSYN != 0 {
		// Yamux accepts the number of a stream that the peer has ended again, even
		// while a handler here still has the old stream.
		if c.streams[id] != nil {
			return errReopened
		}
		// Beyond its backlog yamux resets streams, which may be answers.
		if err := c.wait(func() bool { return len(c.order) < acceptBacklog }); err != nil {
			return err
		}
		s := &inStream{id: id}
		c.streams[id] = s
		c.order = append(c.order, s)
	}
	s := c.streams[id]
	if s == nil || s.reset {
		return nil // yamux discards its data
	}
	if c.left > 0 {
		// Yamux allocates buffers of a power of two.
		held := 1<<bits.Len32(c.left-1) + frameOverhead
		if err := c.wait(func() bool { return c.fits(held) }); err != nil {
			return err
		}
		if c.streams[id] != s {
			return nil // closed meanwhile
		}
		s.bytes += int(c.left)
		s.extra += held - int(c.left)
		c.addHeld(held)
	}
	if flags&yamuxRST != 0 {
		c.releaseStream(s)
		s.reset = true
	}
	return nil
}

// fits reports whether n more bytes may be held. A peer that has none may have any
// number. The caller holds the lock.
func (c *countedConn) fits(n int) bool {
	has := c.unread.bytes
	return has == 0 || has+n <= maxUnreadPeer && (c.in.total+n <= maxUnreadTotal || has+n <= unreadReserve)
}

// wait waits until a condition holds, at most for unreadTimeout. The caller holds
// the lock.
func (c *countedConn) wait(until func() bool) error {
	if c.finished {
		return net.ErrClosed
	}
	if until() {
		return nil
	}
	late := false
	timer := time.AfterFunc(unreadTimeout, func() {
		c.in.mu.Lock()
		defer c.in.mu.Unlock()
		late = true
		c.in.freed.Broadcast()
	})
	defer timer.Stop()
	c.in.waiting++
	defer func() { c.in.waiting-- }()
	for !until() {
		switch {
		case c.finished:
			return net.ErrClosed
		case late:
			return errUnread
		}
		c.in.freed.Wait()
	}
	return nil
}

// addHeld adds n, which may be negative, to the bytes held. The caller holds the lock.
func (c *countedConn) addHeld(n int) {
	c.unread.bytes += n
	c.in.total += n
	if n < 0 && c.in.waiting > 0 {
		c.in.freed.Broadcast()
	}
}

// releaseStream counts a stream's bytes as gone. The caller holds the lock.
func (c *countedConn) releaseStream(s *inStream) {
	if n := s.bytes + s.extra; n > 0 {
		c.addHeld(-n)
	}
	s.bytes, s.extra = 0, 0
}

// acceptNext returns the next stream. It is called after each AcceptStream of
// yamux, which accepts streams in the order of their frames.
func (c *countedConn) acceptNext() *inStream {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if len(c.order) == 0 {
		return &inStream{} // the connection has ended
	}
	s := c.order[0]
	c.order[0] = nil
	if c.order = c.order[1:]; len(c.order) == acceptBacklog-1 {
		c.in.freed.Broadcast()
	}
	return s
}

// release counts n bytes of a stream as read.
func (c *countedConn) release(s *inStream, n int) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if c.streams[s.id] != s || s.reset {
		return
	}
	if s.bytes -= n; s.bytes <= 0 {
		n += s.extra
		s.extra = 0
	}
	c.addHeld(-n)
}

// remove removes a stream that was closed or reset. Further calls do nothing.
func (c *countedConn) remove(s *inStream) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if c.streams[s.id] == s {
		c.releaseStream(s)
		delete(c.streams, s.id)
	}
}

// Close implements net.Conn.
func (c *countedConn) Close() error {
	c.finish()
	return c.Conn.Close()
}

// finish releases everything that the connection holds.
func (c *countedConn) finish() {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if c.finished {
		return
	}
	c.finished = true
	for _, s := range c.streams {
		c.releaseStream(s)
	}
	clear(c.streams)
	c.order = nil
	if c.unread.conns--; c.unread.conns == 0 {
		delete(c.in.peers, c.peer)
	}
	c.in.freed.Broadcast()
}
