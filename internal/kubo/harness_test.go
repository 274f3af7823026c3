package kubo

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
)

// A daemon serves Kubo's verbs and ours over TCP.
type daemon struct {
	node *cairn.Node
	url  string
}

// newDaemon serves a node in memory without a network, unless n is one already.
func newDaemon(t testing.TB, n *cairn.Node) *daemon {
	t.Helper()
	return newDaemonWith(t, n, httpapi.Config{})
}

func newDaemonWith(t testing.TB, n *cairn.Node, c httpapi.Config) *daemon {
	t.Helper()
	if n == nil {
		n = newNode(t, cairn.Config{Offline: true})
	}
	web := httptest.NewServer(newServer(n, c))
	t.Cleanup(web.Close)
	return &daemon{n, web.URL}
}

func newServer(n *cairn.Node, c httpapi.Config) *httpapi.Server {
	c.Codes = control.Codes()
	return httpapi.NewServer(c, Verbs(n, Config{Version: "9.9"}), control.Verbs(n, nil))
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

// An answer is the whole answer to a request.
type answer struct {
	status  int
	header  http.Header
	trailer http.Header
	body    string
}

// post sends a request as a foreign program does. Query is "arg=…&…".
func (d *daemon) post(t testing.TB, verb, query, contentType string, body io.Reader) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.url+httpapi.Prefix+verb+"?"+query, body)
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, resp.Trailer, string(text)}
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

// noise returns random bytes, the same for the same seed.
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

// add adds a file to the daemon's node.
func (d *daemon) add(t testing.TB, data []byte, o cairn.AddOptions) cairn.AddResult {
	t.Helper()
	a, err := d.node.Add(t.Context(), bytes.NewReader(data), o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
