package trustless

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// A ServeConfig bounds what serving streams may cost. Zero fields mean defaults.
type ServeConfig struct {
	// MaxStreams is how many streams are served at a time; 0 means 256. Peers
	// without another stream get a few more.
	MaxStreams int
	// MaxEach is how many streams of one peer are served at a time; 0 means 16. As
	// many more wait a while.
	MaxEach int
	// HeaderTimeout is how long a peer may take to send its request; 0 means
	// 10 s.
	HeaderTimeout time.Duration
	// WriteTimeout is how long a peer may take to read 64 KiB of a response; 0
	// means 30 s.
	WriteTimeout time.Duration
}

const (
	defaultStreams       = 256
	defaultStreamsEach   = 16
	defaultHeaderTimeout = 10 * time.Second
	// streamPiece is what a peer must read within a WriteTimeout, in bytes.
	streamPiece = 64 << 10
)

// Serve serves HTTP on streams of StreamProtocol, one request each. At
// wellKnownPath it says that the gateway is at "/". It returns a function that
// resets all streams, and waits for the handlers.
//
// The handler sees the peer's id as RemoteAddr.
func Serve(h host.Host, handler http.Handler, c ServeConfig) (closeAll func() error) {
	for field, value := range map[*int]int{&c.MaxStreams: defaultStreams, &c.MaxEach: defaultStreamsEach} {
		if *field <= 0 {
			*field = value
		}
	}
	if c.HeaderTimeout <= 0 {
		c.HeaderTimeout = defaultHeaderTimeout
	}
	if c.WriteTimeout <= 0 {
		c.WriteTimeout = defaultWriteTimeout
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &streamListener{
		host: h, config: c, ctx: ctx, cancel: cancel,
		limits:  newLimiter(c.MaxStreams, c.MaxEach, spareRemotes),
		streams: make(chan network.Stream),
		open:    make(map[*streamConn]struct{}),
	}
	server := &http.Server{
		Handler:           boundBody(withWellKnown(handler), c.HeaderTimeout),
		ReadHeaderTimeout: c.HeaderTimeout,
		IdleTimeout:       c.HeaderTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          log.New(io.Discard, "", 0), // only faults of clients
	}
	server.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			l.serving.Done()
		}
	}
	// A stream carries one request, as the specification requires.
	server.SetKeepAlivesEnabled(false)
	h.SetStreamHandler(StreamProtocol, l.handle)
	var accepting sync.WaitGroup
	accepting.Go(func() { _ = server.Serve(l) }) // which fails only with ErrServerClosed
	return sync.OnceValue(func() error {
		err := server.Close()
		accepting.Wait() // so that reset sees the last accepted stream
		l.reset()
		l.serving.Wait()
		return err
	})
}

// boundBody gives a request's body, which isn't used, as much time as the headers.
// (A ReadTimeout would also end long responses.)
func boundBody(next http.Handler, timeout time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(timeout))
		}
		next.ServeHTTP(w, r)
	})
}

// A streamListener is a net.Listener whose connections are streams.
type streamListener struct {
	host    host.Host
	config  ServeConfig
	limits  *limiter
	streams chan network.Stream
	ctx     context.Context // until Close
	cancel  context.CancelFunc
	serving sync.WaitGroup // the connections, until their handlers are done

	mu   sync.Mutex // guards the following field
	open map[*streamConn]struct{}
}

// handle takes a stream, or resets it.
func (l *streamListener) handle(s network.Stream) {
	p := string(s.Conn().RemotePeer())
	if err := l.limits.enter(l.ctx, p); err != nil {
		_ = s.ResetWithError(resetLimit)
		return
	}
	select {
	case l.streams <- s:
	case <-l.ctx.Done():
		l.limits.leave(p)
		_ = s.Reset()
	}
}

// Accept implements net.Listener.
func (l *streamListener) Accept() (net.Conn, error) {
	select {
	case s := <-l.streams:
		c := &streamConn{Stream: s, listener: l}
		l.serving.Add(1)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.open[c] = struct{}{}
		return c, nil
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *streamListener) Close() error {
	l.host.RemoveStreamHandler(StreamProtocol)
	l.cancel()
	return nil
}

// reset resets the open streams.
func (l *streamListener) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		_ = c.Reset()
	}
}

// Addr implements net.Listener.
func (l *streamListener) Addr() net.Addr { return peerAddr(l.host.ID()) }

// A peerAddr is a peer id as an address.
type peerAddr peer.ID

// Network implements net.Addr.
func (peerAddr) Network() string { return "libp2p" }

// String implements net.Addr.
func (a peerAddr) String() string { return peer.ID(a).String() }

// A streamConn is a stream as a net.Conn.
type streamConn struct {
	network.Stream
	listener *streamListener
	closing  sync.Once
}

// Read implements net.Conn. It doesn't return io.EOF: a client closes its side
// after the request, and net/http would take that for the end of the connection.
func (c *streamConn) Read(p []byte) (int, error) {
	n, err := c.Stream.Read(p)
	if errors.Is(err, io.EOF) {
		return n, nil
	}
	return n, err
}

// Write implements net.Conn. Each piece has its own timeout.
func (c *streamConn) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		_ = c.SetWriteDeadline(time.Now().Add(c.listener.config.WriteTimeout))
		var m int
		m, err = c.Stream.Write(p[:min(len(p), streamPiece)])
		n += m
		p = p[m:]
	}
	if err != nil {
		// A stream whose client doesn't read would stay open.
		_ = c.Reset()
	}
	return n, err
}

// Close implements net.Conn. net/http has written everything by then.
func (c *streamConn) Close() error {
	var err error
	c.closing.Do(func() {
		// Before the stream ends, so that the client finds a place for the next.
		c.listener.limits.leave(string(c.Conn().RemotePeer()))
		err = c.Stream.Close()
		c.listener.mu.Lock()
		delete(c.listener.open, c)
		c.listener.mu.Unlock()
	})
	return err
}

// LocalAddr implements net.Conn.
func (c *streamConn) LocalAddr() net.Addr { return peerAddr(c.Conn().LocalPeer()) }

// RemoteAddr implements net.Conn.
func (c *streamConn) RemoteAddr() net.Addr { return peerAddr(c.Conn().RemotePeer()) }

var (
	_ net.Conn     = (*streamConn)(nil)
	_ net.Listener = (*streamListener)(nil)
)
