package swarm

import (
	"errors"
	"net"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
)

const (
	// streamWindow is how many bytes a peer may send on a stream of a TCP or
	// WebSocket connection before it hears from us: what fits into 50 ms at
	// 320 Mbit/s. Yamux starts at 256 KiB, which leaves half of a line of 100 Mbit/s
	// idle, and comes to more only after some round trips.
	streamWindow = 2 << 20

	// strangerStreams is how many streams a peer may have open to us that nobody
	// here wants anything of: several times what any protocol needs, as each
	// costs us a goroutine and some 16 KiB of buffers.
	strangerStreams = 64

	// maxRefused is how many streams of a connection are refused before it is
	// closed. A peer that has as many as it may learns it from the first.
	maxRefused = 4096
)

// A muxer is yamux with a window of streamWindow from the beginning, which counts
// what peers sent on the streams they opened and nobody has read yet: yamux
// alone would keep a whole window for each. What comes on streams that we opened
// is what we asked for, and isn't counted: it may have to wait until we have read
// another.
type muxer struct {
	yamux *yamux.Transport
	inbox *inbox
	// wanted tells whether somebody here uses the peer.
	wanted func(peer.ID) bool
}

func newMuxer(wanted func(peer.ID) bool) *muxer {
	t := *yamux.DefaultTransport
	t.InitialStreamWindowSize = streamWindow
	t.MaxStreamWindowSize = streamWindow
	t.AcceptBacklog = acceptBacklog
	return &muxer{yamux: &t, inbox: newInbox(), wanted: wanted}
}

// NewConn implements network.Multiplexer. Nothing is reserved of the scope: what
// may be held is the inbox's to say.
func (m *muxer) NewConn(c net.Conn, server bool, _ network.PeerScope) (network.MuxedConn, error) {
	secured, ok := c.(network.ConnSecurity)
	if !ok {
		return nil, errors.New("yamux over a connection that nobody is known of")
	}
	id := secured.RemotePeer()
	counted := m.inbox.conn(c, id, server)
	inner, err := m.yamux.NewConn(counted, server, nil)
	if err != nil {
		counted.end()
		return nil, err
	}
	return &muxedConn{MuxedConn: inner, peer: id, counted: counted, wanted: m.wanted}, nil
}

var _ network.Multiplexer = (*muxer)(nil)

// A muxedConn is a connection whose peer may have so many streams.
type muxedConn struct {
	network.MuxedConn
	peer    peer.ID
	counted *countedConn
	wanted  func(peer.ID) bool
}

// AcceptStream implements network.MuxedConn. Streams that are too many are reset.
func (c *muxedConn) AcceptStream() (network.MuxedStream, error) {
	for refused := 0; ; {
		s, err := c.MuxedConn.AcceptStream()
		if err != nil {
			return nil, err
		}
		id, open := c.counted.accepted()
		if open <= strangerStreams || open <= peerStreams && c.wanted(c.peer) {
			return &muxedStream{MuxedStream: s, id: id, counted: c.counted}, nil
		}
		c.counted.leave(id)
		_ = s.ResetWithError(network.StreamResourceLimitExceeded)
		if refused++; refused == maxRefused {
			_ = c.CloseWithError(network.ConnResourceLimitExceeded)
		}
	}
}

// A muxedStream is one that the peer opened. Yamux keeps what comes after
// CloseRead, too, until the stream is closed.
type muxedStream struct {
	network.MuxedStream
	id      uint32
	counted *countedConn
}

func (s *muxedStream) Read(p []byte) (int, error) {
	n, err := s.MuxedStream.Read(p)
	if n > 0 {
		s.counted.read(s.id, n)
	}
	return n, err
}

func (s *muxedStream) Close() error {
	s.counted.leave(s.id)
	return s.MuxedStream.Close()
}

func (s *muxedStream) Reset() error {
	s.counted.leave(s.id)
	return s.MuxedStream.Reset()
}

func (s *muxedStream) ResetWithError(code network.StreamErrorCode) error {
	s.counted.leave(s.id)
	return s.MuxedStream.ResetWithError(code)
}
