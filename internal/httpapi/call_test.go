package httpapi

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestAnswers(t *testing.T) {
	url := serve(t, Config{Agent: "test/1"}, map[string]Verb{
		"nothing": {Run: func(*Call) error { return nil }},
		"value":   {Run: func(c *Call) error { return c.Value(map[string]int{"a": 1}) }},
		"encoded": {Run: func(c *Call) error { return c.Value(5) }, JSON: func(any) ([]byte, error) { return []byte(`{"a":1}`), nil }},
		"lines":   {Run: func(c *Call) error { return errors.Join(c.Line(1), c.Line(2)) }},
		"items":   {Run: func(c *Call) error { return c.EndList(errors.Join(c.Item(1), c.Item(2))) }},
		"empty":   {Run: func(c *Call) error { return c.EndList(nil) }},
		"begun":   {Run: func(c *Call) error { return errors.Join(c.BeginList(), c.Item(1)) }},
		"bytes": {Run: func(c *Call) error {
			c.Header().Set(ContentLength, "2")
			_, err := c.Bytes("image/png").Write([]byte("ab"))
			return c.EndBytes("image/png", err)
		}},
		"no bytes": {Run: func(c *Call) error { return c.EndBytes("image/png", nil) }},
	})
	const json = "application/json"
	for _, tt := range []struct{ verb, body, kind, stream, chunked string }{
		{"nothing", "", "text/plain", "", ""},
		{"value", "{\"a\":1}\n", json, "", ""},
		{"encoded", "{\"a\":1}\n", json, "", ""},
		{"lines", "1\n2\n", json, "", "1"},
		{"items", "1\n2\n", json, "", "1"},
		{"empty", "", json, "", "1"},
		{"begun", "1\n", json, "", "1"},
		{"bytes", "ab", "image/png", "1", ""},
		{"no bytes", "", "image/png", "1", ""},
	} {
		a := post(t, url+Prefix+strings.ReplaceAll(tt.verb, " ", "%20"), nil)
		if a.status != http.StatusOK || a.body != tt.body || a.header.Get("Content-Type") != tt.kind ||
			a.header.Get("X-Stream-Output") != tt.stream || a.header.Get("X-Chunked-Output") != tt.chunked || a.header.Get("Server") != "test/1" {
			t.Errorf("%s: got status %d, %q and %v", tt.verb, a.status, a.body, a.header)
		}
		if tt.verb == "bytes" && a.header.Get("X-Content-Length") != "2" {
			t.Errorf("bytes: got no length: %v", a.header)
		}
	}
}

// TestItemDelay has a verb wait for its client after each item, header and line:
// they arrive though nothing follows.
func TestItemDelay(t *testing.T) {
	next := make(chan struct{})
	wait := func(c *Call) error {
		select {
		case <-next:
			return nil
		case <-c.Context().Done():
			return c.Context().Err()
		}
	}
	url := serve(t, Config{}, map[string]Verb{"list": {Run: func(c *Call) error {
		if err := c.BeginList(); err != nil {
			return err
		}
		for _, send := range []func(any) error{c.Item, c.Line, c.Item, c.Item} {
			if err := errors.Join(wait(c), send("x")); err != nil {
				return err
			}
		}
		return wait(c)
	}}})
	resp, err := http.Post(url+Prefix+"list", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	for range 4 {
		next <- struct{}{}
		if line, err := in.ReadString('\n'); line != "\"x\"\n" || err != nil {
			t.Fatalf("got %q, %v", line, err)
		}
	}
	next <- struct{}{}
	if rest, err := io.ReadAll(in); len(rest) > 0 || err != nil {
		t.Errorf("got %q, %v, want the end", rest, err)
	}
}
