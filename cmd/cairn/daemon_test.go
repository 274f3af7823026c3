package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/rogpeppe/go-internal/testscript"
)

// localScripts need no daemon: they make, lock and rebuild repositories, use
// none, or start their own daemons.
var localScripts = []string{"cid", "complete", "config", "itself", "nocopy", "rebuild", "repo", "serve", "sync", "peers", "routing", "served", "keysecret", "namepeers"}

// TestScriptsByDaemon runs the scripts again through a daemon, over its Unix
// socket and over TCP.
func TestScriptsByDaemon(t *testing.T) {
	all, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	ways := []string{"unix", "tcp"}
	if testing.Short() {
		// A process takes long to start with the race detector, and these start
		// hundreds.
		all, ways = []string{"testdata/add.txt", "testdata/alias.txt", "testdata/gc.txt"}, ways[:1]
	}
	for _, over := range ways {
		t.Run(over, func(t *testing.T) {
			var files []string
			for _, file := range all {
				name := strings.TrimSuffix(filepath.Base(file), ".txt")
				// Over TCP a daemon writes no files for others, and progress is
				// drawn as over a Unix socket.
				if !slices.Contains(localScripts, name) && (over == "unix" || name != "backup" && name != "progress") {
					files = append(files, file)
				}
			}
			if len(files) < min(len(all), 10) {
				t.Fatalf("got %d scripts, want more: is this the right folder?", len(files))
			}
			runScripts(t, func(e *testscript.Env) error {
				args := []string{"serve"}
				if over == "tcp" {
					args = append(args, "--api", "127.0.0.1:0")
				}
				d, err := launch(e.Vars, e.WorkDir, args...)
				if err != nil {
					return err
				}
				e.Defer(func() {
					if status := d.end(syscall.SIGTERM); status != 0 {
						t.Errorf("the daemon ended with status %d: %s", status, d.stderr.String())
					}
				})
				if over == "tcp" {
					e.Setenv("CAIRN_DAEMON", d.ready.API[1])
				}
				return nil
			}, files...)
		})
	}
}

type daemonsKey struct{}

// A daemon is a running "cairn serve".
type daemon struct {
	process *exec.Cmd
	ready   readiness
	stderr  bytes.Buffer
	drained chan struct{}
}

// launch starts a daemon, with the environment that a script has, and waits
// until it is ready.
func launch(env []string, dir string, args ...string) (*daemon, error) {
	path, err := exec.LookPath("cairn")
	if err != nil {
		return nil, err
	}
	d := &daemon{process: exec.Command(path, append([]string{"--json"}, args...)...), drained: make(chan struct{})}
	// No public peers, unless env has some.
	env = append([]string{"CAIRN_SWARM_BOOTSTRAP=none", "CAIRN_ROUTING_ROUTERS=none"}, env...)
	d.process.Dir, d.process.Env, d.process.Stderr = dir, env, &d.stderr
	out, err := d.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := d.process.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewReader(out)
	line, err := lines.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &d.ready)
	}
	go func() {
		defer close(d.drained)
		_, _ = io.Copy(io.Discard, lines)
	}()
	if err != nil {
		status := d.end(os.Kill)
		return nil, fmt.Errorf("the daemon said %q (%w) and ended with status %d: %s", line, err, status, d.stderr.String())
	}
	return d, nil
}

// end sends a signal, if it isn't nil, and waits. It returns the exit status, or
// -1 if a signal ended it.
func (d *daemon) end(s os.Signal) int {
	if s != nil {
		_ = d.process.Process.Signal(s) // it may have ended by itself
	}
	<-d.drained
	_ = d.process.Wait() // the status is checked instead
	return d.process.ProcessState.ExitCode()
}

// target returns the daemon as a target of verbs.
func (d *daemon) target(t *testing.T) *control.Target {
	t.Helper()
	c, err := control.Dial(d.ready.API[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// startDaemon starts a daemon: daemon NAME ARGUMENT… It sets NAME_PEER, NAME_ADDR,
// NAME_API, NAME_GATEWAY and NAME_PID.
func startDaemon(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: daemon NAME ARGUMENT…")
	}
	name := args[0]
	env := os.Environ()
	for _, variable := range []string{
		"HOME", "PATH", "NO_COLOR", "CAIRN_SWARM_LISTEN", "CAIRN_API_ADDR", "CAIRN_GATEWAY_ADDR", "CAIRN_SWARM_BOOTSTRAP", "CAIRN_ROUTING_ROUTERS",
		"CAIRN_DNS_SERVERS", "CAIRN_KEY_PASSPHRASE",
		"NOTIFY_SOCKET",
	} {
		env = append(env, variable+"="+ts.Getenv(variable))
	}
	d, err := launch(env, ts.MkAbs("."), append([]string{"serve"}, args[1:]...)...)
	ts.Check(err)
	all := ts.Value(daemonsKey{}).(map[string]*daemon)
	all[name] = d
	ts.Defer(func() {
		if all[name] == d {
			d.end(os.Kill)
		}
	})
	ts.Setenv(name+"_PEER", d.ready.PeerID)
	ts.Setenv(name+"_PID", strconv.Itoa(d.process.Process.Pid))
	ts.Setenv(name+"_GATEWAY", d.ready.Gateway)
	if len(d.ready.Addresses) > 0 {
		ts.Setenv(name+"_ADDR", d.ready.Addresses[0])
	}
	if len(d.ready.API) > 1 {
		ts.Setenv(name+"_API", d.ready.API[1])
	}
}

// endDaemon ends a daemon by a signal, or waits for its end, and expects a
// status: end NAME TERM|INT|KILL|none STATUS.
func endDaemon(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]os.Signal{"TERM": syscall.SIGTERM, "INT": os.Interrupt, "KILL": os.Kill, "none": nil}
	if neg || len(args) != 3 {
		ts.Fatalf("usage: end NAME SIGNAL STATUS")
	}
	signal, known := signals[args[1]]
	all := ts.Value(daemonsKey{}).(map[string]*daemon)
	d := all[args[0]]
	if d == nil || !known {
		ts.Fatalf("no daemon %s, or no signal %s", args[0], args[1])
	}
	delete(all, args[0])
	if got := strconv.Itoa(d.end(signal)); got != args[2] {
		ts.Fatalf("the daemon ended with status %s, want %s: %s", got, args[2], d.stderr.String())
	}
}
