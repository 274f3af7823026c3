package unixfs

import (
	"fmt"
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
		{"a\r", "a x/a", ""},
		{"ü*", "über", "u"},
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
	for _, nothing := range []string{"", "# comment", "   ", "/", "!", "\r"} {
		if p, ok, err := parsePattern(nothing); ok || err != nil {
			t.Errorf("%q: got %+v, %v, want nothing", nothing, p, err)
		}
	}
	for _, bad := range []string{"[a", "a//b", "x/[/y", `a\`} {
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
		"a bad pattern in a file":   {fstest.MapFS{"d/.i": {Data: []byte("x\n[\n")}}, Options{IgnoreFiles: []string{".i"}}, `d: .i: invalid pattern "["`},
		"a large ignore file":       {fstest.MapFS{"d/.i": {Data: make([]byte, maxIgnoreFile+1)}}, Options{IgnoreFiles: []string{".i"}}, `d: .i: the ignore file has more`},
		"too many patterns":         {tree, Options{Exclude: strings.Split(many+many, "\n")}, "10002 patterns"},
		"too many in several files": {fstest.MapFS{".i": {Data: []byte(many)}, "d/.i": {Data: []byte(many)}}, Options{IgnoreFiles: []string{".i"}}, "d: the ignore files have 10002"},
	} {
		if _, err := ImportFS(t.Context(), discardPutter{}, tt.tree, tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
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
		if len(p.segments) == 0 {
			t.Fatalf("%q: no segments", line)
		}
		if names := strings.Split(path, "/"); len(names) <= MaxDepth {
			p.matches(names)
		}
	})
}
