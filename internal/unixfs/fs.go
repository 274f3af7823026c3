package unixfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// FS returns the directory root as a file system, which reads through get with
// ctx. It is also an fs.ReadDirFS, fs.StatFS, fs.ReadFileFS and fs.ReadLinkFS;
// its files are io.ReadSeekers, io.ReaderAts and io.WriterTos, as
// http.FileServerFS needs them. It gets blocks only when they are needed.
//
// Symlinks are followed within root: one that leads out of it is an error, and
// so are more than 40 in a path. Defaults for attributes that the tree lacks:
// permissions 0444 and 0555, modification time zero. Sys of a FileInfo is the
// CID, a cid.Cid. Errors are *fs.PathErrors, which wrap fs.ErrNotExist for a
// missing name, and block.ErrNotFound for a missing block.
func FS(ctx context.Context, get block.Getter, root cid.Cid) fs.FS {
	return fileSystem{ctx, get, root}
}

type fileSystem struct {
	// ctx is from FS: the interfaces of package fs have no context.
	ctx  context.Context
	get  block.Getter
	root cid.Cid
}

var (
	_ fs.ReadDirFS  = fileSystem{}
	_ fs.StatFS     = fileSystem{}
	_ fs.ReadFileFS = fileSystem{}
	_ fs.ReadLinkFS = fileSystem{}
)

// locate resolves a name, and follows a symlink at its end if last is set.
func (f fileSystem) locate(op, name string, last bool) (nodeEntry, error) {
	if !fs.ValidPath(name) {
		return nodeEntry{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	at, err := follow(f.ctx, f.get, f.root, name, last)
	if errors.Is(err, ErrNotDirectory) {
		err = fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	if err != nil {
		return nodeEntry{}, &fs.PathError{Op: op, Path: name, Err: err}
	}
	at.entry.Name = name[strings.LastIndexByte(name, '/')+1:]
	return at, nil
}

// Open implements fs.FS.
func (f fileSystem) Open(name string) (fs.File, error) {
	at, err := f.locate("open", name, true)
	if err != nil {
		return nil, err
	}
	info, err := newFileInfo(at)
	if err == nil && info.IsDir() {
		return &dirFile{fsys: f, at: at, info: info, path: name}, nil
	}
	var file *File
	if err == nil {
		file, err = openNode(f.ctx, f.get, at.entry.CID, at.node)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return regularFile{file, info}, nil
}

// Stat implements fs.StatFS.
func (f fileSystem) Stat(name string) (fs.FileInfo, error) { return f.statPath("stat", name, true) }

// Lstat implements fs.ReadLinkFS.
func (f fileSystem) Lstat(name string) (fs.FileInfo, error) { return f.statPath("lstat", name, false) }

func (f fileSystem) statPath(op, name string, last bool) (fs.FileInfo, error) {
	at, err := f.locate(op, name, last)
	if err != nil {
		return nil, err
	}
	info, err := newFileInfo(at)
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return info, nil
}

// ReadLink implements fs.ReadLinkFS.
func (f fileSystem) ReadLink(name string) (string, error) {
	at, err := f.locate("readlink", name, false)
	if err != nil {
		return "", err
	}
	if at.node.Type != TypeSymlink {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return string(at.node.Data), nil
}

// ReadFile implements fs.ReadFileFS. Its memory grows with the bytes read, not
// with the declared size.
func (f fileSystem) ReadFile(name string) ([]byte, error) {
	file, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var b bytes.Buffer
	if r, ok := file.(io.WriterTo); ok {
		_, err = r.WriteTo(&b)
	} else {
		err = ErrNotFile
	}
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return b.Bytes(), nil
}

// ReadDir implements fs.ReadDirFS: all entries, sorted by name. To read a large
// directory in pieces, use Open.
func (f fileSystem) ReadDir(name string) ([]fs.DirEntry, error) {
	d, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	dir, ok := d.(fs.ReadDirFile)
	if !ok {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: ErrNotDirectory}
	}
	entries, err := dir.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}

// A regularFile is a File with its FileInfo.
type regularFile struct {
	*File
	info fileInfo
}

var (
	_ fs.File       = regularFile{}
	_ io.ReadSeeker = regularFile{}
	_ io.ReaderAt   = regularFile{}
	_ io.WriterTo   = regularFile{}
)

func (f regularFile) Stat() (fs.FileInfo, error) { return f.info, nil }

// A fileInfo is the fs.FileInfo of a node.
type fileInfo struct {
	entry    Entry
	size     int64
	mode     fs.FileMode
	modified time.Time
}

var _ fs.FileInfo = fileInfo{}

func (i fileInfo) Name() string       { return i.entry.Name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) Mode() fs.FileMode  { return i.mode }
func (i fileInfo) ModTime() time.Time { return i.modified }
func (i fileInfo) IsDir() bool        { return i.mode.IsDir() }
func (i fileInfo) Sys() any           { return i.entry.CID }
func (i fileInfo) String() string     { return fs.FormatFileInfo(i) }

// newFileInfo returns the fileInfo of an entry.
func newFileInfo(at nodeEntry) (fileInfo, error) {
	declared, err := newInfo(at.entry.CID, at.node)
	if err != nil {
		return fileInfo{}, err
	}
	i := fileInfo{entry: at.entry, size: declared.Size, mode: 0o444, modified: declared.Modified}
	if i.entry.Name == "" {
		i.entry.Name = "."
	}
	kind := fs.FileMode(0)
	switch declared.Type {
	case TypeDirectory:
		kind, i.mode = fs.ModeDir, 0o555
	case TypeSymlink:
		kind, i.mode = fs.ModeSymlink, 0o777
	}
	if declared.Mode != 0 {
		i.mode = fileMode(declared.Mode)
	}
	i.mode |= kind
	return i, nil
}
