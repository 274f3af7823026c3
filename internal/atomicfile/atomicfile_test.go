package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// TestWrite replaces a file; a write that fails halfway leaves the file as it was.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, data := range []string{"first", "and then"} {
		if err := Write(path, ".new-*", 0o640, Data([]byte(data))); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != data {
			t.Errorf("got %q, %v, want %q", got, err, data)
		}
	}
	broken := errors.New("broken")
	err := Write(path, ".new-*", 0o640, func(f *os.File) error {
		_, err := f.WriteString("half of")
		return errors.Join(err, broken)
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	if err := Write(filepath.Join(path, "below"), ".new-*", 0o640, Data(nil)); err == nil {
		t.Error("a file below a file: got no error")
	}
	if err := SyncDir(dir); err != nil {
		t.Error(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("got %v, %v, want one file", files, err)
	}
	info, err := files[0].Info()
	if err != nil || info.Size() != int64(len("and then")) || runtime.GOOS != "windows" && info.Mode() != 0o640 {
		t.Errorf("got %v, %v, want the former file with its mode", info, err)
	}
}
