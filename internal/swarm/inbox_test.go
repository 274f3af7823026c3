package swarm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// TestUnread sends on many streams that are not read: the inbox admits a bounded
// amount from one peer and from all, and another peer is served. When the streams
// are read, everything arrives.
func TestUnread(t *testing.T) {
	const (
		deaf     protocol.ID = "/test/deaf"
		sink     protocol.ID = "/test/sink"
		peers                = 40
		streams              = 8
		sentEach             = 256 << 10 // on a stream
	)
	victim := newLocal(t, Config{Connections: 2 * peers})
	listen := make(chan struct{})
	var running sync.WaitGroup
	running.Add(peers * streams)
	victim.host.SetStreamHandler(deaf, func(s network.Stream) {
		defer running.Done()
		s.Write([]byte{1})
		<-listen
		n, err := io.Copy(io.Discard, s)
		if n != sentEach || err != nil {
			t.Errorf("read: got %d bytes, %v, want %d", n, err, sentEach)
		}
		s.Close()
	})
	victim.host.SetStreamHandler(sink, func(s network.Stream) {
		n, _ := io.Copy(io.Discard, s)
		fmt.Fprint(s, n)
		s.Close()
	})
	in := victim.muxer.inbox
	held := func() (all, most int) {
		in.mu.Lock()
		defer in.mu.Unlock()
		for _, u := range in.peers {
			most = max(most, u.bytes)
		}
		return in.total, most
	}
	var writing sync.WaitGroup
	defer writing.Wait()
	read := sync.OnceFunc(func() { close(listen) })
	defer read()
	var open []network.Stream
	honest := newLocal(t, Config{}) // made now: connections that wait have unreadTimeout
	connect(t, honest, victim)
	for range peers {
		s := newLocal(t, Config{})
		connect(t, s, victim)
		for range streams {
			out, err := s.host.NewStream(testContext(t), victim.ID(), deaf)
			if err == nil {
				_, err = out.Write(nil)
			}
			if err == nil {
				_, err = io.ReadFull(out, make([]byte, 1))
			}
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, out)
		}
	}
	for _, out := range open {
		writing.Go(func() {
			_, err := out.Write(make([]byte, sentEach))
			if err == nil {
				err = out.CloseWrite()
			}
			if err == nil {
				_, err = io.ReadAll(out)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	// The last ones may find less room than they need.
	eventually(t, "the inbox is full", func() bool {
		in.mu.Lock()
		defer in.mu.Unlock()
		return in.waiting >= peers*3/4 && in.total > maxUnreadTotal*3/4
	})
	all, most := held()
	if all > maxUnreadTotal+peers*unreadReserve {
		t.Errorf("held for all: got %d, want at most %d", all, maxUnreadTotal+peers*unreadReserve)
	}
	if most > maxUnreadPeer || most < maxUnreadPeer/2 {
		t.Errorf("held for one: got %d, want %d to %d", most, maxUnreadPeer/2, maxUnreadPeer)
	}

	s, err := honest.host.NewStream(testContext(t), victim.ID(), sink)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(make([]byte, 4<<20)); err != nil {
		t.Error(err)
	}
	s.CloseWrite()
	if got, err := io.ReadAll(s); string(got) != fmt.Sprint(4<<20) || err != nil {
		t.Errorf("another peer: %q bytes arrived, %v, want %d", got, err, 4<<20)
	}

	read()
	writing.Wait()
	running.Wait()
	eventually(t, "nothing is held", func() bool { all, most := held(); return all == 0 && most == 0 })
}

// newPipe returns a counted connection, and its other end, on which a test writes
// frames.
func newPipe(t *testing.T, in *inbox) (*countedConn, net.Conn) {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return in.newConn(ours, "peer", true), theirs
}

// frame returns a frame of yamux.
func frame(kind byte, flags uint16, stream uint32, data int) []byte {
	f := []byte{0, kind}
	f = binary.BigEndian.AppendUint16(f, flags)
	f = binary.BigEndian.AppendUint32(f, stream)
	f = binary.BigEndian.AppendUint32(f, uint32(data))
	if kind == yamuxData {
		f = append(f, make([]byte, data)...)
	}
	return f
}

// readAll reads frames until one is refused.
func readAll(c net.Conn) <-chan error {
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, c)
		ended <- err
	}()
	return ended
}

// TestUnreadForLong: a connection that is full for too long is closed.
func TestUnreadForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, theirs := newPipe(t, newInbox())
		ended := readAll(c)
		go func() {
			theirs.Write(frame(yamuxData, yamuxSYN, 1, 0))
			for {
				if _, err := theirs.Write(frame(yamuxData, 0, 1, 64<<10)); err != nil {
					return
				}
			}
		}()
		began := time.Now()
		if err := <-ended; !errors.Is(err, errUnread) {
			t.Errorf("got %v, want %v", err, errUnread)
		}
		if took := time.Since(began); took != unreadTimeout {
			t.Errorf("it ended after %v, want %v", took, unreadTimeout)
		}
		if got := c.in.total; got > maxUnreadPeer {
			t.Errorf("held %d bytes, want at most %d", got, maxUnreadPeer)
		}
		c.Close()
		if got := c.in; got.total != 0 || len(got.peers) != 0 {
			t.Errorf("held %d bytes of %d peers after Close, want none", got.total, len(got.peers))
		}
	})
}

