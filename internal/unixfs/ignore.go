package unixfs

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

const (
	// maxIgnoreFile bounds an ignore file, in bytes, and maxPatterns the
	// patterns that apply in a directory: each is compared with each entry.
	maxIgnoreFile = 1 << 20
	maxPatterns   = 10_000
)

// A pattern is one line in the syntax of gitignore.
type pattern struct {
	// segments are the parts between slashes; "**" matches any number of names.
	segments []string
	negated  bool
	dirOnly  bool
}

// parsePattern parses a line. ok is false for a blank line or a comment.
func parsePattern(line string) (p pattern, ok bool, err error) {
	text := strings.TrimSuffix(line, "\r")
	if strings.HasPrefix(text, "#") {
		return pattern{}, false, nil
	}
	// A trailing space counts only after a backslash.
	for strings.HasSuffix(text, " ") && !strings.HasSuffix(text, `\ `) {
		text = text[:len(text)-1]
	}
	if p.negated = strings.HasPrefix(text, "!"); p.negated {
		text = text[1:]
	}
	if p.dirOnly = strings.HasSuffix(text, "/"); p.dirOnly {
		text = text[:len(text)-1]
	}
	anchored := strings.Contains(text, "/")
	text = strings.TrimPrefix(text, "/")
	if text == "" {
		return pattern{}, false, nil
	}
	if !anchored {
		p.segments = append(p.segments, "**")
	}
	for segment := range strings.SplitSeq(text, "/") {
		segment = strings.ReplaceAll(segment, "[!", "[^")
		if _, err := path.Match(segment, ""); err != nil || segment == "" {
			return pattern{}, false, fmt.Errorf("invalid pattern %q", line)
		}
		if segment == "**" && len(p.segments) > 0 && p.segments[len(p.segments)-1] == "**" {
			continue
		}
		p.segments = append(p.segments, segment)
	}
	if p.segments[len(p.segments)-1] == "**" {
		// It matches the contents of a directory, not the directory.
		p.segments = append(p.segments, "*")
	}
	return p, true, nil
}

func parsePatterns(lines []string) ([]pattern, error) {
	var patterns []pattern
	for _, line := range lines {
		p, ok, err := parsePattern(line)
		if err != nil {
			return nil, err
		}
		if ok {
			patterns = append(patterns, p)
		}
	}
	if len(patterns) > maxPatterns {
		return nil, fmt.Errorf("%d patterns, want %d at most", len(patterns), maxPatterns)
	}
	return patterns, nil
}

// matches reports whether the pattern matches a path, given as its names. Its
// steps are at most the product of names and segments: after a mismatch it
// extends only the last "**" by one name.
func (p *pattern) matches(names []string) bool {
	s, n := 0, 0
	star, from := -1, 0
	for n < len(names) {
		switch {
		case s < len(p.segments) && p.segments[s] == "**":
			star, from = s, n
			s++
		case s < len(p.segments) && matchName(p.segments[s], names[n]):
			s, n = s+1, n+1
		case star >= 0:
			from++
			s, n = star+1, from
		default:
			return false
		}
	}
	return s == len(p.segments)
}

// matchName is path.Match for a valid pattern.
func matchName(segment, name string) bool {
	ok, err := path.Match(segment, name)
	return ok && err == nil
}

// An ignoreSet is a list of patterns that apply below a directory, whose path
// has depth names.
type ignoreSet struct {
	patterns []pattern
	depth    int
}

// decide returns the verdict of the last pattern that matches, if any does.
func (s ignoreSet) decide(names []string, dir bool) (ignored, decided bool) {
	for i := len(s.patterns) - 1; i >= 0; i-- {
		p := &s.patterns[i]
		if (!p.dirOnly || dir) && p.matches(names[s.depth:]) {
			return !p.negated, true
		}
	}
	return false, false
}

// A filter decides which entries of a tree are imported. It keeps the walker's
// position.
type filter struct {
	exclude ignoreSet
	include []pattern
	files   []string
	// sets are those of ignore files, the outermost first.
	sets []ignoreSet
	// names are the walker's path. The first included of them are the path of a
	// directory that is included with all its contents; -1: none.
	names    []string
	included int
}

// checkPatterns checks the patterns of options.
func (o Options) checkPatterns() error {
	for _, lines := range [][]string{o.Exclude, o.Include} {
		if _, err := parsePatterns(lines); err != nil {
			return err
		}
	}
	return nil
}

// newFilter makes a filter from checked options.
func newFilter(o Options) *filter {
	f := &filter{files: o.IgnoreFiles, included: -1}
	for _, p := range []struct {
		lines []string
		to    *[]pattern
	}{{o.Exclude, &f.exclude.patterns}, {o.Include, &f.include}} {
		if patterns, err := parsePatterns(p.lines); err == nil {
			*p.to = patterns
		}
	}
	return f
}

// including reports whether only included entries are imported.
func (f *filter) including() bool { return len(f.include) > 0 }

// enter reads the ignore files of a directory that the walker enters. The caller
// must call leave at its end.
func (f *filter) enter(d dirSource, entries []fs.DirEntry) (leave func(), err error) {
	before := len(f.sets)
	for _, name := range f.files {
		i, found := slices.BinarySearchFunc(entries, name, func(e fs.DirEntry, name string) int { return strings.Compare(e.Name(), name) })
		if !found || !entries[i].Type().IsRegular() {
			continue
		}
		patterns, err := readIgnoreFile(d, name)
		if err != nil {
			return nil, wrapPath(name, err)
		}
		f.sets = append(f.sets, ignoreSet{patterns, len(f.names)})
	}
	total := 0
	for _, s := range f.sets {
		total += len(s.patterns)
	}
	if total > maxPatterns {
		return nil, fmt.Errorf("the ignore files have %d patterns together, want %d at most", total, maxPatterns)
	}
	return func() { f.sets = f.sets[:before] }, nil
}

func readIgnoreFile(d dirSource, name string) ([]pattern, error) {
	file, err := d.open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxIgnoreFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxIgnoreFile {
		return nil, fmt.Errorf("the ignore file has more than %d bytes", maxIgnoreFile)
	}
	return parsePatterns(strings.Split(strings.TrimPrefix(string(text), "\ufeff"), "\n"))
}

// accepts reports whether an entry of the walker's directory is imported.
func (f *filter) accepts(e fs.DirEntry) bool {
	if len(f.exclude.patterns) == 0 && len(f.sets) == 0 && len(f.include) == 0 {
		return true
	}
	names := append(f.names, e.Name())
	if ignored, decided := f.exclude.decide(names, e.IsDir()); decided {
		if ignored {
			return false
		}
	} else {
		for i := len(f.sets) - 1; i >= 0; i-- {
			if ignored, decided := f.sets[i].decide(names, e.IsDir()); decided {
				if ignored {
					return false
				}
				break
			}
		}
	}
	return e.IsDir() || !f.including() || f.included >= 0 || f.includes(names, false)
}

// includes reports whether the include patterns match a path.
func (f *filter) includes(names []string, dir bool) bool {
	named, decided := ignoreSet{patterns: f.include}.decide(names, dir)
	return named && decided
}

// push is called before the walker visits an entry, and pop after it.
func (f *filter) push(e fs.DirEntry) {
	f.names = append(f.names, e.Name())
	if e.IsDir() && f.included < 0 && f.including() && f.includes(f.names, true) {
		f.included = len(f.names)
	}
}

func (f *filter) pop() {
	if f.included == len(f.names) {
		f.included = -1
	}
	f.names = f.names[:len(f.names)-1]
}
