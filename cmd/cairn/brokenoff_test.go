package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
)

// A shortWriter ends the answer after so many bytes.
type shortWriter struct {
	http.ResponseWriter
	left int
}

func (w *shortWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *shortWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		panic(http.ErrAbortHandler)
	}
	return w.ResponseWriter.Write(p)
}

// TestBrokenOff has a daemon that ends its answers in the middle: the commands
// fail, and write no file.
func TestBrokenOff(t *testing.T) {
	n, err := cairn.Open(t.Context(), cairn.Config{Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	file, err := n.Add(t.Context(), bytes.NewReader(noise(8<<20, 1)), cairn.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	api := httpapi.NewServer(httpapi.Config{Codes: control.Codes()}, control.Verbs(n, nil))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		api.ServeHTTP(&shortWriter{w, 5 << 20}, r)
	}))
	defer server.Close()
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	for _, command := range []string{
		"get -o " + out, "get --archive -o " + out, "dag export --car-version 2 -o " + out, "dag export -o " + out, "cat",
	} {
		var c console
		args := append([]string{"--daemon", server.URL}, strings.Fields(command)...)
		if got := c.run(t.Context(), t, append(args, file.CID.String())...); got != exitFailed || !strings.Contains(c.err.String(), "broke off") {
			t.Errorf("%s: got status %d and %q, want %d and that the daemon broke off", command, got, c.err.String(), exitFailed)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s: it left %v, %v", command, left, err)
		}
	}
}
