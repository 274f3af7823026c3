package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
)

func TestMain(m *testing.M) {
	// The settings of the user who runs the tests are not the tests'. A binary of
	// another name is the program, started by a test.
	if strings.HasSuffix(strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe"), ".test") {
		for _, setting := range os.Environ() {
			if name, _, _ := strings.Cut(setting, "="); strings.HasPrefix(name, "CAIRN_") {
				_ = os.Unsetenv(name) // it fails only for names that can't be set
			}
		}
	}
	testscript.Main(m, map[string]func(){"cairn": main})
}

// TestScripts runs testdata/*.txt, each in a folder of its own with a home of
// its own, and so with a new repository.
func TestScripts(t *testing.T) { runScripts(t, nil) }

// runScripts runs the scripts of a folder, after setup, if that isn't nil.
func runScripts(t *testing.T, setup func(*testscript.Env) error, files ...string) {
	dir := "testdata"
	if len(files) > 0 {
		dir = ""
	}
	testscript.Run(t, testscript.Params{
		Dir:   dir,
		Files: files,
		Setup: func(e *testscript.Env) error {
			home := filepath.Join(e.WorkDir, "home")
			e.Setenv("HOME", home)
			e.Setenv("USERPROFILE", home)
			e.Setenv("NO_COLOR", "1")
			// By default the daemons of scripts use no public peers.
			e.Setenv("CAIRN_SWARM_LISTEN", "off")
			e.Setenv("CAIRN_API_ADDR", "off")
			e.Setenv("CAIRN_GATEWAY_ADDR", "off")
			e.Setenv("CAIRN_DNS_SERVERS", "off")
			e.Setenv("CAIRN_SWARM_BOOTSTRAP", "none")
			e.Setenv("CAIRN_ROUTING_ROUTERS", "none")
			e.Values[daemonsKey{}] = make(map[string]*daemon)
			if err := os.Mkdir(home, 0o755); err != nil || setup == nil {
				return err
			}
			return setup(e)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status":  status,
			"capture": capture,
			"random":  random,
			"damage":  damage,
			"cut":     cut,
			"daemon":  startDaemon,
			"end":     endDaemon,
		},
		Condition: func(name string) (bool, error) {
			return name == "root" && os.Geteuid() == 0, nil
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// status expects an exit status: status 3 cairn cat x.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command…")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("%s ended with status %s, want %s", strings.Join(args[1:], " "), got, args[0])
	}
}

// capture sets a variable to a command's output, or its first word:
// capture CID [word].
func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 || len(args) == 2 && args[1] != "word" {
		ts.Fatalf("usage: capture VARIABLE [word]")
	}
	text := strings.TrimSpace(ts.ReadFile("stdout"))
	if len(args) == 2 {
		text, _, _ = strings.Cut(text, " ")
	}
	ts.Setenv(args[0], text)
}

// random makes a file of random bytes, the same for the same seed:
// random FILE SIZE SEED.
func random(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: random FILE SIZE SEED")
	}
	size, err := parseSize(args[1])
	ts.Check(err)
	data := make([]byte, size)
	seed := [32]byte{}
	copy(seed[:], args[2])
	_, err = rand.NewChaCha8(seed).Read(data)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o644))
}

// noise returns random bytes, the same for the same seed.
func noise(size int, seed byte) []byte {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

// damage flips a bit of a text in the pack of a repository that has it:
// damage REPOSITORY TEXT.
func damage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: damage REPOSITORY TEXT")
	}
	found := false
	err := filepath.WalkDir(ts.MkAbs(args[0]), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if at := bytes.Index(data, []byte(args[1])); err == nil && at >= 0 {
			data[at] ^= 1
			found = true
			err = os.WriteFile(path, data, 0o644)
		}
		return err
	})
	ts.Check(err)
	if !found {
		ts.Fatalf("%q is in no file of %s", args[1], args[0])
	}
}

// cut makes a copy of a file that ends too early: cut FROM TO.
func cut(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: cut FROM TO")
	}
	data := ts.ReadFile(args[0])
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(data[:len(data)*2/3]), 0o644))
}

// A console has the streams of a run of the program in this process.
type console struct {
	stdin    io.Reader
	out, err bytes.Buffer
}

func (c *console) run(ctx context.Context, t *testing.T, args ...string) int {
	t.Helper()
	c.out.Reset()
	c.err.Reset()
	return run(ctx, args, streams{in: c.stdin, out: &c.out, err: &c.err}, noEnv)
}

