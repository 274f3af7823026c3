package unixfs

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestPatterns(t *testing.T) {
	for _, tt := range []struct {
		pattern string
		yes, no string // names that match or not; directories end in a slash
	}{
		{"a", "a a/ x/a x/y/a/", "b ab a/b"},
		{"*.o", "a.o x/b.o .o", "a.os a/o"},
		{"/a", "a a/", "x/a"},
		{"a/", "a/ x/a/", "a x/a"},
		{"x/a", "x/a x/a/", "a y/x/a x/b/a"},
		{"x/*", "x/a x/b/", "x x/a/b"},
		{"**/a", "a x/a x/y/a", "b"},
		{"x/**", "x/a x/a/b/c", "x y/x/a"},
		{"x/**/a", "x/a x/y/a x/y/z/a", "a x y/a"},
		{"**/**/a", "a x/a", "b"},
		{"x/**/**", "x/a", "x"},
		{"[abc].txt", "a.txt x/c.txt", "d.txt"},
		{"[!abc].txt", "d.txt", "a.txt"},
		{"a?c", "abc x/a-c", "ac a/c"},
		{`\#a`, "#a", "a"},
		{`\!a`, "!a", "a"},
		{`a\ `, "a\u0020", ""},
		{"a  ", "a", ""},
		{"ü*", "über", "u"},
		{`a\\  `, `a\`, "a"},
		{"[]-]", "] -", "x"},
		{"[a-c-]x", "bx -x", "dx"},
		{"[[:digit:]_]", "7 _", "a :"},
		{"[[:x]", ": x [", "]"},
		{`[\]]`, "]", `\`},
		{"a**b", "ab axb x/ayb", "a/b"},
		{"x/**y", "x/y x/ay", "x/a/y"},
		{"a[!b]c/d", "axc/d", "abc/d a/c/d"},
	} {
		p, ok, err := parsePattern(tt.pattern)
		if err != nil || !ok {
			t.Errorf("%q: got %v, %v", tt.pattern, ok, err)
			continue
		}
		for want, all := range map[bool]string{true: tt.yes, false: tt.no} {
			for name := range strings.SplitSeq(all, " ") {
				if name == "" {
					continue
				}
				if strings.HasSuffix(tt.pattern, `\ `) {
					name += " "
				}
				path, dir := strings.CutSuffix(name, "/")
				if got := p.matches(strings.Split(path, "/")) && (dir || !p.dirOnly); got != want {
					t.Errorf("%q, %q: got %t", tt.pattern, name, got)
				}
			}
		}
	}
	for _, nothing := range []string{"", "# comment", "   ", "/", "!"} {
		if p, ok, err := parsePattern(nothing); ok || err != nil {
			t.Errorf("%q: got %+v, %v, want nothing", nothing, p, err)
		}
	}
	for _, bad := range []string{"[a", "a//b", "x/[/y", `a\`, "[[:x:]]", "[a-"} {
		if _, _, err := parsePattern(bad); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", bad)) {
			t.Errorf("%q: got %v, want an error that names it", bad, err)
		}
	}
	// A hostile pattern doesn't take exponential time.
	slow, _, err := parsePattern(strings.Repeat("**/a*a*a*a/", 200) + "b")
	if err != nil {
		t.Fatal(err)
	}
	if slow.matches(strings.Split(strings.Repeat(strings.Repeat("a", 200)+"/", MaxDepth)+"c", "/")) {
		t.Error("got a match, want none")
	}
}

func TestImportFilters(t *testing.T) {
	tree := fstest.MapFS{
		".ipfsignore":     {Data: []byte("\ufeff*.log\n!keep.log\n/top\nbuild/\n")},
		"a.txt":           {},
		"a.log":           {},
		"keep.log":        {},
		"top":             {},
		"d/top":           {},
		"d/.ipfsignore":   {Data: []byte("!b.log\nkeep.log\n*.txt")},
		"d/b.log":         {},
		"d/c.txt":         {},
		"d/keep.log":      {},
		"d/build/x":       {},
		"d/e/c.txt":       {},
		"d/e/other":       {},
		"build":           {},
		"f/build/x":       {},
		"f/.ipfsignore/x": {},
		"only/logs/a.log": {},
		".hidden/x":       {},
	}
	ignore := []string{".ipfsignore"}
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"ignore files", Options{IgnoreFiles: ignore, SkipHidden: true},
			"a.txt build d/b.log d/e/other d/e/ d/top d/ f/ keep.log only/logs/ only/ ./"},
		{"absent ignore files", Options{IgnoreFiles: []string{".nothing"}, Include: []string{"top"}},
			"d/top d/ top ./"},
		{"exclude", Options{Exclude: []string{"*.log", ".*", "build", "!/build", "d/e"}},
			"a.txt build d/c.txt d/top d/ f/ only/logs/ only/ top ./"},
		{"exclude before ignore files", Options{IgnoreFiles: ignore, SkipHidden: true, Exclude: []string{"!top", "*.log", "only/", "f", "d/e/"}},
			"a.txt build d/top d/ top ./"},
		{"include", Options{Include: []string{"*.txt", "only/logs/"}, SkipHidden: true},
			"a.txt d/c.txt d/e/c.txt d/e/ d/ only/logs/a.log only/logs/ only/ ./"},
		{"include a directory whole", Options{Include: []string{"/d"}, SkipHidden: true},
			"d/b.log d/build/x d/build/ d/c.txt d/e/c.txt d/e/other d/e/ d/keep.log d/top d/ ./"},
		{"include, but for what is excluded", Options{Include: []string{"d"}, Exclude: []string{"*.log", "build"}, SkipHidden: true},
			"d/c.txt d/e/c.txt d/e/other d/e/ d/top d/ ./"},
		{"include nothing that is there", Options{Include: []string{"nothing"}}, "./"},
		{"include, not taken back", Options{Include: []string{"d/*", "!d/e", "!*.log", "!d/build", "!.*"}}, "d/c.txt d/top d/ ./"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			tt.o.OnItem = func(a ImportItem) {
				if a.Type == TypeDirectory {
					a.Path += "/"
				}
				got = append(got, a.Path)
			}
			if _, err := ImportFS(t.Context(), discardPutter{}, tree, tt.o); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(got, " "); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	many := strings.Repeat("x\n", maxPatterns/2+1)
	for what, tt := range map[string]struct {
		tree fstest.MapFS
		o    Options
		want string
	}{
		"a bad pattern":             {tree, Options{Exclude: []string{"["}}, `invalid pattern "["`},
		"a bad pattern to include":  {tree, Options{Include: []string{"["}}, `invalid pattern "["`},
		"a bad pattern in a file":   {fstest.MapFS{"d/.i": {Data: []byte("x\n[\n")}}, Options{IgnoreFiles: []string{".i"}}, ""},
		"a large ignore file":       {fstest.MapFS{"d/.i": {Data: make([]byte, maxIgnoreFile+1)}}, Options{IgnoreFiles: []string{".i"}}, `d: .i: the ignore file has more`},
		"too many patterns":         {tree, Options{Exclude: strings.Split(many+many, "\n")}, "10002 patterns"},
		"too many in several files": {fstest.MapFS{".i": {Data: []byte(many)}, "d/.i": {Data: []byte(many)}}, Options{IgnoreFiles: []string{".i"}}, "d: the ignore files have 10002"},
	} {
		_, err := ImportFS(t.Context(), discardPutter{}, tt.tree, tt.o)
		if tt.want == "" && err == nil {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", what, err, tt.want)
		}
	}
}

func FuzzPattern(f *testing.F) {
	for _, s := range []string{"a", "!/a/**/b/", "[a-c]*?", `\#x`, "**/**"} {
		f.Add(s, "a/b/c")
	}
	f.Fuzz(func(t *testing.T, line, path string) {
		p, ok, err := parsePattern(line)
		if err != nil || !ok {
			return
		}
		if len(p.tokens) == 0 {
			t.Fatalf("%q: no tokens", line)
		}
		if names := strings.Split(path, "/"); len(names) <= MaxDepth {
			p.matches(names)
		}
	})
}

