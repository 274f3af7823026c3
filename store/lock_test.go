package store

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// lockedDir is the environment variable with the repository that a child process
// opens and keeps open.
const lockedDir = "STORE_TEST_LOCKED_DIR"

// A second process gets the name of the process that has the repository open, and
// can open it when the first has ended, in any way.
func TestTwoProcesses(t *testing.T) {
	h := newHarness(t)
	if dir := os.Getenv(lockedDir); dir != "" {
		// The child.
		s := h.open(dir, Options{Program: "the first one"})
		a := h.leaf("a")
		h.put(s, a)
		h.alias(s, "x", a)
		h.ok(s.TempPin().Add(h.ctx, a.CID()))
		fmt.Println("open")
		_, err := io.Copy(io.Discard, os.Stdin)
		h.ok(err)
		h.ok(s.Close())
		return
	}
	for _, end := range []string{"closed", "killed"} {
		t.Run(end, func(t *testing.T) {
			h := newHarness(t)
			dir := filepath.Join(t.TempDir(), "repo")
			child := exec.Command(os.Args[0], "-test.run=^TestTwoProcesses$", "-test.count=1")
			child.Env = append(os.Environ(), lockedDir+"="+dir)
			child.Stderr = os.Stderr
			in, err := child.StdinPipe()
			h.ok(err)
			out, err := child.StdoutPipe()
			h.ok(err)
			h.ok(child.Start())
			lines := bufio.NewReader(out)
			if line, err := lines.ReadString('\n'); line != "open\n" {
				t.Fatalf("the child says %q, %v, want that it's open", line, err)
			}

			who := fmt.Sprintf("by the first one, process %d on ", child.Process.Pid)
			if _, err := Open(h.ctx, dir, Options{}); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), who) {
				t.Errorf("open: got %v, want ErrLocked %q", err, who)
			}
			if _, err := Rebuild(h.ctx, dir, Options{}, nil); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), who) {
				t.Errorf("rebuild: got %v, want ErrLocked %q", err, who)
			}
			if end == "killed" {
				h.ok(child.Process.Kill())
			} else {
				h.ok(in.Close())
			}
			_, err = io.Copy(io.Discard, lines)
			h.ok(err)
			if err := child.Wait(); (err == nil) != (end == "closed") {
				t.Errorf("the child ended with %v", err)
			}

			s := h.open(dir, Options{Program: "the second one"})
			h.has(s, true, h.leaf("a"))
			h.counted(s, 1, h.leaf("a")) // the pin ended with its process
			h.audit(s)
			if _, err := Open(h.ctx, dir, Options{}); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "the second one") {
				t.Errorf("open: got %v, want ErrLocked by the second one", err)
			}
		})
	}
}

// Without an owner file the error names no process.
func TestLockedWithoutOwner(t *testing.T) {
	h := newHarness(t)
	dir := t.TempDir()
	h.open(dir, Options{})
	for _, text := range []string{"", "{", "null", strings.Repeat("[", 1<<20)} {
		h.ok(os.WriteFile(filepath.Join(dir, ownerFile), []byte(text), 0o644))
		if _, err := Open(h.ctx, dir, Options{}); !errors.Is(err, ErrLocked) || len(err.Error()) > 500 {
			t.Errorf("owner file %.10q: got %v, want ErrLocked in short", text, err)
		}
	}
	h.ok(os.Remove(filepath.Join(dir, ownerFile)))
	if _, err := Open(h.ctx, dir, Options{}); !errors.Is(err, ErrLocked) {
		t.Errorf("no owner file: got %v, want ErrLocked", err)
	}
}

// A file in place of the repository isn't taken for a lock.
func TestOpenRefused(t *testing.T) {
	h := newHarness(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	h.ok(os.WriteFile(file, nil, 0o644))
	locked := filepath.Join(dir, "repo", lockFile)
	h.ok(os.MkdirAll(locked, 0o755))
	for _, path := range []string{file, filepath.Join(file, "below"), filepath.Dir(locked)} {
		if _, err := Open(h.ctx, path, Options{}); err == nil || errors.Is(err, ErrLocked) {
			t.Errorf("open %s: got %v, want an error, and not ErrLocked", path, err)
		}
	}
}
