// Package crashfs is a file system in memory that loses power, fails, fills up
// and rots when a test says so. It implements Pebble's vfs.FS, so packs and index
// can use the same one. It is for tests only.
//
// The key type is [FS]. [FS.Crash] returns the file system as a power loss at this
// moment would leave it: synced bytes are there; of other bytes any part may be,
// torn at any byte. The old FS is dead from then on: every call on it, or on its
// open files, fails with [ErrCrashed], so that the rest of the old process can
// change nothing. After [FS.Hang] such a call never returns. [FS.CrashAfter] sets
// the moment beforehand. [FS.Fail], [FS.FailAt], [FS.FailFrom], [FS.Full],
// [FS.ReadOnly] and [FS.Corrupt] cause other faults. [FS.Count] counts calls.
//
// The rules of durability are the minimum that POSIX promises: the bytes of a file
// are durable after Sync or SyncData of the file, its name after Sync of the
// directory, and SyncTo promises nothing. Each change of names (create, rename,
// link, remove, mkdir) is atomic. After a crash, changes that were not synced are
// there up to some point, as on a journaling file system (Pebble relies on that
// order). Of the bytes of a file any page may be there, or half of it. A failed
// sync loses the bytes that it was to write, as on Linux: they stay readable, but
// they are no longer dirty, so a later sync succeeds without writing them.
//
// Everything is safe for concurrent use. The seed and the order of the calls decide
// what happens, so a test with a fixed order of calls repeats exactly. Names are
// slash-separated; the working directory is the root.
//
// Why not vfs.MemFS: it keeps whole blocks of 4 KiB, syncs by copying the whole
// file, can't make a removal durable, and can't lose bytes at a failed sync.
//
// It is not for production, has no permissions and no symbolic links, and doesn't
// check its callers' use of vfs.FS.
package crashfs

import (
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrCrashed: the power is gone. Every call on a crashed FS wraps it.
var ErrCrashed = errors.New("crashfs: the power is gone")

// An FS is a file system in memory; New makes one.
type FS struct {
	mu     sync.Mutex // guards everything below, and the nodes and files
	seed   uint64
	rng    *rand.Rand
	root   *node
	locks  map[string]bool
	log    []change // changes of names that no sync made durable, in order
	seq    uint64   // of the last change
	used   int64    // bytes of all files, removed but open ones included
	faults faults
	counts [opEnd]Count

	dead  chan struct{} // closed when the power goes
	hangs atomic.Bool
}

var _ vfs.FS = (*FS)(nil)

// New returns an empty file system. Equal seeds and equal calls give equal
// outcomes.
func New(seed uint64) *FS {
	return newFS(seed, newDir())
}

func newFS(seed uint64, root *node) *FS {
	return &FS{
		seed:   seed,
		rng:    rand.New(rand.NewPCG(seed, 0)),
		root:   root,
		locks:  make(map[string]bool),
		faults: faults{capacity: unlimited},
		dead:   make(chan struct{}),
	}
}

// Create implements vfs.FS: a new, empty file replaces an existing one of the name.
func (fs *FS) Create(name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	var f *File
	err := fs.call(OpCreate, name, func() (err error) {
		f, err = fs.create(name)
		return err
	})
	return opened(f, err)
}

func (fs *FS) create(name string) (*File, error) {
	dir, base, err := fs.parent(name)
	if err != nil {
		return nil, err
	}
	if old := dir.children[base]; old != nil && old.isDir() {
		return nil, syscall.EISDIR
	}
	n := &node{modTime: time.Now()}
	fs.change(edit{dir, base, n})
	return fs.handle(name, n, true), nil
}

// Link implements vfs.FS.
func (fs *FS) Link(oldname, newname string) error {
	return fs.call(OpLink, newname, func() error {
		n, err := fs.find(oldname)
		if err != nil {
			return err
		}
		if n.isDir() {
			return syscall.EPERM
		}
		dir, base, err := fs.parent(newname)
		if err != nil {
			return err
		}
		if dir.children[base] != nil {
			return os.ErrExist
		}
		fs.change(edit{dir, base, n})
		return nil
	})
}

// Open implements vfs.FS.
func (fs *FS) Open(name string, options ...vfs.OpenOption) (vfs.File, error) {
	var f *File
	err := fs.call(OpOpen, name, func() error {
		n, err := fs.find(name)
		if err != nil {
			return err
		}
		f = fs.handle(name, n, false)
		return nil
	})
	return opened(f, err, options...)
}

// OpenReadWrite implements vfs.FS.
func (fs *FS) OpenReadWrite(name string, _ vfs.DiskWriteCategory, options ...vfs.OpenOption) (vfs.File, error) {
	var f *File
	err := fs.call(OpOpenReadWrite, name, func() error {
		n, err := fs.find(name)
		if errors.Is(err, os.ErrNotExist) {
			f, err = fs.create(name)
			return err
		}
		if err != nil {
			return err
		}
		if n.isDir() {
			return syscall.EISDIR
		}
		f = fs.handle(name, n, true)
		return nil
	})
	return opened(f, err, options...)
}

// OpenDir implements vfs.FS.
func (fs *FS) OpenDir(name string) (vfs.File, error) {
	var f *File
	err := fs.call(OpOpenDir, name, func() error {
		n, err := fs.find(name)
		if err != nil {
			return err
		}
		if !n.isDir() {
			return syscall.ENOTDIR
		}
		f = fs.handle(name, n, false)
		return nil
	})
	return opened(f, err)
}

// opened avoids returning a nil *File as a non-nil vfs.File.
func opened(f *File, err error, options ...vfs.OpenOption) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	for _, o := range options {
		o.Apply(f)
	}
	return f, nil
}

