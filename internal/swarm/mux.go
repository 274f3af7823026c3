package swarm

import (
	"net"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
)

// streamWindow is how many bytes a peer may send on a stream of a TCP or
// WebSocket connection before it hears from us: what fits into 50 ms at
// 320 Mbit/s. Yamux starts at 256 KiB, which leaves half of a line of 100 Mbit/s
// idle, and comes to more only after some round trips.
const streamWindow = 2 << 20

// A countedMuxer is yamux with a window of streamWindow from the beginning.
// Yamux reserves 256 KiB for a stream, whatever the window; this one reserves
// the window.
type countedMuxer struct {
	yamux *yamux.Transport
}

func newMuxer() *countedMuxer {
	t := *yamux.DefaultTransport
	t.InitialStreamWindowSize = streamWindow
	t.MaxStreamWindowSize = streamWindow
	return &countedMuxer{yamux: &t}
}

// NewConn implements network.Multiplexer.
func (m *countedMuxer) NewConn(c net.Conn, server bool, scope network.PeerScope) (network.MuxedConn, error) {
	if scope != nil {
		scope = windowScope{scope}
	}
	return m.yamux.NewConn(c, server, scope)
}

var _ network.Multiplexer = (*countedMuxer)(nil)

// A windowScope is a peer's scope in which yamux begins a span for each stream.
type windowScope struct{ network.PeerScope }

func (s windowScope) BeginSpan() (network.ResourceScopeSpan, error) {
	span, err := s.PeerScope.BeginSpan()
	if err != nil {
		return nil, err
	}
	return windowSpan{span}, nil
}

// A windowSpan is that of one stream. As the window never grows, yamux reserves
// once, and ends the span without releasing by itself.
type windowSpan struct{ network.ResourceScopeSpan }

func (s windowSpan) ReserveMemory(size int, priority uint8) error {
	err := s.ResourceScopeSpan.ReserveMemory(max(size, streamWindow), priority)
	if err != nil {
		s.Done() // yamux forgets to
	}
	return err
}
