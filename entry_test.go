package cairn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/swarm"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2pswarm "github.com/libp2p/go-libp2p/p2p/net/swarm"
)

func TestEntry(t *testing.T) {
	refused := &libp2pswarm.DialError{DialErrors: []libp2pswarm.TransportError{
		{Cause: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}, {Cause: errors.New("further")},
	}}
	slow := &libp2pswarm.DialError{DialErrors: []libp2pswarm.TransportError{{Cause: context.DeadlineExceeded}}}
	nowhere := &libp2pswarm.DialError{Cause: libp2pswarm.ErrNoAddresses}
	why := "0 of %d bootstrap peers were reached: %s"
	for what, c := range map[string]struct {
		peers int
		tried []error
		want  time.Duration
		err   string
	}{
		"no peers":             {0, nil, 0, ""},
		"the second one":       {3, []error{refused, nil}, 0, ""},
		"all of them":          {2, []error{nil, nil}, 0, ""},
		"one and then none":    {2, []error{nil, refused}, 0, ""},
		"none of them":         {3, []error{refused, nowhere, refused}, 0, fmt.Sprintf(why, 3, syscall.ECONNREFUSED.Error()+" (2), no addresses")},
		"one that is silent":   {2, []error{refused}, entryTime, fmt.Sprintf(why, 2, syscall.ECONNREFUSED.Error()+", no answer")},
		"all of them are that": {3, []error{slow}, entryTime, fmt.Sprintf(why, 3, "no answer (3)")},
		"something long":       {1, []error{errors.New(strings.Repeat("x\n", maxReason))}, 0, fmt.Sprintf(why, 1, strings.Repeat("x ", maxReason/2)+"…")},
		"within a letter":      {1, []error{errors.New(strings.Repeat("x", maxReason-1) + "äh")}, 0, fmt.Sprintf(why, 1, strings.Repeat("x", maxReason-1)+"…")},
	} {
		synctest.Test(t, func(t *testing.T) {
			e := newEntry(c.peers, entryTime)
			for _, err := range c.tried {
				e.tried(err)
			}
			begin := time.Now()
			err := e.wait(t.Context())
			if got := fmt.Sprint(err); c.err != "" && got != c.err || c.err == "" && err != nil {
				t.Errorf("%s: got %v, want %q", what, err, c.err)
			}
			if took := time.Since(begin); took != c.want {
				t.Errorf("%s: it took %v, want %v", what, took, c.want)
			}
			begin = time.Now()
			if e.wait(t.Context()); time.Since(begin) != 0 || !e.isOver() {
				t.Errorf("%s: who asks again waited %v, want not at all", what, time.Since(begin))
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := newEntry(1, entryTime).wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
}

// mute returns addresses of peers that accept connections and say nothing.
func mute(t *testing.T, n int) (addrs []string) {
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

// A publisher has a block, and a name that leads to it.
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

// TestSilentBootstrap has bootstrap peers that accept connections and never say
// anything. Who is known otherwise is asked all the same, and questions to the
// DHT fail, all at one time, and say why.
func TestSilentBootstrap(t *testing.T) {
	ctx := t.Context()
	n := openNode(t, Config{Bootstrap: mute(t, 3)})
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
	// From then on nobody waits.
	if !n.net.entry.isOver() {
		t.Error("the network is still being entered")
	}
	for _, err := range n.FindProviders(ctx, b.CID()) {
		if !errors.Is(err, ErrNoPeers) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want ErrNoPeers and %q", err, want)
		}
	}
}

// TestNotYetEntered has a network that is being entered for as long as the test
// runs: what waited for it would never end.
func TestNotYetEntered(t *testing.T) {
	ctx := t.Context()
	theirs, addr, b, record := publisher(t)
	id, err := theirs.ID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	entering := func(t *testing.T, c Config) *Node {
		n := openNode(t, c)
		net, err := n.online(ctx)
		if err != nil {
			t.Fatal(err)
		}
		net.entry = newEntry(1, 24*time.Hour) // nothing has looked at it yet
		return n
	}
	t.Run("a peer by its address", func(t *testing.T) {
		n := entering(t, Config{Routing: RoutingNone})
		for _, err := range n.Sync(ctx, b.CID(), SyncOptions{From: []string{addr}}) {
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("a peer that connects meanwhile", func(t *testing.T) {
		n := entering(t, Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Routing: RoutingNone})
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
		n := entering(t, Config{Routing: RoutingDelegated, Delegated: []string{router.URL}})
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
