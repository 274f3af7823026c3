package swarm

import (
	"errors"
	"net"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
)

// streamWindow is the number of bytes that a peer may send on a stream of a TCP or
// WebSocket connection before it hears from us: 50 ms at 320 Mbit/s. Yamux starts
// at 256 KiB, which leaves half of a line of 100 Mbit/s idle, and grows only after
// some round trips.
const streamWindow = 2 << 20

// A muxer is yamux with a window of streamWindow from the start. It counts and
// bounds the unread bytes on streams that peers opened: yamux alone would hold a
// whole window for each. It doesn't count streams that we opened: we asked for
// their bytes, and they may have to wait until we have read another stream.
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

// NewConn implements network.Multiplexer. It doesn't reserve memory in the scope:
// the inbox bounds it.
func (m *muxer) NewConn(c net.Conn, server bool, _ network.PeerScope) (network.MuxedConn, error) {
	secured, ok := c.(network.ConnSecurity)
	if !ok {
		return nil, errors.New("yamux: the connection is not secured")
	}
	counted := m.inbox.newConn(c, secured.RemotePeer(), server)
	inner, err := m.yamux.NewConn(counted, server, nil)
	if err != nil {
		counted.finish()
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
	return &muxedStream{MuxedStream: s, in: c.counted.acceptNext(), counted: c.counted}, nil
}

// A muxedStream is a stream that the peer opened. Even after CloseRead, yamux holds
// the bytes that arrive until the stream is closed.
type muxedStream struct {
	network.MuxedStream
	in      *inStream
	counted *countedConn
}

func (s *muxedStream) Read(p []byte) (int, error) {
	n, err := s.MuxedStream.Read(p)
	if n > 0 {
		s.counted.release(s.in, n)
	}
	return n, err
}

func (s *muxedStream) Close() error {
	s.counted.remove(s.in)
	return s.MuxedStream.Close()
}

func (s *muxedStream) Reset() error {
	s.counted.remove(s.in)
	return s.MuxedStream.Reset()
}

func (s *muxedStream) ResetWithError(code network.StreamErrorCode) error {
	s.counted.remove(s.in)
	return s.MuxedStream.ResetWithError(code)
}
