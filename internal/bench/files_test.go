package bench_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cairn-ipfs/cairn"
)

// goTree returns the path of the source tree.
func (s *stage) goTree() string {
	s.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	s.check(err)
	return filepath.Join(strings.TrimSpace(string(out)), filepath.FromSlash(s.tree))
}

// node opens a node at dir.
func (s *stage) node(dir string) *cairn.Node {
	s.Helper()
	n, err := cairn.Open(s.Context(), cairn.Config{Dir: dir})
	s.check(err)
	return n
}

// measureAddAgain measures adding a tree a second time: unchanged, and with 1 % of
// its files changed.
func measureAddAgain(s *stage) (rows []row) {
	s.scratch(func(dir string) {
		tree := filepath.Join(dir, "tree")
		s.check(os.CopyFS(tree, os.DirFS(s.goTree())))
		n := s.node(filepath.Join(dir, "repo"))
		add := func() cairn.AddResult {
			a, err := n.AddPath(s.Context(), tree, cairn.AddOptions{Alias: "tree"})
			s.check(err)
			return a
		}
		var files []string
		walk := func(changed []string) {
			files = files[:0]
			s.check(filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
				if err != nil || !d.Type().IsRegular() {
					return err
				}
				files = append(files, path)
				_, err = d.Info()
				return err
			}))
			for _, path := range changed {
				_, err := os.ReadFile(path)
				s.check(err)
			}
		}
		walk(nil)
		all := slices.Clone(files)
		// Until the stat cache trusts every file.
		for add().HashedBytes > 0 {
		}
		unchanged := row{
			work: fmt.Sprintf("add a tree again, unchanged (%d files), durable", len(all)),
			kubo: "like the first time", yardstick: "stat of every file", unit: "s", goal: goal{ratio: 2},
		}
		unchanged.cairn, unchanged.beside = s.alternate(
			func() time.Duration { return timeOf(func() { add() }) },
			func() time.Duration { return timeOf(func() { walk(nil) }) })
		var some []string
		for i := 0; i < len(all); i += 100 {
			some = append(some, all[i])
		}
		round := 0
		changed := row{
			work: fmt.Sprintf("the same with %d files changed", len(some)),
			kubo: "like the first time", yardstick: "stat of every file, and reading the changed ones", unit: "s", goal: goal{ratio: 2},
		}
		changed.cairn, changed.beside = s.alternate(
			func() time.Duration {
				round++
				for _, path := range some {
					s.check(os.WriteFile(path, fmt.Appendf(nil, "changed for the time %d\n", round), 0o644))
				}
				return timeOf(func() { add() })
			},
			func() time.Duration { return timeOf(func() { walk(some) }) })
		s.check(n.Close())
		rows = []row{unchanged, changed}
	})
	return rows
}

// manyFiles is a directory with that number of empty files.
type manyFiles int

func (m manyFiles) Open(name string) (fs.File, error) {
	if name == "." {
		return nil, errors.New("use ReadDir")
	}
	return emptyFile{manyEntry(name)}, nil
}

func (m manyFiles) ReadDir(string) ([]fs.DirEntry, error) {
	entries := make([]fs.DirEntry, m)
	for i := range entries {
		entries[i] = manyEntry(fmt.Sprintf("entry-%08d", i))
	}
	return entries, nil
}

type manyEntry string

func (e manyEntry) Name() string               { return string(e) }
func (e manyEntry) IsDir() bool                { return false }
func (e manyEntry) Type() fs.FileMode          { return 0 }
func (e manyEntry) Info() (fs.FileInfo, error) { return e, nil }
func (e manyEntry) Size() int64                { return 0 }
func (e manyEntry) Mode() fs.FileMode          { return 0o644 }
func (e manyEntry) ModTime() time.Time         { return time.Time{} }
func (e manyEntry) Sys() any                   { return nil }

type emptyFile struct{ manyEntry }

