//go:build unix

package unixfs

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestImportPipe: a named pipe is an error, and the import doesn't block on it.
func TestImportPipe(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "pipe")} {
		_, err := ImportPath(t.Context(), discardPutter{}, path, Options{})
		if err == nil || !strings.Contains(err.Error(), "named pipe") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want an error that names it", path, err)
		}
	}
}