// TestInterrupt ends the context while add waits for stdin, as Ctrl-C does, and
// expects the status, and that nothing was kept.
func TestInterrupt(t *testing.T) {
	repo := "--repo=" + filepath.Join(t.TempDir(), "repo")
	for _, command := range [][]string{{"add", "-"}, {"block", "put", "-"}, {"dag", "import", "-"}} {
		ctx, cancel := context.WithCancel(t.Context())
		reading := readerFunc(func([]byte) (int, error) {
			cancel()
			select {} // like a terminal without input
		})
		c := console{stdin: reading}
		if got := c.run(ctx, t, append(command, repo)...); got != exitInterrupted {
			t.Errorf("%v: got status %d, want %d", command, got, exitInterrupted)
		}
		if got, want := c.err.String(), "cairn: interrupted\n"; got != want {
			t.Errorf("%v: got %q, want %q", command, got, want)
		}
		if got := c.run(t.Context(), t, "alias", "ls", repo); got != exitDone || c.out.Len() > 0 {
			t.Errorf("%v: then alias ls: got status %d and %q", command, got, c.out.String())
		}
	}
}

// TestInUse runs commands while another process has the repository open.
func TestInUse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repo")
	s, err := store.Open(t.Context(), dir, store.Options{Program: "the daemon"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, command := range [][]string{{"stats"}, {"rebuild"}} {
		var c console
		if got := c.run(t.Context(), t, append(command, "--repo", dir)...); got != exitFailed {
			t.Errorf("%v: got status %d, want %d", command, got, exitFailed)
		}
		for _, want := range []string{"in use", "the daemon", strconv.Itoa(os.Getpid()), "\nhint: wait"} {
			if !strings.Contains(c.err.String(), want) {
				t.Errorf("%v: got %q, want %q in it", command, c.err.String(), want)
			}
		}
	}
	// A command that needs no repository works.
	var c console
	if got := c.run(t.Context(), t, "version", "--repo", dir); got != exitDone {
		t.Errorf("version: got status %d", got)
	}
}

// A fullDisk is a stdout whose writes fail.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// TestStdoutFails expects an error for results that can't be written.
func TestStdoutFails(t *testing.T) {
	var stderr bytes.Buffer
	got := run(t.Context(), []string{"version"}, streams{in: strings.NewReader(""), out: fullDisk{}, err: &stderr}, noEnv)
	if got != exitFailed || !strings.Contains(stderr.String(), "write to stdout") {
		t.Errorf("got status %d and %q", got, stderr.String())
	}
}

// TestHelp walks all commands: each has a short line, a
// asUsageError that names its arguments, and refuses a flag that it doesn't have.
func TestHelp(t *testing.T) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Short == "" {
			t.Errorf("%s has no short line", cmd.CommandPath())
		}
		var c console
		args := append(strings.Fields(cmd.CommandPath())[1:], "--no-such-flag")
		if got := c.run(t.Context(), t, args...); got != exitUsage || !strings.Contains(c.err.String(), "\nhint: "+cmd.CommandPath()) {
			t.Errorf("%v: got status %d and %q", args, got, c.err.String())
		}
		for _, sub := range cmd.Commands() {
			if sub.Name() != "help" && sub.Name() != "completion" {
				walk(sub)
			}
		}
	}
	a := &app{ui: newUI(streams{out: io.Discard, err: io.Discard}, os.LookupEnv), env: os.LookupEnv}
	walk(a.root())
}

// noEnv is an empty environment.
func noEnv(string) (string, bool) { return "", false }