// TestGit imports random trees with random ignore files, and expects the files
// that git lists.
func TestGit(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil {
		t.Skip("there is no git to compare with")
	}
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	for round := range rounds {
		r := rand.New(rand.NewPCG(uint64(round), 1))
		dir := t.TempDir()
		pick := func(from string, least, most int) string {
			var s strings.Builder
			for range least + r.IntN(most-least+1) {
				s.WriteByte(from[r.IntN(len(from))])
			}
			return s.String()
		}
		var dirs []string
		for range 8 {
			sub := filepath.Join(dir, pick("ab]", 1, 1), pick("abA-", 1, 2), pick("a1 ", 1, 2))
			if os.MkdirAll(sub, 0o755) == nil {
				dirs = append(dirs, sub, filepath.Dir(sub), filepath.Dir(filepath.Dir(sub)))
			}
		}
		dirs = append(dirs, dir)
		for range 60 {
			_ = os.WriteFile(filepath.Join(dirs[r.IntN(len(dirs))], pick("abcA1]-[!^:* \\", 1, 3)), nil, 0o644) // it may be a directory
		}
		for range 3 {
			var lines []string
			for range r.IntN(7) {
				switch r.IntN(3) {
				case 0:
					lines = append(lines, pick("ab*/?!", 1, 6))
				case 1:
					lines = append(lines, pick("!/", 0, 1)+pick("ab", 0, 1)+[]string{"**/", "/**/", "/**", "**", "*/", "/"}[r.IntN(6)]+pick("ab*?", 0, 2)+pick("/", 0, 1))
				default:
					sets := []string{"[a-c]", "[!a]", "[^]a]", "[]-]", "[[:alpha:]]", "[[:punct:][:digit:]]", "[a-]", `[\]]`, "[[:x]", "[a", "[[:nope:]]", "[c-a]", "[!]a-]", `[\a-\c]`}
					lines = append(lines, pick("ab*", 0, 1)+sets[r.IntN(len(sets))]+pick(`ab*\ `, 0, 2))
				}
			}
			text := strings.Join(lines, []string{"\n", "\r\n"}[r.IntN(2)]) + pick("\n", 0, 1)
			if err := os.WriteFile(filepath.Join(dirs[r.IntN(len(dirs))], ".gitignore"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		command := func(args ...string) []byte {
			c := exec.Command(git, args...)
			c.Dir, c.Env = dir, []string{"HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1", "PATH=" + os.Getenv("PATH")}
			out, err := c.Output()
			if err != nil {
				t.Fatalf("git %v: %v", args, err)
			}
			return out
		}
		command("init", "-q", ".")
		var want []string
		for name := range strings.SplitSeq(string(command("ls-files", "--others", "--exclude-per-directory=.gitignore", "-z")), "\x00") {
			if name != "" {
				want = append(want, name)
			}
		}
		if err := os.RemoveAll(filepath.Join(dir, ".git")); err != nil {
			t.Fatal(err)
		}
		var got []string
		o := Options{IgnoreFiles: []string{".gitignore"}, OnItem: func(a ImportItem) {
			if a.Type != TypeDirectory {
				got = append(got, a.Path)
			}
		}}
		if _, err := ImportPath(t.Context(), discardPutter{}, dir, o); err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			for path, d := range walkFiles(t, dir) {
				t.Logf("%s: %q", path, d)
			}
			t.Fatalf("round %d: got\n%q\nwant\n%q", round, got, want)
		}
	}
}

// walkFiles returns the ignore files of a tree.
func walkFiles(t *testing.T, dir string) map[string]string {
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == ".gitignore" {
			var data []byte
			data, err = os.ReadFile(path)
			all[strings.TrimPrefix(path, dir)] = string(data)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
