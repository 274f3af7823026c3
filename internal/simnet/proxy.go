package simnet

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// kernelBuffer is the receive buffer asked of the kernel for a Proxy's sockets,
// in bytes. Left to itself the kernel takes megabytes, which a sender would see
// as a router with a queue of that length.
const kernelBuffer = 128 << 10

// A Proxy passes TCP connections on to a target, slowly; NewProxy makes one.
// What is delayed and limited is what travels in each direction; the first byte
// of a connection waits for one more round trip, the one that a handshake takes.
type Proxy struct {
	target   string
	link     Link
	listener net.Listener
	up, down wire // towards the target, and back
	running  sync.WaitGroup

	mu          sync.Mutex // guards what follows
	closed      bool
	connections map[*connection]struct{}
}

// A connection is one that a Proxy passes on.
type connection struct {
	cut chan struct{} // closed when the connection is to be reset

	mu   sync.Mutex // guards what follows
	dead bool
	ends []*net.TCPConn
}

// NewProxy listens on a free port of 127.0.0.1 and passes what connects there
// on to target (host:port) over link. The bandwidth is shared by all
// connections, as that of a line is.
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

// Addr is where the proxy listens, as host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Bytes counts what was delivered to the target, and back from it.
func (p *Proxy) Bytes() (up, down int64) {
	return p.up.carried.Load(), p.down.carried.Load()
}

// Cut resets every connection, at both ends; what was under way is lost. New
// ones are accepted as before.
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
			p.pass(c, client.(*net.TCPConn))
			p.mu.Lock()
			delete(p.connections, c)
			p.mu.Unlock()
		})
	}
}

// pass serves one connection.
func (p *Proxy) pass(c *connection, client *net.TCPConn) {
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

// add takes charge of a socket; false: the connection was reset before.
func (c *connection) add(end *net.TCPConn) bool {
	// Without them the proxy is less exact, and works.
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

// reset ends the connection as a cut line does, at both ends.
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
	_ = end.SetLinger(0) // fails if the peer was faster
	end.Close()
}
