package control

import (
	"bytes"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
)

// A server is a node that is served over a Unix socket and TCP, as a daemon
// serves it, and can be used here, too.
type server struct {
	node             *cairn.Node
	here, unix, tcp  *Target
	url              string // of the API over TCP
	shutdowns, conns atomic.Int64
}

// serve serves a node. Nil: one in memory, without a network.
func serve(t testing.TB, n *cairn.Node) *server {
	t.Helper()
	if n == nil {
		n = newNode(t, cairn.Config{Offline: true})
	}
	s := &server{node: n, here: Local(n)}
	socket := filepath.Join(t.TempDir(), "api.sock")
	unix, err := httpapi.ListenUnix(socket)
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &http.Server{
		Handler: httpapi.NewServer(httpapi.Config{Codes: Codes()}, Verbs(n, func() { s.shutdowns.Add(1) })),
		ConnState: func(c net.Conn, state http.ConnState) {
			if state == http.StateNew && c.LocalAddr().Network() == "tcp" {
				s.conns.Add(1)
			}
		},
	}
	ended := make(chan error, 2)
	go func() { ended <- h.Serve(unix) }()
	go func() { ended <- h.Serve(tcp) }()
	t.Cleanup(func() {
		_ = h.Close()
		<-ended
		<-ended
	})
	s.url = "http://" + tcp.Addr().String()
	s.unix, s.tcp = dial(t, "unix:"+socket), dial(t, s.url)
	return s
}

// each runs a test on the node here, and on the daemon over both sockets.
func (s *server) each(t *testing.T, run func(t *testing.T, target *Target)) {
	t.Run("here", func(t *testing.T) { run(t, s.here) })
	t.Run("unix", func(t *testing.T) { run(t, s.unix) })
	t.Run("tcp", func(t *testing.T) { run(t, s.tcp) })
}

func newNode(t testing.TB, c cairn.Config) *cairn.Node {
	t.Helper()
	n, err := cairn.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return n
}

func dial(t testing.TB, address string) *Target {
	t.Helper()
	target, err := Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(target.Close)
	return target
}

// noise is random bytes, the same for the same seed.
func noise(size int, seed byte) []byte {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

func newBlock(t testing.TB, codec uint64, data []byte) block.Block {
	t.Helper()
	b, err := block.New(codec, data)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func addFile(t testing.TB, n *cairn.Node, data []byte, o cairn.AddOptions) cairn.AddResult {
	t.Helper()
	added, err := n.Add(t.Context(), bytes.NewReader(data), o)
	if err != nil {
		t.Fatal(err)
	}
	return added
}
