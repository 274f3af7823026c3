package routing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	ma "github.com/multiformats/go-multiaddr"
)

// A simNet is a network of hosts without sockets or cryptography, so that a
// thousand fit in a test. Bytes take half a round trip, dialling a whole one.
type simNet struct {
	rtt time.Duration

	mu    sync.Mutex // guards the following
	hosts map[peer.ID]*simHost
	made  int
}

// A simHost is a host with one public address and no limits.
type simHost struct {
	net   *simNet
	id    peer.ID
	addr  ma.Multiaddr
	store peerstore.Peerstore
	bus   event.Bus

	identified, connectedness event.Emitter

	mu       sync.Mutex // guards the following
	handlers map[protocol.ID]network.StreamHandler
	peers    map[peer.ID]*simConn
	streams  map[*simStream]bool // the open ones
	down     bool
}

var _ host.Host = (*simHost)(nil)

// newHost adds a host. Each has an IP network of its own, as the DHT's diversity
// filters require.
func (n *simNet) newHost(t testing.TB) *simHost {
	t.Helper()
	n.mu.Lock()
	i := n.made
	n.made++
	n.mu.Unlock()
	store, err := pstoremem.NewPeerstore()
	if err != nil {
		t.Fatal(err)
	}
	h := &simHost{
		net: n, id: newID(t), store: store, bus: eventbus.NewBus(),
		addr:     ma.StringCast(fmt.Sprintf("/ip4/%d.%d.0.1/tcp/4001", 20+i/250, i%250)),
		handlers: make(map[protocol.ID]network.StreamHandler),
		peers:    make(map[peer.ID]*simConn),
		streams:  make(map[*simStream]bool),
	}
	if h.identified, err = h.bus.Emitter(new(event.EvtPeerIdentificationCompleted)); err != nil {
		t.Fatal(err)
	}
	if h.connectedness, err = h.bus.Emitter(new(event.EvtPeerConnectednessChanged)); err != nil {
		t.Fatal(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[h.id] = h
	return h
}

func (h *simHost) ID() peer.ID                                              { return h.id }
func (h *simHost) Peerstore() peerstore.Peerstore                           { return h.store }
func (h *simHost) Addrs() []ma.Multiaddr                                    { return []ma.Multiaddr{h.addr} }
func (h *simHost) Network() network.Network                                 { return simNetwork{h: h} }
func (h *simHost) Mux() protocol.Switch                                     { return nil }
func (h *simHost) ConnManager() connmgr.ConnManager                         { return connmgr.NullConnMgr{} }
func (h *simHost) EventBus() event.Bus                                      { return h.bus }
func (h *simHost) RemoveStreamHandler(id protocol.ID)                       { h.setHandler(id, nil) }
func (h *simHost) SetStreamHandler(id protocol.ID, f network.StreamHandler) { h.setHandler(id, f) }
func (h *simHost) SetStreamHandlerMatch(id protocol.ID, _ func(protocol.ID) bool, f network.StreamHandler) {
	h.setHandler(id, f)
}

func (h *simHost) setHandler(id protocol.ID, f network.StreamHandler) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.handlers[id] = f; f == nil {
		delete(h.handlers, id)
	}
}

func (h *simHost) protocols() (all []protocol.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range h.handlers {
		all = append(all, id)
	}
	return all
}

// goOffline takes the host off the network: its streams are reset, and its peers
// get no event.
func (h *simHost) goOffline() {
	h.mu.Lock()
	h.down = true
	peers := h.peers
	h.peers = make(map[peer.ID]*simConn)
	streams := slices.Collect(maps.Keys(h.streams))
	h.mu.Unlock()
	for _, s := range streams {
		s.Reset()
	}
	for _, c := range peers {
		c.remote.mu.Lock()
		delete(c.remote.peers, h.id)
		c.remote.mu.Unlock()
	}
}

func (h *simHost) Close() error {
	h.goOffline()
	return errors.Join(h.identified.Close(), h.connectedness.Close(), h.store.Close())
}

func (h *simHost) isDown() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.down
}

