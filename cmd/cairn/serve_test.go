package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/control"
)

// serveQuietly starts a daemon that listens only at its socket, unless args say
// otherwise.
func serveQuietly(t *testing.T, repo string, args ...string) *daemon {
	t.Helper()
	return serveWith(t, os.Environ(), repo, args...)
}

func serveWith(t *testing.T, env []string, repo string, args ...string) *daemon {
	t.Helper()
	args = append([]string{"--repo", repo, "serve", "--listen", "off", "--api", "off", "--gateway", "off"}, args...)
	d, err := launch(env, t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.end(os.Kill) })
	return d
}

// A gate is a gateway whose answer pauses in the middle until it is opened.
type gate struct {
	http.Handler
	after   int64         // bytes
	open    chan struct{} // closed when it's open
	reached chan struct{} // closed when it has stopped
	once    sync.Once
	sent    atomic.Int64
}

type gatedWriter struct {
	http.ResponseWriter
	gate *gate
	ctx  context.Context
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.Handler.ServeHTTP(gatedWriter{w, g, r.Context()}, r)
}

func (w gatedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w gatedWriter) Write(p []byte) (int, error) {
	if w.gate.sent.Load() >= w.gate.after {
		w.gate.once.Do(func() { close(w.gate.reached) })
		select {
		case <-w.gate.open:
		case <-w.ctx.Done():
			return 0, w.ctx.Err()
		}
	}
	n, err := w.ResponseWriter.Write(p)
	w.gate.sent.Add(int64(n))
	return n, err
}

