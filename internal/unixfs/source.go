package unixfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"
)

// A dirSource is one directory that is imported. Its methods may be called by
// several goroutines at once; names are those of entries.
type dirSource interface {
	// entries returns what is in it, sorted by name.
	entries() ([]fs.DirEntry, error)
	stat() (fs.FileInfo, error)
	open(name string) (fs.File, error)
	readLink(name string) (string, error)
	sub(name string) (dirSource, error)
	io.Closer
}

// fsDir is a directory of any fs.FS.
type fsDir struct {
	fsys fs.FS
	path string
}

var _ dirSource = fsDir{}

func (d fsDir) entries() ([]fs.DirEntry, error)   { return fs.ReadDir(d.fsys, d.path) }
func (d fsDir) stat() (fs.FileInfo, error)        { return fs.Stat(d.fsys, d.path) }
func (d fsDir) open(name string) (fs.File, error) { return d.fsys.Open(path.Join(d.path, name)) }
func (d fsDir) readLink(name string) (string, error) {
	return fs.ReadLink(d.fsys, path.Join(d.path, name))
}
func (d fsDir) sub(name string) (dirSource, error) {
	return fsDir{d.fsys, path.Join(d.path, name)}, nil
}
func (d fsDir) Close() error { return nil }

// rootDir is a directory on disk, held open: what is opened in it costs one
// short look-up, and never lies outside of it, whatever becomes of its path.
type rootDir struct{ root *os.Root }

var _ dirSource = rootDir{}

func (d rootDir) entries() ([]fs.DirEntry, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := f.ReadDir(-1)
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list, err
}

func (d rootDir) stat() (fs.FileInfo, error)           { return d.root.Stat(".") }
func (d rootDir) open(name string) (fs.File, error)    { return d.root.Open(name) }
func (d rootDir) readLink(name string) (string, error) { return d.root.Readlink(name) }
func (d rootDir) Close() error                         { return d.root.Close() }

func (d rootDir) sub(name string) (dirSource, error) {
	root, err := d.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	return rootDir{root}, nil
}

// An openDir is a dirSource that stays open until the walker and all
// operations in it are done.
type openDir struct {
	source dirSource
	refs   atomic.Int32
}

// newOpenDir returns an openDir that its caller must release.
func newOpenDir(source dirSource) *openDir {
	d := &openDir{source: source}
	d.refs.Store(1)
	return d
}

func (d *openDir) retain() *openDir {
	d.refs.Add(1)
	return d
}

// release closes the directory when nobody needs it any more. It was only
// read, so that closing it can lose nothing.
func (d *openDir) release() {
	if d.refs.Add(-1) == 0 {
		_ = d.source.Close()
	}
}

// A sharedReader is a file that several operations read, closed after the
// last.
type sharedReader struct {
	io.ReaderAt
	file fs.File // the same; nil if it is the caller's
	refs atomic.Int32
}

// newSharedReader returns a sharedReader that its caller must release.
func newSharedReader(r io.ReaderAt, f fs.File) *sharedReader {
	s := &sharedReader{ReaderAt: r, file: f}
	s.refs.Store(1)
	return s
}

func (s *sharedReader) retain() *sharedReader {
	s.refs.Add(1)
	return s
}

func (s *sharedReader) release() {
	if s.refs.Add(-1) == 0 && s.file != nil {
		_ = s.file.Close()
	}
}

// Stat tells of a file that is not the caller's.
func (s *sharedReader) Stat() (fs.FileInfo, error) { return s.file.Stat() }

// errName: a name that no entry of a directory may have.
var errInvalidEntryName = errors.New("not a name that a UnixFS directory can hold")

// checkName refuses names that mean something else in a path, or cannot be
// written in one (UnixFS: restricted names).
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("%q: %w", name, errInvalidEntryName)
	case strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("%q: %w", name, errInvalidEntryName)
	case !utf8.ValidString(name):
		return fmt.Errorf("%q is not UTF-8: %w; rename it", name, errInvalidEntryName)
	}
	return nil
}
