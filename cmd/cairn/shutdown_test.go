package main

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
)

// TestShutdownDuringRestart ends a daemon that is started again before shutdown
// sees its end.
func TestShutdownDuringRestart(t *testing.T) {
	dir := t.TempDir()
	n, err := cairn.Open(t.Context(), cairn.Config{Dir: dir, Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	next := func() {
		text := `{"program":"cairn","pid":1,"host":"h","since":"2001-02-03T04:05:06Z"}`
		if err := os.WriteFile(filepath.Join(dir, "owner"), []byte(text), 0o644); err != nil {
			t.Error(err)
		}
	}
	l, err := httpapi.ListenUnix(filepath.Join(dir, socketFile))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(httpapi.NewServer(httpapi.Config{}, control.Verbs(n, next)))
	server.Listener.Close()
	server.Listener = l
	server.Start()
	defer server.Close()
	var c console
	if got := c.run(t.Context(), t, "shutdown", "--repo", dir); got != exitDone {
		t.Errorf("got status %d: %s, want %d", got, c.err.String(), exitDone)
	}
}

// TestSignalTwice repeats a signal at once, as wrappers do: daemons still close in
// order.
func TestSignalTwice(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repo")
	for range 3 {
		d, err := launch(os.Environ(), t.TempDir(), "--repo", dir, "serve", "--api", "off", "--gateway", "off", "--listen", "/ip4/127.0.0.1/tcp/0")
		if err != nil {
			t.Fatal(err)
		}
		for began := time.Now(); time.Since(began) < repeatedSignal/10; {
			_ = d.process.Process.Signal(syscall.SIGTERM) // it may have ended
		}
		if status := d.end(nil); status != 0 {
			t.Fatalf("got status %d: %s, want 0", status, d.stderr.String())
		}
	}
}
