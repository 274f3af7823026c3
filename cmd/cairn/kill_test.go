package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/ipfs/go-cid"
)

var (
	kills    = flag.Int("kills", 50, "how often TestKill kills the program")
	killSeed = flag.Uint64("killseed", 0, "what TestKill does; the moments stay random. 0: something else each time")
)

// TestKill runs the real program, kills it at random moments, and checks after
// each kill that the repository is in order, and that each alias is what an
// acknowledged command set, or the killed one was to set.
func TestKill(t *testing.T) {
	n := *kills
	if testing.Short() {
		n = min(n, 10)
	}
	k := newKiller(t)
	for k.killed < n {
		k.command()
	}
	k.checkAliases()
	for name, c := range k.aliases {
		k.checkContent(name, c)
	}
	t.Logf("%d kills, %d commands acknowledged, %d aliases in the end", k.killed, k.acked, len(k.aliases))
	if k.acked == 0 {
		t.Error("every command was killed: nothing was tested")
	}
}

// A content is a file or a folder, and its CID.
type content struct {
	path string
	cid  string
	car  string // a CAR of it
}

// A killer records what is acknowledged.
type killer struct {
	t             *testing.T
	rng           *rand.Rand
	program, repo string
	contents      []content
	aliases       map[string]content // what is set for certain
	took          map[string]time.Duration
	killed, acked int
}

// names are the aliases that commands change: few, so that they change often.
var names = []string{"a", "b", "c", "d", "e", "f"}

func newKiller(t *testing.T) *killer {
	seed := *killSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-killseed %d", seed)
	dir := t.TempDir()
	k := &killer{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)),
		program: filepath.Join(dir, "cairn"), repo: filepath.Join(dir, "repo"),
		aliases: make(map[string]content), took: make(map[string]time.Duration),
	}
	if runtime.GOOS == "windows" {
		k.program += ".exe"
	}
	if out, err := exec.Command("go", "build", "-o", k.program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for i := range 12 {
		k.contents = append(k.contents, k.makeContent(filepath.Join(dir, "content"), i))
	}
	return k
}

// makeContent makes a file or a folder, and a CAR of it.
func (k *killer) makeContent(dir string, i int) content {
	path := filepath.Join(dir, fmt.Sprint(i))
	files := map[string]int{"": 1 + k.rng.IntN(1<<(10+i))} // up to 2 MiB
	if i%3 == 0 {
		files = make(map[string]int)
		for range 1 + k.rng.IntN(60) {
			files[fmt.Sprintf("%c/%c", 'a'+k.rng.IntN(26), 'a'+k.rng.IntN(26))] = k.rng.IntN(20 << 10)
		}
	}
	for name, size := range files {
		p := filepath.Join(path, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			k.t.Fatal(err)
		}
		data := make([]byte, size)
		for j := range data {
			data[j] = byte(k.rng.Uint32())
		}
		if err := os.WriteFile(p, data, 0o644); err != nil {
			k.t.Fatal(err)
		}
	}
	c := content{path: path, cid: k.hash(path).String(), car: path + ".car"}
	other := "--repo=" + k.repo + "-other"
	k.must(other, "add", "-r", "-Q", path)
	k.must(other, "dag", "export", "-o", c.car, c.cid)
	return c
}

// hash returns the CID of the file or folder at path.
func (k *killer) hash(path string) cid.Cid {
	hasher, err := cairn.NewHasher(cairn.AddOptions{})
	if err != nil {
		k.t.Fatal(err)
	}
	added, err := hasher.AddPath(k.t.Context(), path)
	if err != nil {
		k.t.Fatal(err)
	}
	return added.CID
}