// TestKilledWhileSyncing kills a daemon during a sync, and expects the next one to
// continue there.
func TestKilledWhileSyncing(t *testing.T) {
	t.Parallel()
	const size = 96 << 20
	source, err := cairn.Open(t.Context(), cairn.Config{Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	data := noise(size, 1)
	file, err := source.Add(t.Context(), bytes.NewReader(data), cairn.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{Handler: source.Gateway(), after: size / 6 * 5, open: make(chan struct{}), reached: make(chan struct{})}
	server := httptest.NewServer(g)
	defer server.Close()

	repo := filepath.Join(t.TempDir(), "repo")
	d := serveQuietly(t, repo)
	first := exec.Command("cairn", "--repo", repo, "sync", "--only-from", "--from", server.URL, "--alias", "it", file.CID.String())
	var said bytes.Buffer
	first.Stderr = &said
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	<-g.reached
	// Blocks that arrive are committed every few seconds, and are live then.
	c := d.target(t)
	for live := int64(0); live <= 1; {
		st, err := control.Stats.Do(t.Context(), c, struct{}{})
		if err != nil {
			t.Fatal(err)
		}
		live = st.LiveBlocks
	}
	d.end(os.Kill)
	if err := first.Wait(); err == nil || first.ProcessState.ExitCode() != exitFailed || !strings.Contains(said.String(), "the daemon at ") && !strings.Contains(said.String(), "no daemon answers") {
		t.Errorf("the command at the killed daemon: got %v and %q, want status %d", err, said.String(), exitFailed)
	}
	close(g.open)

	d = serveQuietly(t, repo)
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("cairn", append([]string{"--repo", repo}, args...)...).Output()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return string(out)
	}
	if out := run("alias", "ls", "it"); out != "" {
		t.Errorf("an alias is set of what isn't whole: %s", out)
	}
	lines := strings.Split(strings.TrimSpace(run("--json", "sync", "--only-from", "--from", server.URL, "--alias", "it", file.CID.String())), "\n")
	var last struct {
		Bytes int
		Done  bool
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || !last.Done {
		t.Fatalf("got %q, %v", lines, err)
	}
	t.Logf("%d bytes in all; when the daemon was killed, %d had been sent; then %d came", size, g.after, last.Bytes)
	if last.Bytes >= size {
		t.Errorf("got %d bytes again, want what had been missing", last.Bytes)
	}
	if got := run("cat", "it"); got != string(data) {
		t.Errorf("got %d bytes, want %d", len(got), size)
	}
	run("verify")
	if status := d.end(syscall.SIGTERM); status != exitDone {
		t.Errorf("got status %d: %s", status, d.stderr.String())
	}
}

// TestServeEnds ends daemons during a subscription to events, and during an
// endless add: they close.
func TestServeEnds(t *testing.T) {
	t.Parallel() // it mostly waits
	for _, signal := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		repo := filepath.Join(t.TempDir(), "repo")
		d := serveQuietly(t, repo)
		c := d.target(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var waiting sync.WaitGroup
		in, out := io.Pipe()
		waiting.Go(func() {
			_, err := control.AddAll(ctx, c, control.AddRequest{Items: []control.AddItem{{In: in}}})
			if err == nil {
				t.Error("what never ended was added")
			}
			in.CloseWithError(io.ErrClosedPipe)
		})
		if _, err := out.Write(make([]byte, 4<<20)); err != nil { // it is being read
			t.Fatal(err)
		}
		waiting.Go(func() {
			for _, err := range control.Events.Do(ctx, c, struct{}{}) {
				if err == nil {
					t.Error("got an event")
				}
			}
		})
		if status := d.end(signal); status != exitDone {
			t.Errorf("%v: got status %d: %s", signal, status, d.stderr.String())
		}
		waiting.Wait()
	}
}

// TestSecondSignal sends a second signal to a daemon that closes: it ends at once.
func TestSecondSignal(t *testing.T) {
	env, expect := systemd(t)
	d := serveWith(t, env, filepath.Join(t.TempDir(), "repo"))
	expect("READY=1")
	c := d.target(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var waiting sync.WaitGroup
	in, out := io.Pipe()
	waiting.Go(func() {
		_, _ = control.AddAll(ctx, c, control.AddRequest{Items: []control.AddItem{{In: in}}}) // it is cut off
		in.CloseWithError(io.ErrClosedPipe)
	})
	if _, err := out.Write(make([]byte, 4<<20)); err != nil {
		t.Fatal(err)
	}
	_ = d.process.Process.Signal(syscall.SIGTERM)
	expect("STOPPING=1")
	// The first signal keeps its effect for repeatedSignal.
	for ended := false; !ended; {
		_ = d.process.Process.Signal(syscall.SIGTERM)
		select {
		case <-d.drained:
			ended = true
		case <-time.After(10 * time.Millisecond):
		}
	}
	if status := d.end(nil); status != -1 {
		t.Errorf("got status %d, want the end by a signal", status)
	}
	waiting.Wait()
}

// systemd waits for the state that a daemon reports.
func systemd(t *testing.T) (env []string, expect func(string)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return append(os.Environ(), "NOTIFY_SOCKET="+path), func(want string) {
		t.Helper()
		buffer := make([]byte, 100)
		n, err := l.Read(buffer)
		if err != nil || string(buffer[:n]) != want {
			t.Errorf("got %q, %v, want %q", buffer[:n], err, want)
		}
	}
}

// TestNotify listens as systemd does.
func TestNotify(t *testing.T) {
	env, expect := systemd(t)
	d := serveWith(t, env, filepath.Join(t.TempDir(), "repo"))
	expect("READY=1")
	if status := d.end(syscall.SIGTERM); status != exitDone {
		t.Errorf("got status %d", status)
	}
	expect("STOPPING=1")
}

// TestListenAddrs parses values of --listen.
func TestListenAddrs(t *testing.T) {
	for _, tt := range []struct {
		in    string
		count int
		local bool
		ok    bool
	}{
		{"off", 0, false, true},
		{"", 0, false, true},
		{":4001", len(cairn.DefaultListen()), false, true},
		{":0", len(cairn.DefaultListen()), false, true},
		{"/ip4/127.0.0.1/tcp/0", 1, true, true},
		{"/ip4/127.0.0.1/tcp/0,/ip6/::1/tcp/0", 2, true, true},
		{"/ip4/127.0.0.1/tcp/0 /ip4/0.0.0.0/tcp/0", 2, false, true},
		{"off,/ip4/127.0.0.1/tcp/0", 0, false, false},
		{":http", 0, false, false},
		{":70000", 0, false, false},
		{"127.0.0.1:4001", 0, false, false},
	} {
		list := settings{"x": value{text: tt.in}}.list("x")
		addrs, local, err := listenAddrs(list)
		if len(addrs) != tt.count || local != tt.local || (err == nil) != tt.ok {
			t.Errorf("%q: got %q, %v, %v", tt.in, addrs, local, err)
		}
	}
	addrs, _, err := listenAddrs([]string{":0"})
	if err != nil || strings.Contains(strings.Join(addrs, " "), "4001") {
		t.Errorf("got %q, %v, want no 4001", addrs, err)
	}
	for best, list := range map[string][]string{
		"":                        nil,
		"/ip4/127.0.0.1/tcp/1":    {"/ip4/127.0.0.1/udp/1/quic-v1", "/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/1/ws"},
		"/ip4/192.0.2.1/tcp/1":    {"/ip4/127.0.0.1/tcp/1", "/ip4/192.0.2.1/udp/1/quic-v1", "/ip4/192.0.2.1/tcp/1"},
		"/ip4/192.0.2.1/tcp/2/ws": {"/ip4/127.0.0.1/tcp/1", "/ip4/192.0.2.1/tcp/2/ws"},
	} {
		if got := bestAddr(list); got != best {
			t.Errorf("%q: got %q, want %q", list, got, best)
		}
	}
}
