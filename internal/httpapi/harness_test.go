package httpapi

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// serve serves verbs over TCP, and returns the API's URL.
func serve(t testing.TB, c Config, verbs map[string]Verb) (url string) {
	t.Helper()
	web := httptest.NewServer(NewServer(c, verbs))
	t.Cleanup(web.Close)
	return web.URL
}

// serveUnix serves verbs over a Unix socket, and returns a client for it.
func serveUnix(t testing.TB, c Config, verbs map[string]Verb) *http.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "api.sock")
	l, err := ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: NewServer(c, verbs)}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return DialUnix(ctx, &net.Dialer{}, path)
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Close()
		<-ended
	})
	return &http.Client{Transport: transport}
}

// An answer is the whole answer to a request.
type answer struct {
	status  int
	header  http.Header
	trailer http.Header
	body    string
}

// post sends a request. Headers are pairs of name and value.
func post(t testing.TB, url string, body io.Reader, header ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, body)
	if err != nil {
		t.Fatal(err)
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
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, resp.Trailer, string(text)}
}

// dialRaw connects to the server at url, and sends text. A read that lasts for
// too long fails.
func dialRaw(t *testing.T, url, text string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// version is a verb that answers with one value.
func version(c *Call) error { return c.Value("1") }

// count is a verb that reads its body, and answers with the number of bytes.
func count(c *Call) error {
	n, err := io.Copy(io.Discard, c.Body())
	if err != nil {
		return err
	}
	return c.Value(n)
}
