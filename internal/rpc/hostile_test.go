package rpc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/car"
	"github.com/cairn-ipfs/cairn/store"
)

func TestWhoMayAsk(t *testing.T) {
	d := newDaemon(t, nil, Config{Hosts: []string{"node.example"}, Origins: []string{"https://page.example"}})
	for _, tt := range []struct {
		what   string
		header []string
		want   int
	}{
		{"a program", nil, 200},
		{"curl", []string{"User-Agent", "curl/8.0"}, 200},
		{"an allowed page", []string{"Origin", "https://page.example", "User-Agent", "Mozilla/5.0"}, 200},
		{"an allowed page's form", []string{"Referer", "https://page.example/form"}, 200},
		{"a page", []string{"Origin", "https://evil.example", "User-Agent", "Mozilla/5.0"}, 403},
		{"a page on this machine", []string{"Origin", "http://localhost:3000"}, 403},
		{"a page of a file", []string{"Origin", "null"}, 403},
		{"an empty origin", []string{"Origin", ""}, 403},
		{"a prefix of an allowed origin", []string{"Origin", "https://page.example.evil.example"}, 403},
		{"an allowed origin by another scheme", []string{"Origin", "http://page.example"}, 403},
		{"a page's form", []string{"Referer", "https://evil.example/form"}, 403},
		{"a strange referer", []string{"Referer", "::"}, 403},
		{"a browser that says nothing", []string{"User-Agent", "Mozilla/5.0 (X11)"}, 403},
		{"a fetch that says nothing", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"localhost", []string{"Host", "localhost:1234"}, 200},
		{"loopback of version 6", []string{"Host", "[::1]:5001"}, 200},
		{"a configured name", []string{"Host", "Node.Example:80"}, 200},
		{"a rebound name", []string{"Host", "evil.example"}, 403},
		{"a rebound name with a port", []string{"Host", "evil.example:5001"}, 403},
		{"somebody else's address", []string{"Host", "192.0.2.1:5001"}, 403},
		{"a name that looks like loopback", []string{"Host", "127.0.0.1.evil.example"}, 403},
	} {
		a := d.post(t, "version", "", "", nil, tt.header...)
		if a.status != tt.want {
			t.Errorf("%s: got status %d, want %d: %s", tt.what, a.status, tt.want, a.body)
		}
		if a.status == 403 && (!strings.Contains(a.body, `"Code":4,"Type":"error"`) || a.header.Get("Access-Control-Allow-Origin") != "") {
			t.Errorf("%s: got %s with %v", tt.what, a.body, a.header)
		}
	}
	if a := d.post(t, "version", "", "", nil, "Origin", "https://page.example"); a.header.Get("Access-Control-Allow-Origin") != "https://page.example" {
		t.Errorf("an allowed page: got %v", a.header)
	}
	for _, tt := range []struct {
		method, path, origin string
		want                 int
	}{
		{"GET", "/api/v0/version", "", 405},
		{"PUT", "/api/v0/version", "", 405},
		{"HEAD", "/api/v0/version", "", 405},
		{"OPTIONS", "/api/v0/version", "", 405},
		{"OPTIONS", "/api/v0/version", "https://page.example", 204},
		{"OPTIONS", "/api/v0/version", "https://evil.example", 403},
		{"POST", "/api/v0/none", "", 404},
		{"POST", "/api/v0/", "", 404},
		{"POST", "/", "", 404},
		{"POST", "/api/v1/version", "", 404},
		{"POST", "/api/v0/version/", "", 200},
		{"POST", "/api/v0/../v0/version", "", 404},
	} {
		r, err := http.NewRequest(tt.method, d.url+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tt.origin != "" {
			r.Header.Set("Origin", tt.origin)
		}
		if a := do(t, http.DefaultClient, r); a.status != tt.want {
			t.Errorf("%s %s from %q: got status %d, want %d", tt.method, tt.path, tt.origin, a.status, tt.want)
		}
	}
}

// TestManyRequests uses a connection again for 10,000 requests of all kinds.
func TestManyRequests(t *testing.T) {
	d := newDaemon(t, nil, Config{})
	key := newBlock(t, block.Raw, []byte("x"))
	if err := d.node.Put(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	absent := newBlock(t, block.Raw, []byte("absent")).CID()
	for i := range 10_000 {
		var err error
		switch i % 4 {
		case 0:
			_, err = d.tcp.Size(t.Context(), key.CID())
		case 1:
			_, err = d.tcp.Get(t.Context(), key.CID())
		case 2:
			if _, err = d.tcp.Get(t.Context(), absent); err != nil {
				err = nil // an error leaves the connection usable
			}
		case 3:
			// A body that the verb doesn't read.
			r := request{verb: "version", body: strings.NewReader("nobody wants this"), content: "text/plain"}
			err = d.tcp.call(t.Context(), r, nil)
		}
		if err != nil {
			t.Fatal(i, err)
		}
	}
	// net/http itself gives up a connection whose writer isn't scheduled within
	// 50 ms of the answer. What we leave unusable, we leave so each time.
	if n := d.conns.Load(); n > 100 {
		t.Errorf("got %d connections for 10,000 requests, want one or a few", n)
	}
}

// raw speaks to the server without a client's good manners.
func (d *daemon) raw(t *testing.T, text string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(d.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

const rawHead = "POST /api/v0/%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\nTransfer-Encoding: chunked\r\n\r\n"

// TestSilentClient begins a body, and says nothing more: it is told, and left.
func TestSilentClient(t *testing.T) {
	d := newDaemon(t, nil, Config{Idle: 50 * time.Millisecond})
	const begun = "--b\r\nContent-Disposition: form-data\r\n\r\n"
	for _, verb := range []string{"add", "block/put", "dag/import", "cairn/batch", "cairn/add?arg=-"} {
		_, r := d.raw(t, fmt.Sprintf(rawHead+"%x\r\n%s\r\n", verb, len(begun), begun))
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("%s: %v", verb, err)
		}
		body, _ := io.ReadAll(resp.Body) // which may be cut off
		if resp.StatusCode < 400 && !bytes.Contains(body, []byte(`"failed":{"message":`)) {
			t.Errorf("%s: got status %d, want an error: %s", verb, resp.StatusCode, body)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Errorf("%s: the connection stays open: %v", verb, err)
		}
	}
	if n := d.blocks(t); n != 0 {
		t.Errorf("got %d live blocks, want none", n)
	}
}

// TestNothingIsSmuggled sends a request inside of a body that isn't read to its
// end: it must not be taken for the next one.
func TestNothingIsSmuggled(t *testing.T) {
	d := newDaemon(t, nil, Config{Idle: 50 * time.Millisecond})
	inner := fmt.Sprintf("POST /api/v0/cairn/alias/set?arg=it&arg=%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
		newBlock(t, block.Raw, []byte("x")).CID())
	for _, verb := range []string{"version", "add", "none", "cairn/batch", "cairn/add?arg=-", "cat?arg=x"} {
		for _, quiet := range []bool{false, true} {
			junk := strings.Repeat("x", maxDrained+1)
			if quiet {
				junk = "x"
			}
			conn, r := d.raw(t, fmt.Sprintf("POST /api/v0/%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n",
				verb, len(junk)+10*len(inner)))
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				_, _ = io.WriteString(conn, junk) // as far as the server takes it
				if !quiet {
					_, _ = io.WriteString(conn, inner)
				}
			}()
			if _, err := http.ReadResponse(r, nil); err == nil && quiet {
				_, _ = io.WriteString(conn, inner) // late, when the answer is here
			}
			_, _ = io.Copy(io.Discard, r)
			conn.Close()
			<-sent
			if _, err := d.node.Resolve(t.Context(), "it"); !errors.Is(err, store.ErrNoAlias) {
				t.Fatalf("%s: a body was taken for a request, %v", verb, err)
			}
		}
	}
}

func (d *daemon) blocks(t *testing.T) int64 {
	t.Helper()
	st, err := d.node.Store().Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st.LiveBlocks
}

// TestDeafClient asks for much, and reads nothing: the server gives up.
func TestDeafClient(t *testing.T) {
	d := newDaemon(t, nil, Config{Idle: 100 * time.Millisecond})
	file := d.added(t, noise(64<<20, 1), cairn.AddOptions{})
	server := NewServer(d.node, Config{Idle: 100 * time.Millisecond})
	ended := make(chan struct{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		server.ServeHTTP(w, r)
	})}
	served := make(chan error, 1)
	go func() { served <- h.Serve(l) }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /api/v0/cat?arg=%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", file.CID)
	<-ended
	_ = h.Close()
	<-served
}

// TestEndlessBody sends bodies without end to verbs that read none, and to those
// that do: each ends, and the connection with it.
func TestEndlessBody(t *testing.T) {
	d := newDaemon(t, nil, Config{})
	for _, verb := range []string{"version", "none", "cat?arg=x", "block/put", "dag/put", "dag/import", "cairn/batch", "add?chunker=knife"} {
		conn, r := d.raw(t, fmt.Sprintf(rawHead, verb))
		go func() {
			part := "--b\r\nContent-Disposition: form-data; name=\"blocks\"\r\n\r\n"
			fmt.Fprintf(conn, "%x\r\n%s\r\n", len(part), part)
			junk := bytes.Repeat([]byte("["), 1<<16)
			for {
				if _, err := fmt.Fprintf(conn, "%x\r\n%s\r\n", len(junk), junk); err != nil {
					return
				}
			}
		}()
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Errorf("%s: %v", verb, err)
			continue
		}
		if verb != "version" && resp.StatusCode < 400 {
			t.Errorf("%s: got status %d", verb, resp.StatusCode)
		}
		_, _ = io.Copy(io.Discard, r) // until the server closes, however it does
	}
}

