package kubo

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
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/store"
)

// raw opens a connection, sends text, and returns the connection and its reader.
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

// TestSilentClient begins a body and pauses: it gets an error, and the
// connection closes.
func TestSilentClient(t *testing.T) {
	d := newDaemonWith(t, nil, httpapi.Config{Idle: 50 * time.Millisecond})
	const begun = "--b\r\nContent-Disposition: form-data\r\n\r\n"
	for _, verb := range []string{"add", "block/put", "dag/import", "cairn/batch"} {
		_, r := d.raw(t, fmt.Sprintf(rawHead+"%x\r\n%s\r\n", verb, len(begun), begun))
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("%s: %v", verb, err)
		}
		body, _ := io.ReadAll(resp.Body) // it may be cut off
		if resp.StatusCode < 400 {
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

// TestRequestSmuggling sends a request inside a body that isn't read to its end:
// the server must not answer it.
func TestRequestSmuggling(t *testing.T) {
	d := newDaemonWith(t, nil, httpapi.Config{Idle: 50 * time.Millisecond})
	inner := fmt.Sprintf("POST /api/v0/pin/add?name=it&arg=%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
		d.add(t, []byte("x"), cairn.AddOptions{}).CID)
	for _, verb := range []string{"version", "add", "none", "cairn/batch", "cat?arg=x"} {
		for _, quiet := range []bool{false, true} {
			junk := strings.Repeat("x", 9<<20) // more than the server drains
			if quiet {
				junk = "x"
			}
			conn, r := d.raw(t, fmt.Sprintf("POST /api/v0/%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n",
				verb, len(junk)+10*len(inner)))
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				_, _ = io.WriteString(conn, junk) // as far as the server reads
				if !quiet {
					_, _ = io.WriteString(conn, inner)
				}
			}()
			if _, err := http.ReadResponse(r, nil); err == nil && quiet {
				_, _ = io.WriteString(conn, inner) // late, behind the answer
			}
			_, _ = io.Copy(io.Discard, r)
			conn.Close()
			<-sent
			if _, err := d.node.Resolve(t.Context(), "it"); !errors.Is(err, store.ErrNoAlias) {
				t.Fatalf("%s: a body was taken for a request, %v", verb, err)
			}
		}
	}
	_, r := d.raw(t, inner)
	if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("the request by itself: got %v, %v", resp, err)
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

// TestEndlessBody sends bodies without end to verbs that read none, and to those
// that do: each gets an answer, and the connection closes.
func TestEndlessBody(t *testing.T) {
	d := newDaemon(t, nil)
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

func TestOversizedArguments(t *testing.T) {
	d := newDaemon(t, nil)
	if a := d.post(t, "cat", "arg="+strings.Repeat("x", 500_000), "", nil); a.status != 400 {
		t.Errorf("a long argument: got status %d", a.status)
	}
	if a := d.post(t, "cat", "arg="+strings.Repeat("x", httpapi.MaxQuery), "", nil); a.status != 400 || !strings.Contains(a.body, "bytes of arguments") {
		t.Errorf("more than the most: got status %d: %.200s", a.status, a.body)
	}
	if a := d.post(t, "block/rm", strings.Repeat("arg=x&", 100_000), "", nil); a.status != 400 {
		t.Errorf("many arguments: got status %d: %.200s", a.status, a.body)
	}
	if a := d.post(t, "cat", "arg=x&"+strings.Repeat("a;b&", 1000), "", nil); a.status != 400 {
		t.Errorf("an invalid query: got status %d", a.status)
	}
	for _, query := range []string{"offset=-1", "length=-5", "offset=x", "offset=99999999999999999999", "offline=perhaps", "timeout=soon"} {
		if a := d.post(t, "cat", "arg=bafkqabtimvwgy3yk&"+query, "", nil); a.status != 400 {
			t.Errorf("%s: got status %d: %s", query, a.status, a.body)
		}
	}
}
