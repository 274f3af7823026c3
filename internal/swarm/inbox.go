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
	// unreadEach is how many bytes of memory may be held of what a peer has sent
	// and nobody has read yet; then its connections aren't read from. It is no
	// bound to how fast a peer may send: what is on its way isn't here.
	unreadEach = 1 << 20
	// unreadInAll is how many may be held of all peers; unreadSpare is what a
	// peer may always have, two frames, so that a few can't keep the others from
	// being heard.
	unreadInAll = 32 << 20
	unreadSpare = 2 * (64<<10 + frameOverhead)
	// unreadPatience is how long a connection isn't read from before it is
	// closed: whoever reads here is quicker, unless the peer keeps it from it.
	unreadPatience = 30 * time.Second

	// acceptBacklog is how many streams of a connection may wait for our taking
	// notice of them: more than one peer may have.
	acceptBacklog = 2 * peerStreams

	// frameOverhead is what yamux needs to keep a frame, besides its bytes.
	frameOverhead = 64
)

// errUnread ends a connection whose peer sends more than anybody here reads.
var errUnread = errors.New("the peer has sent too much that was not read for too long")

// errAgain ends a connection whose peer opens a stream by the number of one before:
// nobody may (yamux, "StreamID Field").
var errAgain = errors.New("the peer has opened a stream twice")

// An inbox counts what peers have sent on the streams they opened, over all of
// their connections with yamux, until it is read.
type inbox struct {
	mu   sync.Mutex // guards the following, and all of its connections
	all  int
	each map[peer.ID]*unread
	room sync.Cond // something was read
	// waiting are the connections that aren't read from just now.
	waiting int
}

// unread is what one peer has sent; gone with its last connection.
type unread struct {
	bytes int
	conns int
}

func newInbox() *inbox {
	in := &inbox{each: make(map[peer.ID]*unread)}
	in.room.L = &in.mu
	return in
}

// conn returns the secured connection to a peer as yamux is to read it; end says
// that this won't be.
func (in *inbox) conn(c net.Conn, id peer.ID, server bool) *countedConn {
	in.mu.Lock()
	defer in.mu.Unlock()
	u := in.each[id]
	if u == nil {
		u = &unread{}
		in.each[id] = u
	}
	u.conns++
	// Who dialled gives its streams odd numbers.
	theirs := uint32(0)
	if server {
		theirs = 1
	}
	return &countedConn{Conn: c, in: in, peer: id, theirs: theirs, unread: u, streams: make(map[uint32]*inStream)}
}

// A countedConn is a connection that yamux reads from. It reads along: the frames
// of https://github.com/hashicorp/yamux/blob/master/spec.md.
type countedConn struct {
	net.Conn
	in     *inbox
	peer   peer.ID
	theirs uint32 // the parity of streams that the peer opens

	// For Read, which one goroutine calls.
	header [yamuxHeader]byte
	passed int    // bytes of the header that were passed on
	left   uint32 // bytes of the frame's data that were not

	// Guarded by in.mu:
	unread   *unread
	streams  map[uint32]*inStream // those opened by the peer
	order    []*inStream          // of them, those not accepted yet
	finished bool
}

// An inStream is a stream that the peer opened.
type inStream struct {
	id    uint32
	bytes int  // sent and not read
	extra int  // of memory held besides
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

// Read implements net.Conn. It waits before a frame that is too much.
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
		if err := c.frame(); err != nil {
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

// frame notes what a header says.
func (c *countedConn) frame() error {
	kind := c.header[1]
	flags := binary.BigEndian.Uint16(c.header[2:])
	id := binary.BigEndian.Uint32(c.header[4:])
	if kind == yamuxData {
		c.left = binary.BigEndian.Uint32(c.header[8:])
	}
	// A ping may have a number and the flag of a new stream, too, and is neither.
	if kind > yamuxWindow || id%2 != c.theirs || id == 0 {
		return nil
	}
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if flags&yamuxSYN != 0 {
		// Yamux takes the number of a stream that the peer has ended for a new one
		// while somebody here still has the old one.
		if c.streams[id] != nil {
			return errAgain
		}
		// Beyond its backlog yamux resets streams that may be answers.
		if err := c.wait(func() bool { return len(c.order) < acceptBacklog }); err != nil {
			return err
		}
		s := &inStream{id: id}
		c.streams[id] = s
		c.order = append(c.order, s)
	}
	s := c.streams[id]
	if s == nil || s.reset {
		return nil // what still comes is thrown away
	}
	if c.left > 0 {
		// Buffers come in powers of two.
		held := 1<<bits.Len32(c.left-1) + frameOverhead
		if err := c.wait(func() bool { return c.fits(held) }); err != nil {
			return err
		}
		if c.streams[id] != s {
			return nil // closed meanwhile
		}
		s.bytes += int(c.left)
		s.extra += held - int(c.left)
		c.count(held)
	}
	if flags&yamuxRST != 0 {
		c.empty(s)
		s.reset = true
	}
	return nil
}

// fits tells whether so many bytes more may be held. Nothing is too large for a
// peer that has nothing. The lock is held.
func (c *countedConn) fits(n int) bool {
	has := c.unread.bytes
	return has == 0 || has+n <= unreadEach && (c.in.all+n <= unreadInAll || has+n <= unreadSpare)
}

// wait waits, for as long as unreadPatience, until it's true. The lock is held.
func (c *countedConn) wait(until func() bool) error {
	if c.finished {
		return net.ErrClosed
	}
	if until() {
		return nil
	}
	late := false
	timer := time.AfterFunc(unreadPatience, func() {
		c.in.mu.Lock()
		defer c.in.mu.Unlock()
		late = true
		c.in.room.Broadcast()
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
		c.in.room.Wait()
	}
	return nil
}

// count adds to what is held. The lock is held.
func (c *countedConn) count(n int) {
	c.unread.bytes += n
	c.in.all += n
	if n < 0 && c.in.waiting > 0 {
		c.in.room.Broadcast()
	}
}

// empty counts a stream's bytes as gone. The lock is held.
func (c *countedConn) empty(s *inStream) {
	if n := s.bytes + s.extra; n > 0 {
		c.count(-n)
	}
	s.bytes, s.extra = 0, 0
}

// accepted is called after each AcceptStream of yamux, which takes streams in the
// order of their frames. It returns what is known of the stream.
func (c *countedConn) accepted() *inStream {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if len(c.order) == 0 {
		return &inStream{} // the connection has ended
	}
	s := c.order[0]
	c.order[0] = nil
	if c.order = c.order[1:]; len(c.order) == acceptBacklog-1 {
		c.in.room.Broadcast()
	}
	return s
}

// read is called with the bytes that were read from a stream.
func (c *countedConn) read(s *inStream, n int) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if c.streams[s.id] != s || s.reset {
		return
	}
	if s.bytes -= n; s.bytes <= 0 {
		n += s.extra
		s.extra = 0
	}
	c.count(-n)
}

// leave is called when a stream is closed or reset, and again.
func (c *countedConn) leave(s *inStream) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if c.streams[s.id] == s {
		c.empty(s)
		delete(c.streams, s.id)
	}
}

// Close implements net.Conn.
func (c *countedConn) Close() error {
	c.end()
	return c.Conn.Close()
}

// end counts nothing of the connection any more.
func (c *countedConn) end() {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if c.finished {
		return
	}
	c.finished = true
	for _, s := range c.streams {
		c.empty(s)
	}
	clear(c.streams)
	c.order = nil
	if c.unread.conns--; c.unread.conns == 0 {
		delete(c.in.each, c.peer)
	}
	c.in.room.Broadcast()
}