// TestCutBatch ends the body of a batch at many places: nothing of it is done.
func TestCutBatch(t *testing.T) {
	d := newDaemon(t, nil, Config{})
	k := newBlock(t, block.Raw, noise(1000, 1))
	var body bytes.Buffer
	body.WriteString("--b\r\nContent-Disposition: form-data; name=\"changes\"\r\n\r\n" +
		`{"alias":"it","cid":"` + k.CID().String() + `"}` + "\n\r\n--b\r\nContent-Disposition: form-data; name=\"blocks\"\r\n\r\n")
	w, err := car.NewWriter(&body, nil)
	if err == nil {
		err = w.Put(k)
	}
	if err != nil {
		t.Fatal(err)
	}
	body.WriteString("\r\n--b--\r\n")
	whole := body.Bytes()
	end := len(whole) - len("--\r\n") // that it ended is said before
	for n := 0; n < end; n += 1 + n/20 {
		a := d.post(t, "cairn/batch", "", "multipart/form-data; boundary=b", bytes.NewReader(whole[:n]))
		if a.status < 400 {
			t.Fatalf("the first %d of %d bytes: got status %d", n, len(whole), a.status)
		}
		if _, err := d.node.Resolve(t.Context(), "it"); !errors.Is(err, store.ErrNoAlias) {
			t.Fatalf("the first %d of %d bytes: an alias is set, %v", n, len(whole), err)
		}
	}
	if a := d.post(t, "cairn/batch", "", "multipart/form-data; boundary=b", bytes.NewReader(whole)); a.status != 200 {
		t.Errorf("whole: got status %d: %s", a.status, a.body)
	}
	for _, bad := range []string{
		`{"alias":"it"}`, `[]`, `{`, `{"alias":"x","cid":"y"}`, `{"remove":5}`, `{"remove":"none"}`,
		`{"alias":"x","cid":"` + k.CID().String() + `","selection":{"skip":["y"]}}`,
	} {
		text := "--b\r\nContent-Disposition: form-data; name=\"changes\"\r\n\r\n" + bad + "\r\n--b--\r\n"
		if a := d.post(t, "cairn/batch", "", "multipart/form-data; boundary=b", strings.NewReader(text)); a.status < 400 {
			t.Errorf("%s: got status %d", bad, a.status)
		}
	}
	// Blocks that aren't what they claim.
	copied := bytes.Clone(whole)
	copied[len(copied)-100] ^= 1
	if a := d.post(t, "cairn/batch", "", "multipart/form-data; boundary=b", bytes.NewReader(copied)); a.status != 500 || !strings.Contains(a.body, "hash-mismatch") {
		t.Errorf("forged: got status %d: %s", a.status, a.body)
	}
	if a := d.post(t, "cairn/batch", "", "text/plain", strings.NewReader("x")); a.status != 400 {
		t.Errorf("no form: got status %d", a.status)
	}
	if a := d.post(t, "cairn/batch", "", "multipart/form-data; boundary=b", strings.NewReader("--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n\r\n--b--\r\n")); a.status != 400 {
		t.Errorf("a strange part: got status %d", a.status)
	}
}

