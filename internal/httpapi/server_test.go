package httpapi

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestScopes(t *testing.T) {
	verbs := map[string]Verb{
		"any":     {Run: version},
		"machine": {Run: version, Scope: SameMachine},
		"user":    {Run: version, Scope: SameUser},
	}
	server := NewServer(Config{}, verbs)
	for _, tt := range []struct {
		from, verb string
		want       int
	}{
		{"192.0.2.7:1234", "any", 200}, {"192.0.2.7:1234", "machine", 403}, {"192.0.2.7:1234", "user", 403},
		{"[2001:db8::1]:5", "any", 200}, {"[2001:db8::1]:5", "machine", 403}, {"[2001:db8::1]:5", "user", 403},
		{"127.0.0.1:1", "any", 200}, {"127.0.0.1:1", "machine", 200}, {"127.0.0.1:1", "user", 403},
		{"[::ffff:127.0.0.1]:1", "machine", 200}, {"[::ffff:127.0.0.1]:1", "user", 403},
		{"nonsense", "any", 200}, {"nonsense", "machine", 403}, {"nonsense", "user", 403},
	} {
		r := httptest.NewRequest(http.MethodPost, "http://localhost"+Prefix+tt.verb, nil)
		r.RemoteAddr = tt.from
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("%s from %s: got status %d, want %d: %s", tt.verb, tt.from, w.Code, tt.want, w.Body)
		}
	}
	client := serveUnix(t, Config{}, verbs)
	for verb := range verbs {
		r, err := http.NewRequest(http.MethodPost, "http://unix"+Prefix+verb, nil)
		if err != nil {
			t.Fatal(err)
		}
		if a := do(t, client, r); a.status != http.StatusOK {
			t.Errorf("%s over a Unix socket: got status %d: %s", verb, a.status, a.body)
		}
	}
}

func TestArguments(t *testing.T) {
	type result struct {
		Args     []string
		Text     string
		Flag     bool
		Number   int64
		Duration time.Duration
	}
	url := serve(t, Config{}, map[string]Verb{
		"none": {Run: version},
		"two": {Least: 1, Most: 2, Run: func(c *Call) error {
			r := result{c.Args, c.Text("text", "standard"), c.Flag("flag", false), c.Number("number", 7), c.Duration("duration", time.Minute)}
			if err := c.Invalid(); err != nil {
				return err
			}
			return c.Value(r)
		}},
		"any": {Least: 1, Most: -1, Run: version},
	}) + Prefix
	for query, want := range map[string]string{
		"arg=a":                     `{"Args":["a"],"Text":"standard","Flag":false,"Number":7,"Duration":60000000000}`,
		"arg=a&arg=b%26&flag&text=": `{"Args":["a","b\u0026"],"Text":"","Flag":true,"Number":7,"Duration":60000000000}`,
		"arg=a&flag=true&number=-5&duration=90s&text=x&text=y": `{"Args":["a"],"Text":"x","Flag":true,"Number":-5,"Duration":90000000000}`,
	} {
		if a := post(t, url+"two?"+query, nil); a.status != http.StatusOK || strings.TrimSpace(a.body) != want {
			t.Errorf("%s: got status %d: %s, want %s", query, a.status, a.body, want)
		}
	}
	for path, want := range map[string]int{
		"none": 200, "none?arg=x": 400, "two": 400, "two?arg=1&arg=2&arg=3": 400, "any": 400, "any?" + strings.Repeat("arg=x&", 1000): 200,
		"two?arg=x&flag=perhaps": 400, "two?arg=x&number=1.5": 400, "two?arg=x&number=99999999999999999999": 400, "two?arg=x&duration=soon": 400,
		"none?timeout=soon": 400, "none?timeout=1h": 200, "none?%zz": 400, "none?" + strings.Repeat("a;b&", 1000): 400,
		"any?arg=" + strings.Repeat("x", 500_000): 200, "any?arg=" + strings.Repeat("x", MaxQuery): 400,
	} {
		if a := post(t, url+path, nil); a.status != want {
			t.Errorf("%.100s: got status %d, want %d: %s", path, a.status, want, a.body)
		}
	}
}

// TestTimeout ends a request by its option timeout.
func TestTimeout(t *testing.T) {
	url := serve(t, Config{}, map[string]Verb{"wait": {Run: func(c *Call) error {
		<-c.Context().Done()
		return c.Context().Err()
	}}})
	if a := post(t, url+Prefix+"wait?timeout=1ms", nil); a.status != http.StatusInternalServerError || !strings.Contains(a.body, "deadline exceeded") {
		t.Errorf("got status %d: %s", a.status, a.body)
	}
}

func TestMaxCalls(t *testing.T) {
	server := NewServer(Config{}, map[string]Verb{"version": {Run: version}})
	for range maxCalls {
		server.calls <- struct{}{}
	}
	web := httptest.NewServer(server)
	defer web.Close()
	if a := post(t, web.URL+Prefix+"version", nil); a.status != http.StatusServiceUnavailable {
		t.Errorf("with %d requests: got status %d, want 503", maxCalls, a.status)
	}
	<-server.calls
	if a := post(t, web.URL+Prefix+"version", nil); a.status != http.StatusOK {
		t.Errorf("with %d requests: got status %d, want 200", maxCalls-1, a.status)
	}
}

// TestManyRequests sends 10,000 requests of all kinds over one connection.
func TestManyRequests(t *testing.T) {
	verbs := map[string]Verb{
		"value": {Run: version},
		"bytes": {Run: func(c *Call) error {
			_, err := c.Bytes("text/plain").Write([]byte("x"))
			return err
		}},
		"error": {Run: func(*Call) error { return errors.New("error") }},
		"late": {Run: func(c *Call) error {
			return errors.Join(c.Line(1), errors.New("error"))
		}},
	}
	web := httptest.NewUnstartedServer(NewServer(Config{}, verbs))
	var conns atomic.Int64
	web.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	web.Start()
	defer web.Close()
	for i := range 10_000 {
		verb, body := []string{"value", "bytes", "error", "late", "none"}[i%5], "a body that no verb reads"
		if i%2 == 0 {
			body = ""
		}
		want := map[string]int{"error": 500, "none": 404}[verb]
		if a := post(t, web.URL+Prefix+verb, strings.NewReader(body)); a.status != want && (want != 0 || a.status != 200) {
			t.Fatalf("%d: %s: got status %d: %s", i, verb, a.status, a.body)
		}
	}
	// Package net/http closes a connection whose writer isn't scheduled within
	// 50 ms of the answer. A fault of ours would cost a connection each time.
	if n := conns.Load(); n > 100 {
		t.Errorf("got %d connections for 10,000 requests, want one or a few", n)
	}
}
