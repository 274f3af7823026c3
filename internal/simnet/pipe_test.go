package simnet

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// A pipeEnd is one end of a net.Pipe that can be closed for writing.
type pipeEnd struct {
	net.Conn
	ended chan struct{} // closed by CloseWrite
}

func (p pipeEnd) CloseWrite() error {
	close(p.ended)
	return p.Conn.Close()
}

// startWire runs a wire in a synctest bubble: bytes written to in come out of out.
func startWire(w *wire, cut chan struct{}) (in net.Conn, out pipeEnd, done chan struct{}) {
	a, b := net.Pipe()
	c, d := net.Pipe()
	ended := make(chan struct{})
	from, to := pipeEnd{Conn: b, ended: make(chan struct{})}, pipeEnd{Conn: c, ended: ended}
	done = make(chan struct{})
	go func() {
		defer close(done)
		w.carry(to, from, cut, func() { b.Close(); c.Close() })
	}()
	return a, pipeEnd{Conn: d, ended: ended}, done
}

func TestDelayIsHalfTheRTT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, out, done := startWire(&wire{link: Link{RTT: 50 * time.Millisecond}}, make(chan struct{}))
		start := time.Now()
		if _, err := in.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if got, want := time.Since(start), 25*time.Millisecond; got != want {
			t.Errorf("delay: got %v, want %v", got, want)
		}
		in.Close()
		<-out.ended
		<-done
	})
}

// TestThroughputIsTheBandwidth: throughput equals the bandwidth, whatever the delay,
// since bytes are pipelined.
func TestThroughputIsTheBandwidth(t *testing.T) {
	for _, link := range []Link{
		{Bandwidth: 1_000_000},
		{Bandwidth: 100_000_000, RTT: 50 * time.Millisecond},
		{Bandwidth: 1_000_000_000, RTT: 300 * time.Millisecond},
		{RTT: 50 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			in, out, done := startWire(&wire{link: link}, make(chan struct{}))
			want := make([]byte, 4<<20+1)
			rand.NewChaCha8([32]byte{1}).Read(want)
			start := time.Now()
			go func() {
				in.Write(want)
				in.Close()
			}()
			got, err := io.ReadAll(out)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%+v: got %d bytes, %v, want the %d written", link, len(got), err, len(want))
			}
			<-done
			took, exact := time.Since(start), link.sendTime(len(want))+link.RTT/2
			if took < exact-time.Millisecond || took > exact+time.Millisecond {
				t.Errorf("%+v: %d bytes took %v, want %v", link, len(want), took, exact)
			}
		})
	}
}

// TestWireIsShared sends over two connections at once.
func TestWireIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{link: Link{Bandwidth: 8_000_000}}
		start := time.Now()
		var dones []chan struct{}
		for range 2 {
			in, out, done := startWire(w, make(chan struct{}))
			go func() {
				in.Write(make([]byte, 1_000_000))
				in.Close()
			}()
			go io.Copy(io.Discard, out)
			dones = append(dones, done)
		}
		for _, done := range dones {
			<-done
		}
		if got, want := time.Since(start), 2*time.Second; got < want-time.Millisecond || got > want+time.Millisecond {
			t.Errorf("2 MB at 8 Mbit/s: got %v, want %v", got, want)
		}
		if got, want := w.delivered.Load(), int64(2_000_000); got != want {
			t.Errorf("bytes: got %d, want %d", got, want)
		}
	})
}

// TestQueueIsBounded has a reader that reads nothing: the writer blocks.
func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := Link{Bandwidth: 10_000_000, RTT: 20 * time.Millisecond}
		in, out, done := startWire(&wire{link: link}, make(chan struct{}))
		written := 0
		stopped := make(chan error)
		go func() {
			for {
				n, err := in.Write(make([]byte, 1000))
				written += n
				if err != nil {
					stopped <- err
					return
				}
			}
		}()
		time.Sleep(time.Hour)
		in.SetDeadline(time.Now())
		if err := <-stopped; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the writer: got %v, want it to block until its deadline", err)
		}
		// Some chunks are being read, pushed and written.
		if low, high := link.buffer(), link.buffer()+4*chunkSize; written < low || written > high {
			t.Errorf("got %d bytes in flight, want %d to %d", written, low, high)
		}
		out.Close() // so that the write fails
		<-done
	})
}

// TestCutInFlight: a cut loses the bytes in flight.
func TestCutInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cut := make(chan struct{})
		in, out, done := startWire(&wire{link: Link{RTT: time.Minute}}, cut)
		if _, err := in.Write([]byte("lost")); err != nil {
			t.Fatal(err)
		}
		close(cut)
		if n, err := out.Read(make([]byte, 4)); n > 0 || err == nil {
			t.Errorf("got %d bytes, %v, want none and an error", n, err)
		}
		if _, err := in.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("write after the cut: got %v, want %v", err, io.ErrClosedPipe)
		}
		<-done
	})
}
