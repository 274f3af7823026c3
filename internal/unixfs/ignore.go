package unixfs

import (
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

const (
	// maxIgnoreFile bounds an ignore file, in bytes, and maxPatterns the
	// patterns that apply in a directory: each is compared with each entry.
	maxIgnoreFile = 1 << 20
	maxPatterns   = 10_000
)

// parsePatterns parses lines. In a file an invalid pattern matches nothing, as in
// git; in options it is an error.
func parsePatterns(lines []string, inFile bool) ([]pattern, error) {
	var patterns []pattern
	for _, line := range lines {
		p, ok, err := parsePattern(line)
		switch {
		case ok:
			patterns = append(patterns, p)
		case err != nil && !inFile:
			return nil, err
		}
	}
	if len(patterns) > maxPatterns {
		return nil, fmt.Errorf("%d patterns, want %d at most", len(patterns), maxPatterns)
	}
	return patterns, nil
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
		if _, err := parsePatterns(lines, false); err != nil {
			return err
		}
	}
	return nil
}

// newFilter makes a filter from options that checkPatterns accepts.
func newFilter(o Options) *filter {
	f := &filter{files: o.IgnoreFiles, included: -1}
	f.exclude.patterns, _ = parsePatterns(o.Exclude, false)
	f.include, _ = parsePatterns(o.Include, false)
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
	var lines []string
	for line := range strings.SplitSeq(strings.TrimPrefix(string(text), "\ufeff"), "\n") {
		lines = append(lines, strings.TrimSuffix(line, "\r"))
	}
	return parsePatterns(lines, true)
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
