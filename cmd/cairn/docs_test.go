package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cairn-ipfs/cairn/internal/control"
)

var (
	// drawn are words that differ in each run: names of keys.
	drawn = regexp.MustCompile(`k51[0-9a-z]{50,}`)
	// passing are times, and sizes of records that depend on them.
	passing = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z|\b\d{3} bytes`)
)

// A page is a page of the documentation, and a run of its commands.
type page struct {
	*testing.T
	dir   string
	env   []string
	names map[string]string // those of the page, and those of this run
}

// shown returns the lines of a page that are commands and their output.
func shown(text string) (lines []string) {
	inside := false
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "```console":
			inside = true
		case line == "```":
			inside = false
		case inside:
			lines = append(lines, line)
		}
	}
	return lines
}

// run runs a command of the page, and compares its output with the lines below
// it.
func (p *page) run(command string, want []string) {
	p.Helper()
	args := strings.Fields(drawn.ReplaceAllStringFunc(command, func(name string) string { return p.names[name] }))
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env = p.dir, p.env
	out, err := cmd.CombinedOutput()
	if err != nil && !strings.HasPrefix(string(out), "cairn: ") {
		p.Fatalf("%s: %v: %s", command, err, out)
	}
	got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(out) == 0 {
		got = nil
	}
	if len(got) != len(want) {
		p.Fatalf("$ %s\ngot  %q\nwant %q", command, got, want)
	}
	for i := range want {
		theirs, ours := drawn.FindAllString(want[i], -1), drawn.FindAllString(got[i], -1)
		for j := range min(len(theirs), len(ours)) {
			if p.names[theirs[j]] == "" {
				p.names[theirs[j]] = ours[j]
			}
		}
		expected := drawn.ReplaceAllStringFunc(want[i], func(name string) string { return p.names[name] })
		if passing.ReplaceAllString(got[i], "…") != passing.ReplaceAllString(expected, "…") {
			p.Errorf("$ %s\ngot  %q\nwant %q", command, got[i], expected)
		}
	}
}

// TestNamesPage runs the commands of docs/names.md at a daemon, which is
// connected to another one, bob.
func TestNamesPage(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/names.md")
	if err != nil {
		t.Fatal(err)
	}
	p := &page{T: t, dir: t.TempDir(), names: make(map[string]string)}
	p.env = append(os.Environ(), "HOME="+p.dir, "CAIRN_PATH="+filepath.Join(p.dir, "alice"), "CAIRN_DNS_SERVERS=off",
		"CAIRN_SWARM_LISTEN=/ip4/127.0.0.1/tcp/0",
		"CAIRN_API_ADDR=off", "CAIRN_GATEWAY_ADDR=off")
	for folder, title := range map[string]string{"site": "first", "next": "second"} {
		if err := os.Mkdir(filepath.Join(p.dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(p.dir, folder, "index.html"), fmt.Appendf(nil, "<h1>%s</h1>\n", title), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var daemons []*daemon
	for _, args := range [][]string{nil, {"--repo", "bob"}} {
		d, err := launch(p.env, p.dir, append(args, "serve")...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.end(os.Kill) })
		daemons = append(daemons, d)
	}
	alice, err := control.Dial(daemons[0].ready.API[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := control.Connect.Do(t.Context(), alice, control.AddressArgs{Address: daemons[1].ready.Addresses[0]}); err != nil {
		t.Fatal(err)
	}
	// Records go into the DHT of the two once each knows the other.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := control.RoutingStatus.Do(t.Context(), alice, struct{}{})
		if err != nil {
			t.Fatal(err)
		}
		if s.Peers+s.LocalPeers > 0 {
			break
		}
		<-tick.C
	}

	command, want, ran := "", []string(nil), 0
	for _, line := range append(shown(string(text)), "$ ") {
		next, isCommand := strings.CutPrefix(line, "$ ")
		if !isCommand {
			want = append(want, line)
			continue
		}
		if command != "" {
			p.run(command, want)
			ran++
		}
		command, want = next, nil
	}
	if ran < 10 {
		t.Errorf("%d commands ran: is that the page?", ran)
	}
}
