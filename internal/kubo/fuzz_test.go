package kubo

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
)

// FuzzRequest sends any verb any arguments and body. An answer is JSON where its
// header says so, an error is an httpapi.ErrorBody, and nothing panics. Verbs
// that use the disk, or wait, are not called.
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
	server := newServer(n, httpapi.Config{Origins: []string{"http://page"}})
	all := Verbs(n, Config{})
	maps.Copy(all, control.Verbs(n, nil))
	var names []string
	for name, v := range all {
		if v.Scope != httpapi.SameUser && name != "cairn/events" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	k := file.CID.String()
	form := "--b\r\nContent-Disposition: form-data; name=\"blocks\"; filename=\"a%2Fb\"\r\n\r\nhello\r\n--b--\r\n"
	for i, name := range names {
		f.Add(i, "arg="+k, form)
		if strings.HasPrefix(name, "cairn/") {
			f.Add(i, `args={"cid":"`+k+`"}`, form)
		}
	}
	for _, query := range []string{
		"arg=" + k + "&arg=" + k, "arg=/ipfs/" + k + "/x&offset=1&length=2", "arg=" + k + "&recursive=true&unique=true&stream=true",
		`args={"name":"x","root":"` + k + `","options":{}}`, "f=%25b-%25d&b=base36&v=1&arg=" + k, "only-hash=true&wrap-with-directory=true",
		"compress=true&archive=true&compression-level=3&arg=" + k, "arg=&timeout=1ns", "cid-version=1&chunker=rabin&trickle&progress",
	} {
		// A few are enough: each seed is run before the fuzzing begins.
		for i := 0; i < len(names); i += 10 {
			f.Add(i, query, form)
		}
	}
	f.Fuzz(func(t *testing.T, which int, query, body string) {
		u := &url.URL{Path: httpapi.Prefix + names[(which%len(names)+len(names))%len(names)], RawQuery: query}
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.URL, r.Host = u, "localhost"
		r.Header.Set("Content-Type", "multipart/form-data; boundary=b")
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		if w.Code >= 400 {
			var shape httpapi.ErrorBody
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

// FuzzPath parses arguments that begin with a CID.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"bafkqabtimvwgy3yk/a/b", "/ipfs/bafkqabtimvwgy3yk", "ipfs://x", "/ipns/x", "", "/", "/ipld/bafkqabtimvwgy3yk/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		root, p, err := parsePath(s)
		if err != nil {
			if !errors.Is(err, httpapi.ErrBadRequest) {
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