func (h *simHost) Connect(ctx context.Context, p peer.AddrInfo) error {
	h.store.AddAddrs(p.ID, p.Addrs, peerstore.TempAddrTTL)
	_, err := h.dial(ctx, p.ID)
	return err
}

func (h *simHost) dial(ctx context.Context, id peer.ID) (*simConn, error) {
	h.mu.Lock()
	c := h.peers[id]
	h.mu.Unlock()
	if c != nil {
		return c, nil
	}
	h.net.mu.Lock()
	other := h.net.hosts[id]
	h.net.mu.Unlock()
	if id == h.id || other == nil || len(h.store.Addrs(id)) == 0 {
		return nil, fmt.Errorf("no addresses of %s", id)
	}
	select {
	case <-time.After(h.net.rtt):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if other.isDown() || h.isDown() {
		return nil, errors.New("no route")
	}
	for _, pair := range [][2]*simHost{{h, other}, {other, h}} {
		a, b := pair[0], pair[1]
		a.mu.Lock()
		if a.peers[b.id] == nil {
			a.peers[b.id] = &simConn{local: a, remote: b}
		}
		a.mu.Unlock()
		a.store.AddAddrs(b.id, b.Addrs(), peerstore.ConnectedAddrTTL)
		if err := a.store.SetProtocols(b.id, b.protocols()...); err != nil {
			return nil, err
		}
		if err := a.identified.Emit(event.EvtPeerIdentificationCompleted{Peer: b.id}); err != nil {
			return nil, err
		}
	}
	return &simConn{local: h, remote: other}, nil
}

func (h *simHost) NewStream(ctx context.Context, id peer.ID, protocols ...protocol.ID) (network.Stream, error) {
	c, err := h.dial(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, p := range protocols {
		c.remote.mu.Lock()
		handler := c.remote.handlers[p]
		c.remote.mu.Unlock()
		if handler == nil {
			continue
		}
		there, back := newSimPipe(h.net.rtt/2), newSimPipe(h.net.rtt/2)
		far := &simStream{conn: &simConn{local: c.remote, remote: h}, protocol: p, in: there, out: back}
		near := &simStream{conn: c, protocol: p, in: back, out: there}
		if !far.open() || !near.open() {
			return nil, errors.Join(network.ErrReset, far.Reset(), near.Reset())
		}
		go handler(far)
		return near, nil
	}
	return nil, errors.New("protocols not supported")
}

// A simNetwork has the methods of network.Network that tests use.
type simNetwork struct {
	network.Network // nil: the other methods are not called
	h               *simHost
}

func (n simNetwork) LocalPeer() peer.ID              { return n.h.id }
func (n simNetwork) Peerstore() peerstore.Peerstore  { return n.h.store }
func (n simNetwork) Notify(network.Notifiee)         {}
func (n simNetwork) StopNotify(network.Notifiee)     {}
func (n simNetwork) ListenAddresses() []ma.Multiaddr { return n.h.Addrs() }
func (n simNetwork) Connectedness(id peer.ID) network.Connectedness {
	n.h.mu.Lock()
	defer n.h.mu.Unlock()
	if n.h.peers[id] != nil {
		return network.Connected
	}
	return network.NotConnected
}

func (n simNetwork) Peers() (all []peer.ID) {
	for _, c := range n.Conns() {
		all = append(all, c.RemotePeer())
	}
	return all
}

func (n simNetwork) Conns() (all []network.Conn) {
	n.h.mu.Lock()
	defer n.h.mu.Unlock()
	for _, c := range n.h.peers {
		all = append(all, c)
	}
	return all
}

func (n simNetwork) ConnsToPeer(id peer.ID) []network.Conn {
	n.h.mu.Lock()
	defer n.h.mu.Unlock()
	if c := n.h.peers[id]; c != nil {
		return []network.Conn{c}
	}
	return nil
}

// A simConn is one end of a connection.
type simConn struct {
	network.Conn  // nil
	local, remote *simHost
}

func (c *simConn) LocalPeer() peer.ID            { return c.local.id }
func (c *simConn) RemotePeer() peer.ID           { return c.remote.id }
func (c *simConn) RemoteMultiaddr() ma.Multiaddr { return c.remote.addr }
func (c *simConn) GetStreams() []network.Stream  { return nil }
func (c *simConn) Stat() network.ConnStats       { return network.ConnStats{} }

func (c *simConn) Close() error {
	for _, pair := range [][2]*simHost{{c.local, c.remote}, {c.remote, c.local}} {
		pair[0].mu.Lock()
		delete(pair[0].peers, pair[1].id)
		pair[0].mu.Unlock()
	}
	return nil
}

// A simStream is one end of a stream.
type simStream struct {
	network.Stream // nil
	conn           *simConn
	protocol       protocol.ID
	in, out        *simPipe
}

func (s *simStream) Conn() network.Conn               { return s.conn }
func (s *simStream) Protocol() protocol.ID            { return s.protocol }
func (s *simStream) Stat() network.Stats              { return network.Stats{} }
func (s *simStream) SetDeadline(time.Time) error      { return nil }
func (s *simStream) SetReadDeadline(time.Time) error  { return nil }
func (s *simStream) SetWriteDeadline(time.Time) error { return nil }
func (s *simStream) Read(b []byte) (int, error)       { return s.in.read(b) }
func (s *simStream) CloseWrite() error                { return s.out.close(io.EOF) }

func (s *simStream) Write(b []byte) (int, error) {
	if s.conn.remote.isDown() || s.conn.local.isDown() {
		return 0, network.ErrReset
	}
	return s.out.write(b)
}

// open adds the stream to its host. It returns false if the host is down.
func (s *simStream) open() bool {
	h := s.conn.local
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.down {
		h.streams[s] = true
	}
	return !h.down
}

func (s *simStream) remove() {
	h := s.conn.local
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.streams, s)
}

// Close lets the other side read the bytes in flight.
func (s *simStream) Close() error {
	s.remove()
	return s.CloseWrite()
}

func (s *simStream) Reset() error {
	s.remove()
	return errors.Join(s.in.close(network.ErrReset), s.out.close(network.ErrReset))
}

// A simPipe delivers bytes after a delay.
type simPipe struct {
	delay time.Duration
	wake  chan struct{} // signalled when there may be something to read

	mu   sync.Mutex // guards the following
	sent []simChunk
	end  error // comes after the bytes sent; a reset comes before them
}

type simChunk struct {
	due  time.Time
	data []byte
}

func newSimPipe(delay time.Duration) *simPipe {
	return &simPipe{delay: delay, wake: make(chan struct{}, 1)}
}

func (p *simPipe) notify() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *simPipe) write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.end != nil {
		return 0, io.ErrClosedPipe
	}
	p.sent = append(p.sent, simChunk{time.Now().Add(p.delay), bytes.Clone(b)})
	p.notify()
	return len(b), nil
}

func (p *simPipe) close(end error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.end == nil || end == network.ErrReset {
		p.end = end
	}
	p.notify()
	return nil
}

func (p *simPipe) read(b []byte) (int, error) {
	for {
		p.mu.Lock()
		if p.end != nil && (p.end != io.EOF || len(p.sent) == 0) {
			end := p.end
			p.mu.Unlock()
			p.notify()
			return 0, end
		}
		wait := time.Duration(-1)
		if len(p.sent) > 0 {
			c := &p.sent[0]
			if wait = time.Until(c.due); wait <= 0 {
				n := copy(b, c.data)
				if c.data = c.data[n:]; len(c.data) == 0 {
					p.sent = p.sent[1:]
				}
				p.mu.Unlock()
				return n, nil
			}
		}
		p.mu.Unlock()
		if wait < 0 {
			<-p.wake
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-p.wake: // perhaps a reset
			timer.Stop()
		}
	}
}