func TestColours(t *testing.T) {
	noColor := func(name string) (string, bool) { return "1", name == "NO_COLOR" }
	if !useColour(true, noEnv) || useColour(false, noEnv) || useColour(true, noColor) {
		t.Error("want colours on a terminal where NO_COLOR is not set, and nowhere else")
	}
	for colour, want := range map[bool]string{
		true:  "\x1b[31mcairn:\x1b[0m it: no\nhint: try\n",
		false: "cairn: it: no\nhint: try\n",
	} {
		var stderr bytes.Buffer
		u := newUI(streams{out: io.Discard, err: &stderr}, noEnv)
		u.colour = colour
		u.finish(t.Context(), withHint(errors.New("it: no"), "try"))
		if got := stderr.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A writerFunc is a function that writes.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestProgress draws a bar on a terminal only, and not with --quiet.
func TestProgress(t *testing.T) {
	draw := func(terminal, quiet bool) string {
		var stderr bytes.Buffer
		drawn := make(chan bool)
		wrote := sync.OnceFunc(func() { close(drawn) })
		a := &app{ui: newUI(streams{out: io.Discard, err: writerFunc(func(p []byte) (int, error) {
			defer wrote()
			return stderr.Write(p)
		})}, noEnv)}
		a.errTerminal, a.quiet = terminal, quiet
		stop := a.progress("adding", func() (int64, int64) { return 5 << 20, 10 << 20 })
		if terminal && !quiet {
			<-drawn
		}
		stop()
		stop()
		return stderr.String()
	}
	if got := draw(true, false); !strings.Contains(got, "adding") {
		t.Errorf("on a terminal: got %q", got)
	}
	if got := draw(true, true) + draw(false, false); got != "" {
		t.Errorf("quiet, and not on a terminal: got %q", got)
	}
}

func TestSizes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0B", 1023: "1023B", 1024: "1KiB", 1536: "1.5KiB", 64 << 20: "64MiB", 1<<40 + 1<<39: "1.5TiB",
	} {
		if got := formatSize(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
		if back, err := parseSize(want); back != n || err != nil {
			t.Errorf("%s: got %d, %v, want %d", want, back, err, n)
		}
	}
	for s, want := range map[string]int64{"7": 7, "1.5 MiB": 3 << 19, "2kB": 2000, "3GB": 3e9, " 1B": 1} {
		if got, err := parseSize(s); got != want || err != nil {
			t.Errorf("%q: got %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "x", "-1", "-1MiB", "1e99", "NaN", "Inf", "9999999TiB", "5 apples", "MiB"} {
		if n, err := parseSize(s); err == nil {
			t.Errorf("%q: got %d, want an error", s, n)
		}
	}
}

func TestPrintable(t *testing.T) {
	for s, want := range map[string]string{
		"plain name.txt":        "plain name.txt",
		"größer 山":              "größer 山",
		"\x1b[2Jgone":           `\x1b[2Jgone`,
		"two\nlines":            `two\nlines`,
		"not utf8 \xff":         `not utf8 \xff`,
		"right\u202eto left":    `right\u202eto left`,
		"quote \" and \x00 end": `quote " and \x00 end`,
	} {
		if got := escape(s); got != want {
			t.Errorf("%q: got %s, want %s", s, got, want)
		}
	}
}

func FuzzParseRef(f *testing.F) {
	for _, s := range []string{
		"/ipfs/bafkreiey5jxe6ilpf62lnh77tm5ejbbmhbugzjuf6p2v3remlu73ced34q/a/b", "ipfs://x", "pin/a", "", "/", "/ipns/x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, ok, err := parseRef(s)
		if err != nil {
			return
		}
		if !ok || block.CheckCID(r.root) != nil {
			t.Fatalf("%q: got %v, %t, want a CID that passes", s, r, ok)
		}
		again, _, err := parseRef("/ipfs/" + r.root.String() + "/" + r.path)
		if err != nil || again != r {
			t.Fatalf("%q: got %v, and read again %v, %v", s, r, again, err)
		}
	})
}

func FuzzSetKey(f *testing.F) {
	f.Add("", "1GiB")
	f.Add("[store]\ntarget = 5 # five\n[log]\nlevel = \"info\"\n", "0")
	f.Add("# a comment\n[log]\n", "2kB")
	f.Fuzz(func(t *testing.T, text, v string) {
		before, err := parseConfig([]byte(text))
		if err != nil || checkSize(v) != nil {
			return
		}
		changed, err := setKey([]byte(text), "store.target", v)
		if err != nil {
			return
		}
		after, err := parseConfig(changed)
		if err != nil {
			t.Fatalf("%q became %q: %v", text, changed, err)
		}
		before["store.target"] = v
		if !maps.Equal(before, after) {
			t.Fatalf("%q became %q: got %v, want %v", text, changed, after, before)
		}
	})
}

func TestParseRef(t *testing.T) {
	const c = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
	for _, tt := range []struct {
		in, path string
		ok       bool
	}{
		{c, "", true},
		{c + "/a/b", "a/b", true},
		{"/ipfs/" + c + "/a/", "a", true},
		{"ipfs://" + c, "", true},
		{"https://gateway.example/ipfs/" + c + "/a%20b?download=true#x", "a b", true},
		{"https://" + c + ".ipfs.gateway.example/a/b", "a/b", true},
		{"http://" + c + ".ipfs.localhost:8080", "", true},
		{"https://example.org/about", "", false},
		{"photos/2025", "", false},
	} {
		r, ok, err := parseRef(tt.in)
		if ok != tt.ok || ok && err != nil {
			t.Errorf("%s: got %v, %v, want %v", tt.in, ok, err, tt.ok)
			continue
		}
		if ok && (r.root.String() != c || r.path != tt.path) {
			t.Errorf("%s: got %s and %q, want %s and %q", tt.in, r.root, r.path, c, tt.path)
		}
	}
	for in, want := range map[string]string{
		"/ipns/example.org/a":                              "/ipns/example.org/a",
		"ipns://example.org":                               "/ipns/example.org",
		"https://gateway.example/ipns/example.org/a%20b?x": "/ipns/example.org/a b",
		"http://k51x.ipns.localhost:8080/a":                "/ipns/k51x/a",
		"/ipfs/" + c:                                       "",
		"example.org":                                      "",
	} {
		if _, ok, err := parseRef(in); want != "" && (ok && err == nil) {
			t.Errorf("%s: read as a CID", in)
		}
		if got, ok := namePath(in); ok != (want != "") || ok && got != want {
			t.Errorf("%s: got %q, %v, want %q", in, got, ok, want)
		}
	}
}