// must runs the program to its end.
func (k *killer) must(args ...string) string {
	k.t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(k.program, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		k.t.Fatalf("after %d kills: cairn %s: %v\n%s%s", k.killed, strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String()
}

// command runs a command that changes the repository, and may kill it.
func (k *killer) command() {
	name := names[k.rng.IntN(len(names))]
	c := k.contents[k.rng.IntN(len(k.contents))]
	after := maps.Clone(k.aliases) // if the command succeeds
	after[name] = c
	var args []string
	switch k.rng.IntN(7) {
	case 0, 1:
		args = []string{"add", "-r", "-Q", "--alias", name, c.path}
	case 2:
		args = []string{"dag", "import", "--alias", name, c.car}
	case 3:
		if len(k.aliases) == 0 {
			return
		}
		set := slices.Sorted(maps.Keys(k.aliases))
		from := set[k.rng.IntN(len(set))]
		after[name] = k.aliases[from]
		args = []string{"alias", "set", name, from}
	case 4:
		if _, set := k.aliases[name]; !set {
			return
		}
		delete(after, name)
		args = []string{"alias", "rm", name}
	case 5:
		after = k.aliases
		args = []string{"gc"}
	case 6:
		after = k.aliases
		args = []string{"add", "-r", "-Q", "--no-pin", c.path}
	}
	if k.runAndKill(args) {
		k.acked++
		k.aliases = after
		return
	}
	k.killed++
	k.must("--repo", k.repo, "verify")
	now := k.listed()
	switch {
	case maps.Equal(now, cids(after)):
		k.aliases = after
	case !maps.Equal(now, cids(k.aliases)):
		k.t.Fatalf("after %d kills, the last of cairn %s: got the aliases %v, want %v or %v",
			k.killed, strings.Join(args, " "), now, cids(k.aliases), cids(after))
	}
	if len(k.aliases) > 0 {
		set := slices.Sorted(maps.Keys(k.aliases))
		name := set[k.rng.IntN(len(set))]
		k.checkContent(name, k.aliases[name])
	}
}

// runAndKill runs a command, and kills it at a random moment of the time that
// such a command takes. It reports whether the command succeeded before that.
func (k *killer) runAndKill(args []string) bool {
	var errs bytes.Buffer
	cmd := exec.Command(k.program, append([]string{"--repo", k.repo}, args...)...)
	cmd.Stderr = &errs
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	usual, known := k.took[args[0]]
	moment := time.Minute // the first of its kind is not killed
	if known {
		moment = time.Duration(k.rng.Int64N(int64(usual) * 4 / 3))
	}
	select {
	case err := <-ended:
		if err != nil {
			k.t.Fatalf("after %d kills: cairn %s: %v\n%s", k.killed, strings.Join(args, " "), err, errs.String())
		}
		k.took[args[0]] = time.Since(begun)
		return true
	case <-time.After(moment):
	}
	// It may have ended just now: the kill fails then.
	if cmd.Process.Kill() == nil {
		<-ended
		return cmd.ProcessState.Success()
	}
	return <-ended == nil
}

// listed returns the aliases of the repository.
func (k *killer) listed() map[string]string {
	got := make(map[string]string)
	for line := range strings.Lines(k.must("--repo", k.repo, "alias", "ls", "--json")) {
		var a struct{ Name, CID string }
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			k.t.Fatalf("%q: %v", line, err)
		}
		got[a.Name] = a.CID
	}
	return got
}

func cids(aliases map[string]content) map[string]string {
	m := make(map[string]string)
	for name, c := range aliases {
		m[name] = c.cid
	}
	return m
}

func (k *killer) checkAliases() {
	if got, want := k.listed(), cids(k.aliases); !maps.Equal(got, want) {
		k.t.Fatalf("got the aliases %v, want %v", got, want)
	}
}

// checkContent compares an alias's content with what was added: a file by its
// bytes, a folder by its CID when it is added again.
func (k *killer) checkContent(alias string, c content) {
	info, err := os.Stat(c.path)
	if err != nil {
		k.t.Fatal(err)
	}
	if !info.IsDir() {
		want, err := os.ReadFile(c.path)
		if err != nil {
			k.t.Fatal(err)
		}
		if got := k.must("--repo", k.repo, "cat", alias); got != string(want) {
			k.t.Fatalf("after %d kills: alias %s: got %d bytes, want %d, or they differ", k.killed, alias, len(got), len(want))
		}
		return
	}
	out := filepath.Join(k.t.TempDir(), filepath.Base(c.path))
	k.must("--repo", k.repo, "get", "-o", out, alias)
	if got := k.hash(out); got != cid.MustParse(c.cid) {
		k.t.Fatalf("after %d kills: alias %s: got %s, want %s", k.killed, alias, got, c.cid)
	}
}
