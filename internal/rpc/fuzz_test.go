package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
)

// FuzzRequest asks any verb anything: an answer is JSON where it says so, an
// error has a shape, and nothing panics. Verbs that touch the disk, or wait, are
// left out.
func FuzzRequest(f *testing.F) {
	n, err := cairn.Open(context.Background(), cairn.Config{Offline: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = n.Close() })
	file, err := n.Add(context.Background(), strings.NewReader("hello"), cairn.AddOptions{})
	if err != nil {
		f.Fatal(err)
	}
	server := NewServer(n, Config{Origins: []string{"http://page"}})
	var names []string
	for name, v := range server.verbs {
		if !v.local && !slices.Contains([]string{"cairn/events", "cairn/add"}, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	k := file.CID.String()
	form := "--b\r\nContent-Disposition: form-data; name=\"blocks\"; filename=\"a%2Fb\"\r\n\r\nhello\r\n--b--\r\n"
	for i := range names {
		f.Add(i, "arg="+k, form)
	}
	for _, query := range []string{
		"arg=" + k + "&arg=" + k, "arg=/ipfs/" + k + "/x&offset=1&length=2", "arg=" + k + "&recursive=true&unique=true&stream=true",
		"arg=name&arg=" + k + `&selection={"share":1,"of":2}&hold=true`, "f=%25b-%25d&b=base36&v=1&arg=" + k, "only-hash=true&wrap-with-directory=true",
		"compress=true&archive=true&compression-level=3&arg=" + k, "arg=&timeout=1ns", "cid-version=1&chunker=rabin&trickle&progress",
	} {
		// A few are enough: each seed is run before the fuzzing begins.
		for i := 0; i < len(names); i += 10 {
			f.Add(i, query, form)
		}
	}
	f.Fuzz(func(t *testing.T, which int, query, body string) {
		u := &url.URL{Path: Prefix + names[(which%len(names)+len(names))%len(names)], RawQuery: query}
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.URL, r.Host = u, "localhost"
		r.Header.Set("Content-Type", "multipart/form-data; boundary=b")
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		if w.Code >= 400 {
			var shape errorShape
			if err := json.Unmarshal(w.Body.Bytes(), &shape); err != nil || shape.Type != "error" || shape.Message == "" {
				t.Fatalf("%s: got status %d and %q", u, w.Code, w.Body)
			}
			return
		}
		if w.Header().Get("Content-Type") != "application/json" {
			return
		}
		for line := range strings.SplitSeq(strings.TrimSpace(w.Body.String()), "\n") {
			if line != "" && !json.Valid([]byte(line)) {
				t.Fatalf("%s: got the line %q", u, line)
			}
		}
	})
}

// FuzzPartPath holds names in forms to what may be a path below a root.
func FuzzPartPath(f *testing.F) {
	for _, s := range []string{"a/b", "..%2Fx", "%2e%2e", "/", "a//b/.", "//", "\x00", "ü", `a"b`} {
		f.Add(`form-data; name="file"; filename="` + s + `"`)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := partPath(s)
		if err != nil {
			if !errors.Is(err, ErrBadRequest) {
				t.Fatalf("%q: got %v", s, err)
			}
			return
		}
		if p != "" && (p != path.Clean(p) || path.IsAbs(p) || p == ".." || strings.HasPrefix(p, "../") || strings.Contains(p, "\x00")) {
			t.Fatalf("%q: got %q", s, p)
		}
	})
}

// FuzzPath reads arguments that name content.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"bafkqabtimvwgy3yk/a/b", "/ipfs/bafkqabtimvwgy3yk", "ipfs://x", "/ipns/x", "", "/", "/ipld/bafkqabtimvwgy3yk/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		root, p, err := parsePath(s)
		if err != nil {
			if !errors.Is(err, ErrBadRequest) {
				t.Fatalf("%q: got %v", s, err)
			}
			return
		}
		again, q, err := parsePath("/ipfs/" + root.String() + "/" + p)
		if err != nil || !block.Equal(again, root) || q != p {
			t.Fatalf("%q: got %s and %q, and again %s and %q, %v", s, root, p, again, q, err)
		}
	})
}

// FuzzAddress reads addresses of daemons.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"unix:/x", "127.0.0.1:1", "http://h:1/x", "/ip4/127.0.0.1/tcp/1", "/unix/x", "[::1]:5", ":"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		network, host, err := parseAddress(s)
		if err == nil && (host == "" || network != "unix" && network != "tcp") || err != nil && (network != "" || host != "") {
			t.Fatalf("%q: got %q, %q, %v", s, network, host, err)
		}
	})
}

// FuzzLines reads answers.
func FuzzLines(f *testing.F) {
	f.Add("{}\n{\"a\":1}\n", 3)
	f.Add("\n\n x", 1)
	f.Fuzz(func(t *testing.T, s string, piece int) {
		in := strings.NewReader(s)
		var got []string
		for line, err := range readLines(readerFunc(func(p []byte) (int, error) { return in.Read(p[:min(len(p), max(1, piece))]) })) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(line))
		}
		var want []string
		for _, line := range strings.Split(s, "\n") {
			if line = strings.TrimSpace(line); line != "" {
				want = append(want, line)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}
