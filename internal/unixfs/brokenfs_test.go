package unixfs

import (
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// A brokenFS reports wrong sizes and errors of its files.
type brokenFS struct {
	fstest.MapFS
	sizes map[string]int64 // wrong sizes in Info
	fail  map[string]error // errors of Open and ReadDir
	// changed is a file that changes when it is opened.
	changed string
}

func (o brokenFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := o.fail[name]; err != nil {
		return nil, err
	}
	list, err := o.MapFS.ReadDir(name)
	for i, e := range list {
		if size, ok := o.sizes[e.Name()]; ok {
			list[i] = brokenEntry{e, size}
		}
	}
	return list, err
}

func (o brokenFS) Open(name string) (fs.File, error) {
	if err := o.fail[name]; err != nil {
		return nil, err
	}
	f, err := o.MapFS.Open(name)
	if err == nil && name == o.changed {
		return changedFile{f.(mapFile)}, nil
	}
	return f, err
}

// A mapFile is an open file of fstest.MapFS.
type mapFile interface {
	fs.File
	io.ReaderAt
}

// A changedFile has the same size, but another modification time.
type changedFile struct{ mapFile }

func (c changedFile) Stat() (fs.FileInfo, error) {
	info, err := c.mapFile.Stat()
	return changedInfo{info}, err
}

type changedInfo struct{ fs.FileInfo }

func (i changedInfo) ModTime() time.Time { return i.FileInfo.ModTime().Add(time.Nanosecond) }

type brokenEntry struct {
	fs.DirEntry
	size int64
}

func (e brokenEntry) Info() (fs.FileInfo, error) {
	info, err := e.DirEntry.Info()
	return brokenInfo{info, e.size}, err
}

type brokenInfo struct {
	fs.FileInfo
	size int64
}

func (i brokenInfo) Size() int64 { return i.size }

func TestImportRefuses(t *testing.T) {
	gone := &fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}
	long := strings.Repeat("0123456789", 3)
	deep := strings.Repeat("d/", MaxDepth) + "f"
	tests := []struct {
		name string
		fsys fs.FS
		want string
	}{
		{"a file that shrank", brokenFS{MapFS: fstest.MapFS{"f": {Data: []byte("a")}}, sizes: map[string]int64{"f": 2}}, "f: shorter than"},
		{"a file that grew", brokenFS{MapFS: fstest.MapFS{"f": {Data: []byte("abc")}}, sizes: map[string]int64{"f": 2}}, "f: longer than"},
		{"a file that is not empty", brokenFS{MapFS: fstest.MapFS{"f": {Data: []byte("abc")}}, sizes: map[string]int64{"f": 0}}, "f: longer than"},
		{"a large file that shrank", brokenFS{MapFS: fstest.MapFS{"f": {Data: []byte(long)}}, sizes: map[string]int64{"f": 31}}, "f: shorter than"},
		{"a large file that grew", brokenFS{MapFS: fstest.MapFS{"f": {Data: []byte(long)}}, sizes: map[string]int64{"f": 29}}, "f: longer than"},
		{"a large serial file that shrank", serialFS{brokenFS{MapFS: fstest.MapFS{"f": {Data: []byte(long)}}, sizes: map[string]int64{"f": 31}}}, "f: shorter than"},
		{"a large serial file that grew", serialFS{brokenFS{MapFS: fstest.MapFS{"f": {Data: []byte(long)}}, sizes: map[string]int64{"f": 29}}}, "f: longer than"},
		{"a file that vanished", brokenFS{MapFS: fstest.MapFS{"d/f": {Data: []byte("a")}}, fail: map[string]error{"d/f": gone}}, "d/f: open x: file does not exist"},
		{"a file that changed", brokenFS{MapFS: fstest.MapFS{"d/f": {Data: []byte("a")}}, changed: "d/f"}, "d/f: changed while it was read"},
		{"a large file that changed", brokenFS{MapFS: fstest.MapFS{"d/f": {Data: []byte(long)}}, changed: "d/f"}, "d/f: changed while it was read"},
		{"a large serial file that changed", serialFS{brokenFS{MapFS: fstest.MapFS{"d/f": {Data: []byte(long)}}, changed: "d/f"}}, "d/f: changed while it was read"},
		{"a large file that vanished", brokenFS{MapFS: fstest.MapFS{"d/f": {Data: []byte(long)}}, fail: map[string]error{"d/f": gone}}, "d/f: open x: file does not exist"},
		{"an unreadable file", brokenFS{MapFS: fstest.MapFS{"d/f": {Data: []byte("a")}}, fail: map[string]error{"d/f": fs.ErrPermission}}, "d/f: permission denied"},
		{"a directory that vanished", brokenFS{MapFS: fstest.MapFS{"d/e/f": {Data: []byte("a")}}, fail: map[string]error{"d/e": gone}}, "d/e: open x: file does not exist"},
		{"a symlink that vanished", listFS{"*link"}, "*link: readlink *link: invalid argument"},
		{"a named pipe", fstest.MapFS{"d/p": {Mode: fs.ModeNamedPipe}}, "d/p: a named pipe can't be imported"},
		{"a socket", fstest.MapFS{"s": {Mode: fs.ModeSocket}}, "s: a socket can't"},
		{"a device", fstest.MapFS{"v": {Mode: fs.ModeDevice}}, "v: a device can't"},
		{"directories too deep", fstest.MapFS{deep: {}}, "nested more than 256 deep"},
		{"a name with NUL", listFS{"a\x00b"}, `"a\x00b": invalid name`},
		{"a name with a slash", listFS{"a/b"}, `"a/b": invalid name`},
		{"a name of two dots", listFS{".."}, `"..": invalid name`},
		{"an empty name", listFS{""}, `"": invalid name`},
		{"a name that is not UTF-8", listFS{"a\xff"}, `"a\xff": invalid name for a UnixFS directory: want UTF-8`},
		{"a repeated name", listFS{"b", "a", "b"}, `two entries named "b"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ImportFS(t.Context(), discardPutter{}, tt.fsys, Options{Profile: tinyProfile()})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// A serialFS has files that can only be read from front to back.
type serialFS struct{ brokenFS }

func (s serialFS) Open(name string) (fs.File, error) {
	f, err := s.brokenFS.Open(name)
	return struct{ fs.File }{f}, err
}

// A listFS is a directory of empty files with any names, even invalid ones.
type listFS []string

func (l listFS) Open(name string) (fs.File, error) { return nil, fs.ErrNotExist }

func (l listFS) ReadDir(string) ([]fs.DirEntry, error) {
	var list []fs.DirEntry
	for _, name := range l {
		list = append(list, fs.FileInfoToDirEntry(nameInfo(name)))
	}
	return list, nil
}

type nameInfo string

func (n nameInfo) Name() string { return string(n) }
func (nameInfo) Size() int64    { return 0 }

// Mode returns the mode of a file, or of an unreadable symlink if the name begins
// with a star.
func (n nameInfo) Mode() fs.FileMode {
	if strings.HasPrefix(string(n), "*") {
		return fs.ModeSymlink
	}
	return 0o644
}
func (nameInfo) ModTime() time.Time { return time.Time{} }
func (nameInfo) IsDir() bool        { return false }
func (nameInfo) Sys() any           { return nil }