// TestUnreadSmall sends frames of one byte: few fill the inbox, since each costs
// yamux more than that.
func TestUnreadSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, theirs := newPipe(t, newInbox())
		readAll(c)
		go func() {
			theirs.Write(frame(yamuxData, yamuxSYN, 1, 0))
			for {
				if _, err := theirs.Write(frame(yamuxData, 0, 1, 1)); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		c.in.mu.Lock()
		frames := c.streams[1].bytes
		c.in.mu.Unlock()
		if want := maxUnreadPeer / (frameOverhead + 1); frames != want {
			t.Errorf("%d frames of one byte were admitted, want %d", frames, want)
		}
		c.Close()
	})
}

// TestUnreadCounts checks the bytes held after each thing that may happen to a
// stream.
func TestUnreadCounts(t *testing.T) {
	const size = 1000
	held := 1024 + frameOverhead
	for _, e := range []struct {
		name string
		do   func(c *countedConn, send func(...[]byte))
		held int
	}{
		{"nothing", func(*countedConn, func(...[]byte)) {}, 2 * held},
		{"read in part", func(c *countedConn, _ func(...[]byte)) { c.release(c.streams[1], 10) }, 2*held - 10},
		{"read whole", func(c *countedConn, _ func(...[]byte)) { c.release(c.streams[1], 10); c.release(c.streams[1], size-10) }, held},
		{"closed", func(c *countedConn, _ func(...[]byte)) { s := c.streams[1]; c.remove(s); c.remove(s) }, held},
		{"closed, and data follow", func(c *countedConn, send func(...[]byte)) {
			c.remove(c.streams[1])
			send(frame(yamuxData, 0, 1, size))
		}, held},
		{"reset by the peer", func(c *countedConn, send func(...[]byte)) {
			send(frame(1, yamuxRST, 1, 0))
			c.release(c.streams[1], size) // bytes in flight
		}, held},
		{"opened by us", func(c *countedConn, send func(...[]byte)) { send(frame(yamuxData, 0, 2, size)) }, 2 * held},
		{"never opened", func(c *countedConn, send func(...[]byte)) { send(frame(yamuxData, 0, 77, size)) }, 2 * held},
		{"ended", func(c *countedConn, _ func(...[]byte)) {
			s := c.streams[1]
			c.finish()
			c.finish()
			c.release(s, size)
			c.remove(s)
		}, 0},
	} {
		t.Run(e.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, theirs := newPipe(t, newInbox())
				readAll(c)
				send := func(frames ...[]byte) {
					for _, f := range frames {
						if _, err := theirs.Write(f); err != nil {
							t.Fatal(err)
						}
					}
					synctest.Wait()
				}
				send(frame(yamuxData, yamuxSYN, 1, size), frame(1, yamuxSYN, 3, 0), frame(yamuxData, 0, 3, size))
				if id := c.acceptNext().id; id != 1 {
					t.Errorf("accepted: got stream %d, want 1", id)
				}
				e.do(c, send)
				if c.in.total != e.held || c.unread.bytes != e.held {
					t.Errorf("got %d and %d bytes held, want %d", c.in.total, c.unread.bytes, e.held)
				}
				c.Close()
			})
		})
	}
}

// TestBacklog opens more streams than fit in the backlog: further frames wait, and
// all streams are accepted in order.
func TestBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, theirs := newPipe(t, newInbox())
		readAll(c)
		const streams = acceptBacklog + 10
		go func() {
			for i := range streams {
				theirs.Write(frame(1, yamuxSYN, uint32(2*i+1), 0))
			}
		}()
		for i := range streams {
			synctest.Wait()
			if n := len(c.order); n > acceptBacklog {
				t.Fatalf("%d streams wait, want at most %d", n, acceptBacklog)
			}
			s := c.acceptNext()
			if want := uint32(2*i + 1); s.id != want {
				t.Fatalf("accepted: got stream %d, want %d", s.id, want)
			}
			c.remove(s)
		}
		c.Close()
	})
}