func (f emptyFile) Stat() (fs.FileInfo, error) { return f.manyEntry, nil }
func (f emptyFile) Read([]byte) (int, error)   { return 0, io.EOF }
func (f emptyFile) Close() error               { return nil }

// measureList measures listing a directory of many entries.
func measureList(s *stage) []row {
	first, peak := 0.0, 0.0
	s.scratch(func(dir string) {
		n := s.node(dir)
		added, err := n.AddFS(s.Context(), manyFiles(s.entries), cairn.AddOptions{Alias: "many"})
		s.check(err)
		s.check(n.Close())
		n = s.node(dir)
		for range s.rounds {
			took, grew := s.list(n.FS(s.Context(), added.CID))
			first, peak = max(first, took), max(peak, grew)
		}
		s.check(n.Close())
	})
	return []row{
		{work: fmt.Sprintf("list a directory of %d entries: time until the first", s.entries), cairn: first, unit: "ms", goal: goal{atMost: 10}},
		{work: "the same: memory for listing all of them", cairn: peak, unit: "MiB", goal: goal{atMost: 32}},
	}
}

// list lists a directory. It returns the milliseconds until the first entry, and the
// growth of the heap in MiB.
func (s *stage) list(fsys fs.FS) (first, peak float64) {
	s.Helper()
	heap := func() float64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / (1 << 20)
	}
	runtime.GC()
	before, began := heap(), time.Now()
	f, err := fsys.Open(".")
	s.check(err)
	defer f.Close()
	dir, ok := f.(fs.ReadDirFile)
	if !ok {
		s.Fatalf("got a %T, want a directory", f)
	}
	seen := 0
	for size := 1; ; size = 1000 {
		entries, err := dir.ReadDir(size)
		if seen == 0 {
			first = time.Since(began).Seconds() * 1000
		}
		seen += len(entries)
		peak = max(peak, heap()-before)
		if err == io.EOF {
			break
		}
		s.check(err)
	}
	if seen != s.entries {
		s.Errorf("listed %d entries, want %d", seen, s.entries)
	}
	// 0 would look as if it had not been measured.
	return first, max(peak, 0.01)
}

// restVariable names the folder of an idle node, which the test program then is.
const restVariable = "CAIRN_BENCH_REST"

// TestRestNode is that node. It runs until its stdin ends.
func TestRestNode(t *testing.T) {
	dir := os.Getenv(restVariable)
	if dir == "" {
		t.Skip("only measureRest runs it, as a process of its own")
	}
	n, err := cairn.Open(context.Background(), cairn.Config{Dir: dir, Local: true, Listen: []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"}})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("open")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		t.Error(err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

// measureRest measures the memory of a process that has a node open.
func measureRest(s *stage) []row {
	if runtime.GOOS != "linux" {
		return nil
	}
	var size float64
	s.scratch(func(dir string) {
		program, err := os.Executable()
		s.check(err)
		cmd := exec.Command(program, "-test.run", "^TestRestNode$")
		cmd.Env = append(os.Environ(), restVariable+"="+dir)
		in, err := cmd.StdinPipe()
		s.check(err)
		out, err := cmd.StdoutPipe()
		s.check(err)
		s.check(cmd.Start())
		_, err = io.ReadFull(out, make([]byte, len("open")))
		s.check(err)
		size = s.resident(cmd.Process.Pid)
		s.check(in.Close())
		_, err = io.Copy(io.Discard, out)
		s.check(err)
		s.check(cmd.Wait())
	})
	return []row{{work: "memory of a process with an empty idle node that listens", kubo: "67 MB", cairn: size, unit: "MB", goal: goal{atMost: 50}}}
}

// resident returns the resident memory of a process in MB.
func (s *stage) resident(pid int) float64 {
	s.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	s.check(err)
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
			s.check(err)
			return n * 1024 / 1e6
		}
	}
	s.Fatal("the process status has no VmRSS")
	return 0
}