// Remove implements vfs.FS.
func (fs *FS) Remove(name string) error {
	return fs.call(OpRemove, name, func() error {
		dir, base, err := fs.parent(name)
		if err != nil {
			return err
		}
		n := dir.children[base]
		if n == nil {
			return os.ErrNotExist
		}
		if len(n.children) > 0 {
			return syscall.ENOTEMPTY
		}
		fs.change(edit{dir, base, nil})
		return nil
	})
}

// RemoveAll implements vfs.FS. It counts as one remove, but is not atomic: each
// name is removed separately.
func (fs *FS) RemoveAll(name string) error {
	return fs.call(OpRemove, name, func() error {
		dir, base, err := fs.parent(name)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		fs.removeTree(dir, base)
		return nil
	})
}

func (fs *FS) removeTree(dir *node, base string) {
	n := dir.children[base]
	if n == nil {
		return
	}
	for _, name := range sorted(n.children) {
		fs.removeTree(n, name)
	}
	fs.change(edit{dir, base, nil})
}

// Rename implements vfs.FS.
func (fs *FS) Rename(oldname, newname string) error {
	return fs.call(OpRename, oldname, func() error { return fs.rename(oldname, newname) })
}

func (fs *FS) rename(oldname, newname string) error {
	from, oldbase, err := fs.parent(oldname)
	if err != nil {
		return err
	}
	n := from.children[oldbase]
	if n == nil {
		return os.ErrNotExist
	}
	to, newbase, err := fs.parent(newname)
	if err != nil {
		return err
	}
	switch old := to.children[newbase]; {
	case old == n:
		return nil
	case old != nil && old.isDir() && !n.isDir():
		return syscall.EISDIR
	case old != nil && !old.isDir() && n.isDir():
		return syscall.ENOTDIR
	case old != nil && len(old.children) > 0:
		return syscall.ENOTEMPTY
	case n.isDir() && strings.HasPrefix(clean(newname)+"/", clean(oldname)+"/"):
		return syscall.EINVAL
	}
	// The new name first: a file without a name would be released.
	fs.change(edit{to, newbase, n}, edit{from, oldbase, nil})
	return nil
}

// ReuseForWrite implements vfs.FS: a rename, and an open that keeps the bytes.
func (fs *FS) ReuseForWrite(oldname, newname string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	var f *File
	err := fs.call(OpRename, oldname, func() error {
		if err := fs.rename(oldname, newname); err != nil {
			return err
		}
		n, err := fs.find(newname)
		if err != nil {
			return err
		}
		f = fs.handle(newname, n, true)
		return nil
	})
	return opened(f, err)
}

// MkdirAll implements vfs.FS. It counts as one mkdir, but is not atomic: each
// directory is made separately.
func (fs *FS) MkdirAll(name string, _ os.FileMode) error {
	return fs.call(OpMkdir, name, func() error {
		dir := fs.root
		for part := range parts(name) {
			child := dir.children[part]
			if child == nil {
				child = newDir()
				fs.change(edit{dir, part, child})
			}
			if !child.isDir() {
				return syscall.ENOTDIR
			}
			dir = child
		}
		return nil
	})
}

// Lock implements vfs.FS. It counts as a create. A crash releases all locks.
func (fs *FS) Lock(name string) (io.Closer, error) {
	var l *lock
	err := fs.call(OpCreate, name, func() error {
		if fs.locks[clean(name)] {
			return syscall.EAGAIN
		}
		f, err := fs.create(name)
		if err != nil {
			return err
		}
		fs.locks[clean(name)] = true
		l = &lock{file: f}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// List implements vfs.FS. The names are sorted.
func (fs *FS) List(name string) ([]string, error) {
	var names []string
	err := fs.call(OpList, name, func() error {
		n, err := fs.find(name)
		if err != nil {
			return err
		}
		if !n.isDir() {
			return syscall.ENOTDIR
		}
		names = sorted(n.children)
		return nil
	})
	return names, err
}

// Stat implements vfs.FS.
func (fs *FS) Stat(name string) (vfs.FileInfo, error) {
	var info vfs.FileInfo
	err := fs.call(OpStat, name, func() error {
		n, err := fs.find(name)
		if err != nil {
			return err
		}
		info = n.info(path.Base(clean(name)))
		return nil
	})
	return info, err
}

// PathBase implements vfs.FS.
func (*FS) PathBase(p string) string { return path.Base(p) }

// PathJoin implements vfs.FS.
func (*FS) PathJoin(elem ...string) string { return path.Join(elem...) }

// PathDir implements vfs.FS.
func (*FS) PathDir(p string) string { return path.Dir(p) }

// Unwrap implements vfs.FS: there is nothing below.
func (*FS) Unwrap() vfs.FS { return nil }

// find returns the node of a name. Callers hold mu.
func (fs *FS) find(name string) (*node, error) {
	n := fs.root
	for part := range parts(name) {
		if !n.isDir() {
			return nil, syscall.ENOTDIR
		}
		if n = n.children[part]; n == nil {
			return nil, os.ErrNotExist
		}
	}
	return n, nil
}

// parent returns the directory of a name, which need not exist, and the last part
// of the name. Callers hold mu.
func (fs *FS) parent(name string) (*node, string, error) {
	dir, base := path.Split(clean(name))
	if base == "" {
		return nil, "", syscall.EINVAL
	}
	n, err := fs.find(dir)
	if err == nil && !n.isDir() {
		err = syscall.ENOTDIR
	}
	return n, base, err
}

func clean(name string) string { return path.Clean("/" + name) }

// parts iterates over the parts of a name below the root.
func parts(name string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for part := range strings.SplitSeq(clean(name), "/") {
			if part != "" && !yield(part) {
				return
			}
		}
	}
}

func sorted(children map[string]*node) []string {
	return slices.Sorted(maps.Keys(children))
}
