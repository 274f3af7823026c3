package simnet

import (
	"bytes"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// startServer starts a server that calls serve for each connection, and closes with
// the test. It returns its address.
func startServer(t *testing.T, serve func(*net.TCPConn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(c.(*net.TCPConn))
		}
	}()
	t.Cleanup(func() { listener.Close(); <-done })
	return listener.Addr().String()
}

// dialProxy starts a server and a proxy before it, and dials the proxy.
func dialProxy(t *testing.T, link Link, serve func(*net.TCPConn)) (*Proxy, *net.TCPConn) {
	t.Helper()
	p, err := NewProxy(startServer(t, serve), link)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return p, c.(*net.TCPConn)
}

func echo(c *net.TCPConn) {
	defer c.Close()
	io.Copy(c, c)
}

// TestProxyIsSlow checks the lower bounds of time with real sockets;
// TestThroughputIsTheBandwidth checks the upper bounds exactly.
func TestProxyIsSlow(t *testing.T) {
	link := Link{RTT: 20 * time.Millisecond, Bandwidth: 80_000_000}
	p, c := dialProxy(t, link, echo)
	one := make([]byte, 1)
	for i := range 3 {
		start := time.Now()
		if _, err := c.Write(one); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, one); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(start); got < link.RTT {
			t.Errorf("round trip %d: got %v, want at least %v", i, got, link.RTT)
		} else {
			t.Logf("round trip %d: %v", i, got)
		}
	}

	sent := bytes.Repeat([]byte("cairn"), 400_000)
	start := time.Now()
	go func() {
		c.Write(sent)
		c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("got %d bytes, %v, want the %d sent", len(got), err, len(sent))
	}
	took, least := time.Since(start), link.sendTime(len(sent))
	if took < least {
		t.Errorf("%d bytes took %v, want at least %v", len(sent), took, least)
	}
	t.Logf("%d bytes there and back: %v; the link needs %v", len(sent), took, least+link.RTT)
	if up, down := p.Bytes(); up != int64(len(sent)+3) || down != up {
		t.Errorf("counted %d up, %d down, want %d", up, down, len(sent)+3)
	}
}

// TestProxyHalfClose closes one direction and reads the answer from the other.
func TestProxyHalfClose(t *testing.T) {
	_, c := dialProxy(t, Link{RTT: 2 * time.Millisecond}, func(c *net.TCPConn) {
		defer c.Close()
		asked, _ := io.ReadAll(c)
		c.Write(append([]byte("all of "), asked...))
	})
	if _, err := c.Write([]byte("it")); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil || string(got) != "all of it" {
		t.Errorf("got %q, %v, want %q", got, err, "all of it")
	}
}

// TestProxyCut: Cut resets both ends, and new connections work.
func TestProxyCut(t *testing.T) {
	ended := make(chan error, 2)
	p, c := dialProxy(t, Link{RTT: 2 * time.Millisecond}, func(c *net.TCPConn) {
		defer c.Close()
		_, err := io.Copy(c, c)
		ended <- err
	})
	sendAndReceive := func(c *net.TCPConn) {
		t.Helper()
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	sendAndReceive(c)
	p.Cut()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read after the cut: got %v, want %v", err, syscall.ECONNRESET)
	}
	if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server's end: got %v, want %v", err, syscall.ECONNRESET)
	}
	again, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	sendAndReceive(again.(*net.TCPConn))
}

// TestProxyForwardsResets has the server reset its connection.
func TestProxyForwardsResets(t *testing.T) {
	_, c := dialProxy(t, Link{}, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 1))
		reset(c)
	})
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want %v", err, syscall.ECONNRESET)
	}
}

func TestProxyClose(t *testing.T) {
	p, c := dialProxy(t, Link{RTT: time.Hour}, echo)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlived the proxy")
	}
	if _, err := net.Dial("tcp", p.Addr()); err == nil {
		t.Error("the proxy still listens")
	}
	p.Close() // does nothing
}

// TestProxyWithoutTarget: the proxy resets connections if the target can't be
// reached.
func TestProxyWithoutTarget(t *testing.T) {
	p, err := NewProxy("127.0.0.1:1", Link{}) // a port without a listener
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	// The reset may arrive before Dial returns.
	c, err := net.Dial("tcp", p.Addr())
	if err == nil {
		defer c.Close()
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want %v", err, syscall.ECONNRESET)
	}
}
