package httpapi

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// answers reports whether a listener accepts connections at path.
func answers(path string) bool {
	conn, err := DialUnix(context.Background(), &net.Dialer{}, path)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// TestLongPath listens at a path that doesn't fit into a socket's address.
func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30), strings.Repeat("longer", 20))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "api.sock")
	l, err := ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 || info.Mode()&os.ModeSocket == 0 {
		t.Errorf("got %v, %v, want a socket of mode 0600", info, err)
	}
	accepted := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			err = c.Close()
		}
		accepted <- err
	}()
	if !answers(path) {
		t.Error("the listener doesn't answer")
	}
	if err := <-accepted; err != nil {
		t.Error(err)
	}
	// A second listener replaces the first. A closed one doesn't answer.
	again, err := ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	for _, path := range []string{path, dir, filepath.Join(dir, "none")} {
		if answers(path) {
			t.Errorf("%s: got an answer without a listener", path)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("got %v, %v, want only the socket", entries, err)
	}
}

func TestListenNowhere(t *testing.T) {
	if _, err := ListenUnix(filepath.Join(t.TempDir(), "none", "api.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
}
