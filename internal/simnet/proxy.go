package simnet

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// kernelBuffer is the receive buffer of a Proxy's sockets, in bytes. By default the
// kernel uses megabytes, which a sender would see as a router with a queue of that
// length.
const kernelBuffer = 128 << 10

// A Proxy forwards TCP connections to a target over a slow link; NewProxy makes one.
// It delays and limits both directions. The first byte of a connection waits for one
// more round trip, that of the handshake.
type Proxy struct {
	target   string
	link     Link
	listener net.Listener
	up, down wire // towards the target, and back
	running  sync.WaitGroup

	mu          sync.Mutex // guards the following
	closed      bool
	connections map[*connection]struct{}
}

// A connection is a connection that a Proxy forwards.
type connection struct {
	cut chan struct{} // closed to reset the connection

	mu   sync.Mutex // guards the following
	dead bool
	ends []*net.TCPConn
}

// NewProxy listens on a free port of 127.0.0.1 and forwards connections to target
// (host:port) over link. All connections share the bandwidth, as on a line.
func NewProxy(target string, link Link) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("simnet: proxy to %s: %w", target, err)
	}
	p := &Proxy{
		target:      target,
		link:        link,
		listener:    listener,
		up:          wire{link: link},
		down:        wire{link: link},
		connections: make(map[*connection]struct{}),
	}
	p.running.Go(p.accept)
	return p, nil
}

// Addr returns the proxy's address, as host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Bytes returns the numbers of bytes delivered to the target and from it.
func (p *Proxy) Bytes() (up, down int64) {
	return p.up.delivered.Load(), p.down.delivered.Load()
}

// Cut resets every connection at both ends, and loses the bytes in flight. New
// connections are accepted as before.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.connections {
		c.reset()
	}
}

// Close stops listening, resets every connection and waits for the goroutines.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	err := p.listener.Close()
	p.Cut()
	p.running.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		c := &connection{cut: make(chan struct{})}
		c.add(client.(*net.TCPConn))
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			c.reset()
			return
		}
		p.connections[c] = struct{}{}
		p.mu.Unlock()
		p.running.Go(func() {
			p.forward(c, client.(*net.TCPConn))
			p.mu.Lock()
			delete(p.connections, c)
			p.mu.Unlock()
		})
	}
}

// forward serves one connection.
func (p *Proxy) forward(c *connection, client *net.TCPConn) {
	if !sleepUntil(time.Now().Add(p.link.RTT), c.cut) { // the handshake
		return
	}
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		c.reset()
		return
	}
	if !c.add(server.(*net.TCPConn)) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.up.carry(server.(*net.TCPConn), client, c.cut, c.reset) })
	both.Go(func() { p.down.carry(client, server.(*net.TCPConn), c.cut, c.reset) })
	both.Wait()
	c.close()
}

// add adds a socket. It returns false if the connection was reset before.
func (c *connection) add(end *net.TCPConn) bool {
	// If these fail, the proxy is less exact.
	_ = end.SetReadBuffer(kernelBuffer)
	_ = end.SetNoDelay(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		reset(end)
		return false
	}
	c.ends = append(c.ends, end)
	return true
}

// reset resets the connection at both ends, as a cut line does.
func (c *connection) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return
	}
	c.dead = true
	close(c.cut)
	for _, end := range c.ends {
		reset(end)
	}
}

// close ends a connection that both sides have ended.
func (c *connection) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return
	}
	c.dead = true
	for _, end := range c.ends {
		end.Close()
	}
}

// reset closes a socket so that the peer reads "connection reset".
func reset(end *net.TCPConn) {
	_ = end.SetLinger(0) // fails if the peer has closed it
	end.Close()
}
