package swarm

import (
	"errors"
	"net"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
)

// streamWindow is how many bytes a peer may send on a stream of a TCP or
// WebSocket connection before it hears from us: what fits into 50 ms at
// 320 Mbit/s. Yamux starts at 256 KiB, which leaves half of a line of 100 Mbit/s
// idle, and comes to more only after some round trips.
const streamWindow = 2 << 20

// A muxer is yamux with a window of streamWindow from the beginning, which counts
// what peers sent on the streams they opened and nobody has read yet: yamux
// alone would keep a whole window for each. What comes on streams that we opened
// is what we asked for, and isn't counted: it may have to wait until we have read
// another.
type muxer struct {
	yamux *yamux.Transport
	inbox *inbox
}

func newMuxer() *muxer {
	t := *yamux.DefaultTransport
	t.InitialStreamWindowSize = streamWindow
	t.MaxStreamWindowSize = streamWindow
	t.AcceptBacklog = acceptBacklog
	return &muxer{yamux: &t, inbox: newInbox()}
}

// NewConn implements network.Multiplexer. Nothing is reserved of the scope: what
// may be held is the inbox's to say.
func (m *muxer) NewConn(c net.Conn, server bool, _ network.PeerScope) (network.MuxedConn, error) {
	secured, ok := c.(network.ConnSecurity)
	if !ok {
		return nil, errors.New("yamux over a connection that nobody is known of")
	}
	counted := m.inbox.conn(c, secured.RemotePeer(), server)
	inner, err := m.yamux.NewConn(counted, server, nil)
	if err != nil {
		counted.end()
		return nil, err
	}
	return &muxedConn{inner, counted}, nil
}

var _ network.Multiplexer = (*muxer)(nil)

// A muxedConn is a connection whose streams are counted.
type muxedConn struct {
	network.MuxedConn
	counted *countedConn
}

// AcceptStream implements network.MuxedConn.
func (c *muxedConn) AcceptStream() (network.MuxedStream, error) {
	s, err := c.MuxedConn.AcceptStream()
	if err != nil {
		return nil, err
	}
	return &muxedStream{MuxedStream: s, in: c.counted.accepted(), counted: c.counted}, nil
}

// A muxedStream is one that the peer opened. Yamux keeps what comes after
// CloseRead, too, until the stream is closed.
type muxedStream struct {
	network.MuxedStream
	in      *inStream
	counted *countedConn
}

func (s *muxedStream) Read(p []byte) (int, error) {
	n, err := s.MuxedStream.Read(p)
	if n > 0 {
		s.counted.read(s.in, n)
	}
	return n, err
}

func (s *muxedStream) Close() error {
	s.counted.leave(s.in)
	return s.MuxedStream.Close()
}

func (s *muxedStream) Reset() error {
	s.counted.leave(s.in)
	return s.MuxedStream.Reset()
}

func (s *muxedStream) ResetWithError(code network.StreamErrorCode) error {
	s.counted.leave(s.in)
	return s.MuxedStream.ResetWithError(code)
}
