package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// bodyVerbs don't read their body, read it whole, and read a part of it.
var bodyVerbs = map[string]Verb{
	"ignore": {Run: version},
	"read":   {Run: count, Body: true},
	"begin": {Body: true, Run: func(c *Call) error {
		if _, err := io.ReadFull(c.Body(), make([]byte, 10)); err != nil {
			return err
		}
		return c.Value("enough")
	}},
	"refuse": {Body: true, Run: func(*Call) error { return BadRequest("no") }},
}

func chunkedHead(verb string) string {
	return "POST " + Prefix + verb + " HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
}

func TestBodies(t *testing.T) {
	url := serve(t, Config{}, bodyVerbs) + Prefix
	big := strings.Repeat("x", 1<<20)
	for verb, want := range map[string]string{"ignore": `"1"`, "read": "1048576", "begin": `"enough"`, "refuse": "no"} {
		if a := post(t, url+verb, strings.NewReader(big)); !strings.Contains(a.body, want) {
			t.Errorf("%s: got status %d: %s, want %s", verb, a.status, a.body, want)
		}
	}
}

// TestSilentClient begins a body and pauses: it gets an answer, and the
// connection closes.
func TestSilentClient(t *testing.T) {
	url := serve(t, Config{Idle: 50 * time.Millisecond}, bodyVerbs)
	for verb, want := range map[string]int{"ignore": 200, "read": 500, "begin": 500, "refuse": 400, "none": 404} {
		_, r := dialRaw(t, url, chunkedHead(verb)+"5\r\nbegun\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("%s: %v", verb, err)
		}
		if resp.StatusCode != want {
			t.Errorf("%s: got status %d, want %d", verb, resp.StatusCode, want)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Errorf("%s: the connection stays open: %v", verb, err)
		}
	}
}

// TestUnixPauses pauses over a Unix socket for longer than Config.Idle.
func TestUnixPauses(t *testing.T) {
	const idle = time.Millisecond
	client := serveUnix(t, Config{Idle: idle}, bodyVerbs)
	out, in := io.Pipe()
	go func() {
		for range 3 {
			_, _ = in.Write([]byte("x"))
			<-time.After(10 * idle)
		}
		in.Close()
	}()
	r, err := http.NewRequest(http.MethodPost, "http://unix"+Prefix+"read", out)
	if err != nil {
		t.Fatal(err)
	}
	if a := do(t, client, r); a.status != http.StatusOK || a.body != "3\n" {
		t.Errorf("got status %d: %s", a.status, a.body)
	}
}

// TestDeafClient doesn't read its answer: the verb's writes fail.
func TestDeafClient(t *testing.T) {
	ended := make(chan error, 1)
	url := serve(t, Config{Idle: 100 * time.Millisecond}, map[string]Verb{"endless": {Run: func(c *Call) error {
		out, data := c.Bytes("text/plain"), make([]byte, 1<<20)
		for {
			if _, err := out.Write(data); err != nil {
				ended <- err
				return err
			}
		}
	}}})
	dialRaw(t, url, "POST "+Prefix+"endless HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
	if err := <-ended; err == nil {
		t.Error("got no error")
	}
}

// TestEndlessBody sends bodies without end: each gets an answer, and the
// connection closes.
func TestEndlessBody(t *testing.T) {
	url := serve(t, Config{}, bodyVerbs)
	for verb, want := range map[string]int{"ignore": 200, "begin": 200, "refuse": 400, "none": 404} {
		conn, r := dialRaw(t, url, chunkedHead(verb))
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			junk := bytes.Repeat([]byte("x"), 1<<16)
			for {
				if _, err := fmt.Fprintf(conn, "%x\r\n%s\r\n", len(junk), junk); err != nil {
					return
				}
			}
		}()
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Errorf("%s: %v", verb, err)
		} else if resp.StatusCode != want {
			t.Errorf("%s: got status %d, want %d", verb, resp.StatusCode, want)
		}
		if _, err := io.Copy(io.Discard, r); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection stays open", verb)
		}
		conn.Close()
		<-sent
	}
}

// TestRequestSmuggling sends a request inside a body that isn't read to its end:
// the server must not answer it.
func TestRequestSmuggling(t *testing.T) {
	var smuggled atomic.Int64
	verbs := map[string]Verb{"smuggled": {Run: func(*Call) error {
		smuggled.Add(1)
		return nil
	}}}
	for name, v := range bodyVerbs {
		verbs[name] = v
	}
	url := serve(t, Config{Idle: 50 * time.Millisecond}, verbs)
	inner := "POST " + Prefix + "smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
	t.Run("inside", func(t *testing.T) {
		for _, verb := range []string{"ignore", "begin", "refuse", "none"} {
			for _, length := range []int{10, maxDrained + 1} {
				t.Run(fmt.Sprintf("%s %d", verb, length), func(t *testing.T) {
					t.Parallel()
					conn, r := dialRaw(t, url, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", Prefix+verb, length+10*len(inner)))
					sent := make(chan struct{})
					go func() {
						defer close(sent)
						_, _ = io.WriteString(conn, strings.Repeat("x", length)) // as far as the server reads
						if length > maxDrained {
							_, _ = io.WriteString(conn, inner)
						}
					}()
					if _, err := http.ReadResponse(r, nil); err == nil && length < maxDrained {
						_, _ = io.WriteString(conn, inner) // behind the answer
					}
					if _, err := io.Copy(io.Discard, r); errors.Is(err, os.ErrDeadlineExceeded) {
						t.Error("the connection stays open")
					}
					conn.Close()
					<-sent
				})
			}
		}
	})
	if n := smuggled.Load(); n > 0 {
		t.Errorf("%d bodies were taken for requests", n)
	}
	_, r := dialRaw(t, url, inner)
	if _, err := http.ReadResponse(r, nil); err != nil || smuggled.Load() != 1 {
		t.Errorf("the request by itself: got %v and %d calls, want one", err, smuggled.Load())
	}
}
