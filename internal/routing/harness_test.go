package routing

import (
	"context"
	"crypto/rand"
	"fmt"
	"iter"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/swarm"
	"github.com/ipfs/go-cid"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
)

// testContext returns a context that ends in five minutes, so that a test that hangs
// fails.
func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls until a condition holds.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	end := time.Now().Add(5 * time.Minute)
	for !is() {
		if time.Now().After(end) {
			b := make([]byte, 1<<20)
			os.Stderr.Write(b[:runtime.Stack(b, true)])
			t.Fatalf("%s: still false after five minutes", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// newSwarm makes a host on loopback.
func newSwarm(t testing.TB) *swarm.Swarm {
	t.Helper()
	s, err := swarm.New(context.Background(), swarm.Config{Local: true, Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close a swarm: %v", err)
		}
	})
	return s
}

// newRouter makes a router over a host of its own on loopback.
func newRouter(t testing.TB, c Config) *Router {
	t.Helper()
	if c.Host == nil {
		c.Host = newSwarm(t).Host()
	}
	c.Local = true
	r, err := New(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return r
}

// A server is a DHT server that runs plain kad-dht.
type server struct {
	host host.Host
	dht  *dht.IpfsDHT
}

func (s server) info() peer.AddrInfo { return peer.AddrInfo{ID: s.host.ID(), Addrs: s.host.Addrs()} }

// newServers makes a network of DHT servers that know each other.
func newServers(t testing.TB, n int) []server {
	t.Helper()
	servers := make([]server, n)
	for i := range servers {
		h := newSwarm(t).Host()
		d, err := dht.New(h, dht.Mode(dht.ModeServer))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		servers[i] = server{h, d}
		if i > 0 {
			if err := h.Connect(testContext(t), servers[0].info()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, s := range servers {
		eventually(t, "a server knows a peer", func() bool { return s.dht.RoutingTable().Size() > 0 })
	}
	for _, s := range servers[1:] {
		// A lookup of its own id makes a server known to the others.
		if _, err := s.dht.GetClosestPeers(testContext(t), string(s.host.ID())); err != nil {
			t.Fatal(err)
		}
	}
	return servers
}

func bootstrapInfos(servers []server) []peer.AddrInfo {
	return []peer.AddrInfo{servers[0].info(), servers[len(servers)/2].info()}
}

// newCID returns a CID that no peer has.
func newCID(t testing.TB) cid.Cid {
	t.Helper()
	b := make([]byte, 32)
	rand.Read(b)
	blk, err := block.New(cid.Raw, b)
	if err != nil {
		t.Fatal(err)
	}
	return blk.CID()
}

// collect returns all values of a sequence.
func collect[T any](seq iter.Seq2[T, error]) (all []T, err error) {
	for v, err := range seq {
		if err != nil {
			return all, err
		}
		all = append(all, v)
	}
	return all, nil
}

// first returns the first value of a sequence.
func first[T any](seq iter.Seq2[T, error]) (v T, err error) {
	for v, err := range seq {
		return v, err
	}
	return v, fmt.Errorf("the sequence is empty")
}

// goroutinesOf counts and lists the goroutines whose stacks contain one of the
// parts.
func goroutinesOf(parts ...string) (n int, which string) {
	b := make([]byte, 8<<20)
	b = b[:runtime.Stack(b, true)]
	for g := range strings.SplitSeq(string(b), "\n\n") {
		for _, part := range parts {
			if strings.Contains(g, part) && !strings.Contains(g, "testing.tRunner") {
				n++
				which += g + "\n\n"
				break
			}
		}
	}
	return n, which
}