func TestTooMuch(t *testing.T) {
	d := newDaemon(t, nil, Config{})
	if a := d.post(t, "cat", "arg="+strings.Repeat("x", 500_000), "", nil); a.status != 400 {
		t.Errorf("a long argument: got status %d", a.status)
	}
	if a := d.post(t, "cat", "arg="+strings.Repeat("x", maxQuery), "", nil); a.status != 400 || !strings.Contains(a.body, "bytes of arguments") {
		t.Errorf("a longer one: got status %d: %.200s", a.status, a.body)
	}
	if a := d.post(t, "block/rm", strings.Repeat("arg=x&", 100_000), "", nil); a.status != 400 {
		t.Errorf("many arguments: got status %d: %.200s", a.status, a.body)
	}
	if a := d.post(t, "cat", "arg=x&"+strings.Repeat("a;b&", 1000), "", nil); a.status != 400 {
		t.Errorf("a strange query: got status %d", a.status)
	}
	for _, query := range []string{"offset=-1", "length=-5", "offset=x", "offset=99999999999999999999", "offline=perhaps", "timeout=soon"} {
		if a := d.post(t, "cat", "arg=bafkqabtimvwgy3yk&"+query, "", nil); a.status != 400 {
			t.Errorf("%s: got status %d: %s", query, a.status, a.body)
		}
	}
	if _, err := d.tcp.GetAlias(t.Context(), strings.Repeat("x", maxQuery)); err == nil || !strings.Contains(err.Error(), "too many for the daemon") {
		t.Errorf("the client sent it: %v", err)
	}

	// No more at once than there are places.
	full := NewServer(d.node, Config{})
	for range maxCalls {
		full.calls <- struct{}{}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &http.Server{Handler: full}
	served := make(chan error, 1)
	go func() { served <- h.Serve(l) }()
	r, err := http.NewRequest("POST", "http://"+l.Addr().String()+"/api/v0/version", nil)
	if err != nil {
		t.Fatal(err)
	}
	if a := do(t, http.DefaultClient, r); a.status != http.StatusServiceUnavailable {
		t.Errorf("got status %d, want 503", a.status)
	}
	<-full.calls
	if a := do(t, http.DefaultClient, r); a.status != 200 {
		t.Errorf("with a place: got status %d", a.status)
	}
	_ = h.Close()
	<-served
}

// TestHostilePaths adds files whose names lead elsewhere.
func TestHostilePaths(t *testing.T) {
	d := newDaemon(t, nil, Config{})
	for _, name := range []string{"../x", "..%2fx", "a/../../x", "%2e%2e/x", "a%00b/c"} {
		text := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + name + "\"\r\n\r\nx\r\n--b--\r\n"
		if a := d.post(t, "add", "", "multipart/form-data; boundary=b", strings.NewReader(text)); a.status != 400 {
			t.Errorf("%s: got status %d: %s", name, a.status, a.body)
		}
	}
	// Not hostile, only strange.
	for name, want := range map[string]string{"/a//b": "a/b", "./c": "c", "100%": "100%", "d/.": "d"} {
		if got, err := partPath(`form-data; filename="` + name + `"`); got != want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
}
