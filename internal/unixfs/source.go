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

// A dirSource is a directory to import. Names are those of its entries. It is
// safe for concurrent use.
type dirSource interface {
	// entries returns the directory's entries, sorted by name.
	entries() ([]fs.DirEntry, error)
	stat() (fs.FileInfo, error)
	open(name string) (fs.File, error)
	readLink(name string) (string, error)
	sub(name string) (dirSource, error)
	io.Closer
}

// An fsDir is a directory of an fs.FS.
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

// A rootDir is an open directory on disk. Opening a file in it costs one short
// lookup, and never opens one outside, even if the directory's path changes.
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

// An openDir is a dirSource that stays open until the walker and all operations
// in it have released it.
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

// release closes the directory at the last reference. An error of closing is
// ignored, as the directory was only read.
func (d *openDir) release() {
	if d.refs.Add(-1) == 0 {
		_ = d.source.Close()
	}
}

// A sharedReader is a file that several operations read. The last one closes it.
type sharedReader struct {
	io.ReaderAt
	file fs.File // the same file, to be closed; nil: the caller of Import closes it
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

// Stat returns the FileInfo of file, which must not be nil.
func (s *sharedReader) Stat() (fs.FileInfo, error) { return s.file.Stat() }

// errInvalidEntryName: no entry of a UnixFS directory may have the name.
var errInvalidEntryName = errors.New("invalid name for a UnixFS directory")

// checkName refuses names that are special or impossible in a path (UnixFS:
// restricted names).
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("%q: %w", name, errInvalidEntryName)
	case strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("%q: %w", name, errInvalidEntryName)
	case !utf8.ValidString(name):
		return fmt.Errorf("%q: %w: want UTF-8; rename it", name, errInvalidEntryName)
	}
	return nil
}
