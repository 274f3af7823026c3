package swarm

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cairn-ipfs/cairn/internal/simnet"
)

// multiaddr converts host:port to a multiaddr of TCP.
func multiaddr(t testing.TB, hostPort string) ma.Multiaddr {
	t.Helper()
	tcp, err := net.ResolveTCPAddr("tcp", hostPort)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := manet.FromNetAddr(tcp)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// TestWindow writes to a stream that is not read, in both directions, until the
// window is full. The window is streamWindow on streams that the reader opened; on
// those that the writer opened, too, since sockets buffer what the inbox does not
// admit.
func TestWindow(t *testing.T) {
	const stuck protocol.ID = "/test/stuck"
	a, b := newLocal(t, Config{}), newLocal(t, Config{})
	streams := make(chan network.Stream, 1)
	for _, s := range []*Swarm{a, b} {
		s.host.SetStreamHandler(stuck, func(s network.Stream) {
			s.Write([]byte{1})
			streams <- s
		})
	}
	connect(t, a, b)
	for _, pair := range [][2]*Swarm{{a, b}, {b, a}} {
		s, err := pair[0].host.NewStream(testContext(t), pair[1].ID(), stuck)
		if err != nil {
			t.Fatal(err)
		}
		// One byte each way, so that the windows have been announced.
		if _, err := s.Write(nil); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		other := <-streams
		for name, s := range map[string]network.Stream{"opened": s, "accepted": other} {
			// The protocol's name used some bytes of it.
			defer context.AfterFunc(testContext(t), func() { s.Reset() })()
			if n, err := s.Write(make([]byte, streamWindow-1024)); err != nil {
				t.Fatalf("%s: stuck after %d bytes, %v, want a window of %d", name, n, err, streamWindow)
			}
			s.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			if n, err := s.Write(make([]byte, 1024)); !isTimeout(err) {
				t.Errorf("%s: wrote %d more bytes, %v, want a window of %d", name, n, err, streamWindow)
			}
		}
		s.Reset()
		other.Reset()
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || (errors.As(err, &timeout) && timeout.Timeout())
}

// TestTooManyStreams opens more streams than a peer may: the rest are refused, and
// the connection stays. A peer that we use may have more.
func TestTooManyStreams(t *testing.T) {
	const waits protocol.ID = "/ipfs/bitswap/1.2.0" // other protocols have a lower limit
	for _, c := range []struct {
		name  string
		used  bool
		limit int
	}{
		{"a stranger", false, strangerStreams},
		{"a peer that we use", true, bitswapStreams},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newLocal(t, Config{})
			a.host.SetStreamHandler(waits, func(s network.Stream) { s.Write([]byte{1}) })
			b, err := libp2p.New(libp2p.NoListenAddrs, libp2p.DisableMetrics(), libp2p.ResourceManager(&network.NullResourceManager{}))
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			if err := b.Connect(testContext(t), peer.AddrInfo{ID: a.ID(), Addrs: a.host.Addrs()}); err != nil {
				t.Fatal(err)
			}
			if c.used {
				a.host.ConnManager().Protect(b.ID(), "test")
			}
			refused := 0
			for range c.limit + 10 {
				s, err := b.NewStream(testContext(t), a.ID(), waits)
				if err == nil {
					s.Write(nil)
					_, err = io.ReadFull(s, make([]byte, 1))
				}
				if err != nil {
					refused++
				}
			}
			// Identify may use some at the moment.
			if refused < 10 || refused > 15 {
				t.Errorf("refused: got %d, want 10 to 15", refused)
			}
			if info := a.Peer(b.ID()); info.Connections != 1 {
				t.Errorf("got %+v, want the connection still open", info)
			}
			if s, err := a.host.NewStream(testContext(t), b.ID(), "/ipfs/ping/1.0.0"); err != nil {
				t.Errorf("a stream in the other direction: %v", err)
			} else {
				s.Reset()
			}
		})
	}
}

// BenchmarkStream sends 8 MiB over a line of 100 Mbit/s and 50 ms: the window has
// to be larger than the bytes in flight.
func BenchmarkStream(b *testing.B) {
	const sink protocol.ID = "/test/sink"
	link := simnet.Link{RTT: 50 * time.Millisecond, Bandwidth: 100_000_000}
	from, to := newLocal(b, Config{}), newLocal(b, Config{})
	port, _ := to.net.ListenAddresses()[0].ValueForProtocol(ma.P_TCP)
	proxy, err := simnet.NewProxy("127.0.0.1:"+port, link)
	if err != nil {
		b.Fatal(err)
	}
	defer proxy.Close()
	to.host.SetStreamHandler(sink, func(s network.Stream) {
		io.Copy(io.Discard, s)
		s.Close()
	})
	if err := from.Connect(testContext(b), peer.AddrInfo{ID: to.ID(), Addrs: []ma.Multiaddr{multiaddr(b, proxy.Addr())}}); err != nil {
		b.Fatal(err)
	}
	data := make([]byte, 8<<20)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		s, err := from.host.NewStream(testContext(b), to.ID(), sink)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Write(data); err != nil {
			b.Fatal(err)
		}
		s.CloseWrite()
		if _, err := io.ReadAll(s); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(data))*8*float64(b.N)/b.Elapsed().Seconds()/float64(link.Bandwidth)*100, "%ofline")
}

// BenchmarkNew makes and closes a swarm that listens on all transports.
func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		s, err := New(context.Background(), Config{Local: true, Listen: []string{onTCP, onTCP + "/ws", onQUIC, onQUIC + "/webtransport"}})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		s.Close()
		b.StartTimer()
	}
}
