package rpc

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
)

// A daemon is a server that listens at a Unix socket and at TCP.
type daemon struct {
	node  *cairn.Node
	unix  *Client
	tcp   *Client
	url   string       // of the API over TCP
	conns atomic.Int64 // that were opened over TCP
}

// newDaemon serves a node in memory, without a network, unless n is one already.
func newDaemon(t testing.TB, n *cairn.Node, c Config) *daemon {
	t.Helper()
	if n == nil {
		n = newNode(t, cairn.Config{Offline: true})
	}
	d := &daemon{node: n}
	server := NewServer(n, c)
	socket := filepath.Join(t.TempDir(), "api.sock")
	unix, err := ListenUnix(socket)
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &http.Server{Handler: server, ConnState: func(c net.Conn, s http.ConnState) {
		if s == http.StateNew && c.LocalAddr().Network() == "tcp" {
			d.conns.Add(1)
		}
	}}
	ended := make(chan error, 2)
	go func() { ended <- h.Serve(unix) }()
	go func() { ended <- h.Serve(tcp) }()
	t.Cleanup(func() {
		_ = h.Close()
		<-ended
		<-ended
	})
	d.url = "http://" + tcp.Addr().String()
	d.unix, d.tcp = dial(t, "unix:"+socket), dial(t, d.url)
	return d
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

func dial(t testing.TB, address string) *Client {
	t.Helper()
	c, err := Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// both runs a test over the Unix socket and over TCP.
func (d *daemon) both(t *testing.T, run func(t *testing.T, c *Client)) {
	t.Run("unix", func(t *testing.T) { run(t, d.unix) })
	t.Run("tcp", func(t *testing.T) { run(t, d.tcp) })
}

// An answer is what a raw request got.
type answer struct {
	status  int
	header  http.Header
	trailer http.Header
	body    string
}

// post asks as a program of somebody else's does: query is "arg=…&…".
func (d *daemon) post(t testing.TB, verb, query, contentType string, body io.Reader, header ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.url+Prefix+verb+"?"+query, body)
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	return do(t, http.DefaultClient, r)
}

func do(t testing.TB, c *http.Client, r *http.Request) answer {
	t.Helper()
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, resp.Trailer, string(body)}
}

// ask posts without a body, and expects status 200.
func (d *daemon) ask(t testing.TB, verb string, query ...string) answer {
	t.Helper()
	q := url.Values{}
	for i := 0; i+1 < len(query); i += 2 {
		q.Add(query[i], query[i+1])
	}
	a := d.post(t, verb, q.Encode(), "", nil)
	if a.status != http.StatusOK {
		t.Fatalf("%s %v: got status %d: %s", verb, query, a.status, a.body)
	}
	return a
}

// equalJSON compares lines of JSON.
func equalJSON(t testing.TB, what, got string, want ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(got), "\n")
	if len(lines) != len(want) {
		t.Errorf("%s: got %d lines, want %d:\n%s", what, len(lines), len(want), got)
		return
	}
	for i := range lines {
		if g, w := compact(t, lines[i]), compact(t, want[i]); g != w {
			t.Errorf("%s:\ngot  %s\nwant %s", what, g, w)
		}
	}
}

// compact writes JSON with its keys in order.
func compact(t testing.TB, s string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
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

// added adds a file to the daemon's node.
func (d *daemon) added(t testing.TB, data []byte, o cairn.AddOptions) cairn.AddResult {
	t.Helper()
	a, err := d.node.Add(t.Context(), bytes.NewReader(data), o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