// A securedConn is a connection to a known peer.
type securedConn struct {
	net.Conn
	network.ConnSecurity
}

func (securedConn) RemotePeer() peer.ID { return "peer" }

// TestUnreadTricks sends frames that yamux and the inbox might count differently:
// the bounds still hold, and nothing is held after the end.
func TestUnreadTricks(t *testing.T) {
	for name, trick := range map[string]func(id uint32) []byte{
		"a stream again": func(id uint32) []byte {
			return slices.Concat(frame(1, yamuxSYN, id, 0), frame(1, yamuxRST, id, 0), frame(1, yamuxSYN, id, 0))
		},
		"a ping with a number": func(id uint32) []byte {
			return slices.Concat(frame(2, yamuxSYN, id+1000, 0), frame(1, yamuxSYN, id, 0))
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMuxer()
			ours, theirs := net.Pipe()
			defer theirs.Close()
			c, err := m.NewConn(securedConn{Conn: ours}, true, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			var running sync.WaitGroup
			defer running.Wait()
			running.Go(func() { io.Copy(io.Discard, theirs) })
			running.Go(func() {
				for read := true; ; read = false {
					s, err := c.AcceptStream()
					if err != nil {
						return
					}
					if read { // the first one, in part
						running.Go(func() { io.ReadFull(s, make([]byte, 200<<10)) })
					}
				}
			})
			const streams, each = 32, 200 << 10
			var sent atomic.Int64
			running.Go(func() {
				for i := range uint32(streams) {
					if _, err := theirs.Write(trick(2*i + 1)); err != nil {
						return
					}
					for range each >> 12 {
						if _, err := theirs.Write(frame(yamuxData, 0, 2*i+1, 4<<10)); err != nil {
							return
						}
						sent.Add(4 << 10)
					}
				}
			})
			full := func() bool {
				m.inbox.mu.Lock()
				defer m.inbox.mu.Unlock()
				return m.inbox.waiting > 0
			}
			eventually(t, "it is full, or the connection has ended, or all was admitted", func() bool {
				return full() || c.IsClosed() || sent.Load() == streams*each
			})
			if n := sent.Load(); n > maxUnreadPeer+each {
				t.Errorf("%d bytes were admitted, want at most %d and the %d that were read", n, maxUnreadPeer, each)
			}
			c.Close()
			m.inbox.mu.Lock()
			defer m.inbox.mu.Unlock()
			if m.inbox.total != 0 {
				t.Errorf("held %d bytes after Close, want none", m.inbox.total)
			}
		})
	}
}

// FuzzFrames: bytes pass unchanged, however they are cut.
func FuzzFrames(f *testing.F) {
	f.Add(append(frame(yamuxData, yamuxSYN, 1, 5), frame(yamuxData, 0, 1, 3)...), 1)
	f.Add(frame(2, 1, 0, 7), 5)
	f.Add(append(frame(1, yamuxSYN|yamuxRST, 1, 0), 1, 2, 3), 13)
	f.Add(append(frame(1, yamuxSYN, 1, 0), frame(1, yamuxSYN, 1, 0)...), 13)
	f.Fuzz(func(t *testing.T, sent []byte, piece int) {
		if piece < 1 || len(sent) > maxUnreadPeer/2 {
			return
		}
		ours, theirs := net.Pipe()
		c := newInbox().newConn(ours, peer.ID("peer"), true)
		go func() {
			for rest := sent; len(rest) > 0; {
				n := min(piece, len(rest))
				theirs.Write(rest[:n])
				rest = rest[n:]
			}
			theirs.Close()
		}()
		got, err := io.ReadAll(c)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, errUnread) && !errors.Is(err, errReopened) {
			t.Fatal(err)
		}
		// A header that is cut does not pass, nor anything after a violation.
		if len(got) > len(sent) || len(sent)-len(got) >= yamuxHeader && !errors.Is(err, errReopened) || string(got) != string(sent[:len(got)]) {
			t.Errorf("got %x of %x", got, sent)
		}
		c.Close()
		if c.in.total != 0 {
			t.Errorf("held %d bytes after Close, want none", c.in.total)
		}
	})
}
