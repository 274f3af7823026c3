package cairn

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/swarm"
	"github.com/libp2p/go-libp2p/core/peer"
)

// silentPeers returns addresses that accept connections and never answer.
func silentPeers(t *testing.T, n int) (addrs []string) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		addrs = append(addrs, fmt.Sprintf("/ip4/127.0.0.1/tcp/%d/p2p/%s", l.Addr().(*net.TCPAddr).Port, newPeerID(t)))
	}
	return addrs
}

func newPeerID(t *testing.T) peer.ID {
	key, err := swarm.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func openNode(t *testing.T, c Config) *Node {
	t.Helper()
	c.Local = true
	n, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// publisher returns a node with a block, and a name that leads to it.
func publisher(t *testing.T) (n *Node, addr string, b block.Block, record NameRecord) {
	t.Helper()
	n = openNode(t, Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Routing: RoutingNone})
	b, err := block.New(block.Raw, []byte("block"))
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Put(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	record, err = n.PublishName(t.Context(), "", b.CID().String(), PublishOptions{Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := n.Addrs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n, addrs[0].String(), b, record
}

// TestSilentBootstrap has bootstrap peers that accept connections and never
// answer. Requests that need the DHT fail together and say why.
func TestSilentBootstrap(t *testing.T) {
	ctx := t.Context()
	n := openNode(t, Config{Bootstrap: silentPeers(t, 3)})
	b, err := block.New(block.Raw, []byte("wanted"))
	if err != nil {
		t.Fatal(err)
	}
	mine, err := block.New(block.Raw, []byte("mine"))
	if err != nil {
		t.Fatal(err)
	}
	id := newPeerID(t)
	ended := make(chan error)
	asks := []func() error{
		func() error {
			for _, err := range n.FindProviders(ctx, b.CID()) {
				return err
			}
			return nil
		},
		func() error { _, err := n.Fetch(ctx, b.CID()); return err },
		func() error { _, err := n.GetRecord(ctx, "/ipns/"+id.String()); return err },
		func() error { _, err := n.ResolveName(ctx, id.String(), ResolveOptions{Latest: true}); return err },
		func() error { return n.Provide(ctx, mine.CID()) },
		func() error { _, err := n.PublishName(ctx, "", b.CID().String(), PublishOptions{}); return err },
	}
	for _, ask := range asks {
		go func() { ended <- ask() }()
	}
	const want = "0 of 3 bootstrap peers were reached: no answer (3)"
	for range asks {
		if err := <-ended; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	// From then on nothing waits.
	if !n.net.bootstrap.IsOver() {
		t.Error("the bootstrap is not over")
	}
	for _, err := range n.FindProviders(ctx, b.CID()) {
		if !errors.Is(err, ErrNoPeers) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want ErrNoPeers and %q", err, want)
		}
	}
}

// TestDuringBootstrap has bootstrap peers that accept connections and never answer.
// What does not need them must end before the bootstrap does.
func TestDuringBootstrap(t *testing.T) {
	ctx := t.Context()
	theirs, addr, b, record := publisher(t)
	id, err := theirs.ID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	open := func(t *testing.T, c Config) *Node {
		c.Bootstrap = silentPeers(t, 1)
		n := openNode(t, c)
		net, err := n.network(ctx)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if net.bootstrap.IsOver() {
				t.Error("the bootstrap ended before the test did")
			}
		})
		return n
	}
	t.Run("a peer by its address", func(t *testing.T) {
		n := open(t, Config{Routing: RoutingNone})
		for _, err := range n.Sync(ctx, b.CID(), SyncOptions{From: []string{addr}}) {
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("a peer that connects meanwhile", func(t *testing.T) {
		n := open(t, Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Routing: RoutingNone})
		addrs, err := n.Addrs(ctx)
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan error, 2)
		go func() { _, err := n.Fetch(ctx, b.CID()); got <- err }()
		go func() { _, err := n.ResolveName(ctx, id.String(), ResolveOptions{}); got <- err }()
		if _, err := theirs.Connect(ctx, addrs[0].String()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := <-got; err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("a delegated router", func(t *testing.T) {
		put := make(chan bool, 1)
		router := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodPut:
				put <- true
			case strings.HasPrefix(r.URL.Path, "/routing/v1/ipns/"+record.Name):
				w.Header().Set("Content-Type", "application/vnd.ipfs.ipns-record")
				w.Write(record.Raw)
			case strings.HasPrefix(r.URL.Path, "/routing/v1/providers/"):
				w.Header().Set("Content-Type", "application/x-ndjson")
				at, _, _ := strings.Cut(addr, "/p2p/")
				fmt.Fprintf(w, `{"Schema":"peer","ID":%q,"Addrs":[%q],"Protocols":["transport-bitswap"]}`+"\n", id, at)
			default:
				http.NotFound(w, r)
			}
		}))
		defer router.Close()
		n := open(t, Config{Routing: RoutingDelegated, Delegated: []string{router.URL}})
		r, err := n.ResolveName(ctx, record.Name, ResolveOptions{})
		if err != nil || !r.Root.Equals(b.CID()) {
			t.Fatalf("resolve: got %+v, %v, want %s", r, err, b.CID())
		}
		if _, err := n.Fetch(ctx, r.Root); err != nil {
			t.Errorf("fetch: %v", err)
		}
		if _, err := n.PutNameRecord(ctx, record.Name, record.Raw); err != nil {
			t.Error(err)
		}
		<-put
	})
}
