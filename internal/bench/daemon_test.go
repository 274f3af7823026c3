package bench_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/ipfs/go-cid"
)

// buildCommand builds the stripped command and returns its path, or nothing if the
// run does not measure it.
func (s *stage) buildCommand() string {
	s.Helper()
	if !s.command {
		return ""
	}
	name := filepath.Join(s.TempDir(), "cairn.exe")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", name, "github.com/cairn-ipfs/cairn/cmd/cairn")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	s.check(build.Run())
	return name
}

// A daemon is a running "cairn serve" that answers only on its socket.
type daemon struct {
	process *exec.Cmd
	api     string // for --daemon
	started time.Time
}

// startDaemon starts a daemon, and waits until it reports that it is ready.
func (s *stage) startDaemon(command, dir string, args ...string) *daemon {
	s.Helper()
	args = append([]string{"serve", "--json", "--repo", dir, "--api", "off", "--gateway", "off"}, args...)
	d := &daemon{process: exec.Command(command, args...)}
	d.process.Stderr = os.Stderr
	out, err := d.process.StdoutPipe()
	s.check(err)
	d.started = time.Now()
	s.check(d.process.Start())
	line, err := bufio.NewReader(out).ReadBytes('\n')
	s.check(err)
	var report struct{ API []string }
	s.check(json.Unmarshal(line, &report))
	d.api = report.API[0]
	return d
}

// stopDaemon stops a daemon, and waits for its end.
func (s *stage) stopDaemon(d *daemon) {
	s.Helper()
	s.check(d.process.Process.Signal(os.Interrupt))
	s.check(d.process.Wait())
}

// measureCatDaemon measures reading a file back with the command line, through a
// daemon.
func measureCatDaemon(s *stage) []row {
	command := s.buildCommand()
	if command == "" {
		return nil
	}
	name := s.newRandomFile(s.file)
	r := row{
		work: "read a file of " + formatBytes(s.file) + " back, with the command line through the daemon (`cat`)",
		kubo: "3.3 s", yardstick: "the same file by `http.ServeFile` over a Unix socket, to a client that copies",
		unit: "s", goal: goal{ratio: 1.3},
	}
	s.scratch(func(dir string) {
		repo := filepath.Join(dir, "repo")
		st := s.open(repo)
		root := s.add(st, name)
		s.check(st.Close())
		d := s.startDaemon(command, repo, "--listen", "off")
		socket, stop := s.serveFile(name, dir)
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		s.check(err)
		r.cairn, r.beside = s.alternate(func() time.Duration {
			return timeOf(func() { s.cat(command, d.api, root, null) })
		}, func() time.Duration {
			return timeOf(func() { s.copyFrom(socket, null) })
		})
		// It writes the whole file.
		out, err := os.Create(filepath.Join(dir, "out"))
		s.check(err)
		s.cat(command, d.api, root, out)
		info, err := out.Stat()
		s.check(err)
		if info.Size() != s.file {
			s.Errorf("got %d bytes, want %d", info.Size(), s.file)
		}
		s.check(errors.Join(out.Close(), null.Close()))
		stop()
		s.stopDaemon(d)
	})
	return []row{r}
}

func (s *stage) cat(command, api string, root cid.Cid, to *os.File) {
	s.Helper()
	c := exec.Command(command, "--daemon", api, "cat", root.String())
	c.Stdout, c.Stderr = to, os.Stderr
	s.check(c.Run())
}

// serveFile serves one file at every path, on a socket in dir.
func (s *stage) serveFile(name, dir string) (socket string, stop func()) {
	s.Helper()
	socket = filepath.Join(dir, "file.sock")
	l, err := net.Listen("unix", socket)
	s.check(err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, name) })}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	return socket, func() {
		s.check(server.Close())
		<-ended
	}
}

// copyFrom is a client that copies a response, with a buffer of 1 MiB.
func (s *stage) copyFrom(socket string, to *os.File) {
	s.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("http://unix/file")
	s.check(err)
	defer resp.Body.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{resp.Body}, make([]byte, 1<<20))
	s.check(err)
	if n != s.file {
		s.Errorf("the yardstick copied %d bytes, want %d", n, s.file)
	}
}

// measureReady measures the time from the start of a daemon's process to its first
// answer.
func measureReady(s *stage) (rows []row) {
	command := s.buildCommand()
	if command == "" {
		return nil
	}
	measure := func(dir string, args ...string) row {
		var times []float64
		for range max(s.rounds, min(s.calls, 20)) {
			d := s.startDaemon(command, dir, args...)
			c, err := control.Dial(d.api)
			s.check(err)
			_, err = control.Identify.Do(s.Context(), c, struct{}{})
			s.check(err)
			times = append(times, time.Since(d.started).Seconds()*1000)
			c.Close()
			s.stopDaemon(d)
		}
		return row{kubo: "0.1 s", cairn: quantile(times, 0.5), unit: "ms", goal: goal{atMost: 100}}
	}
	s.scratch(func(dir string) {
		r := measure(filepath.Join(dir, "repo"), "--listen", "/ip4/127.0.0.1/tcp/0", "--listen", "/ip4/127.0.0.1/udp/0/quic-v1")
		r.work = "daemon ready to answer, empty repository, median"
		rows = append(rows, r)
	})
	s.scratch(func(dir string) {
		st := s.open(dir)
		f, n := s.newFiller(st), s.blocks/4
		for i := range n {
			f.add(s.numberedBlock(1, uint64(i), tinySize))
		}
		f.commit()
		s.check(st.Close())
		r := measure(dir, "--listen", "/ip4/127.0.0.1/tcp/0", "--listen", "/ip4/127.0.0.1/udp/0/quic-v1")
		r.work, r.kubo = fmt.Sprintf("the same with a repository of %d blocks", n), ""
		rows = append(rows, r)
	})
	return rows
}
