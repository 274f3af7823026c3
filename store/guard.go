package store

import (
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A guardFS stands between Pebble and the file system. Pebble panics, or ends the
// process, when its log or its manifest can't be written. It does so in goroutines
// and with locks held that make recovery impossible. So the guard hides the error:
// it marks the index failed, and the call doesn't return, nor does any later call
// that would change something. The mark releases the index's users. The repository
// can be opened again in the same process, for the old Pebble can write no more.
//
// Pebble handles errors of other files: it tries again at once, and for ever, so
// the guard delays these errors. Files outside of the index's folder, where a
// backup is written, are not guarded.
type guardFS struct {
	vfs.FS
	index *index
	dir   string // the index's folder
}

// vital reports whether Pebble can't continue after an error of that file.
func vital(name string) bool {
	return strings.HasSuffix(name, ".log") || strings.HasPrefix(name, "MANIFEST-") ||
		strings.HasPrefix(name, "marker.") || strings.HasPrefix(name, "OPTIONS-") || strings.HasPrefix(name, "temporary.")
}

// retryPause is how long an error is delayed, after which Pebble would try again
// without pause.
const retryPause = 100 * time.Millisecond

// guard runs a call that changes something on disk.
func (g *guardFS) guard(vital bool, call func() error) error {
	if g.index.err() != nil {
		select {}
	}
	err := call()
	if err != nil && g.index.opened.Load() {
		if vital {
			g.index.fail(err)
		} else if !errors.Is(err, os.ErrNotExist) {
			time.Sleep(retryPause)
		}
	}
	if g.index.err() != nil {
		select {}
	}
	return err
}

func (g *guardFS) vital(path string) bool { return vital(g.FS.PathBase(path)) }

// foreign reports whether a path is neither the index's folder nor in it.
func (g *guardFS) foreign(path string) bool { return path != g.dir && g.FS.PathDir(path) != g.dir }

func (g *guardFS) Create(name string, c vfs.DiskWriteCategory) (f vfs.File, err error) {
	if g.foreign(name) {
		return g.FS.Create(name, c)
	}
	err = g.guard(g.vital(name), func() error { f, err = g.FS.Create(name, c); return err })
	return g.file(f, name), err
}

func (g *guardFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (f vfs.File, err error) {
	if g.foreign(name) {
		return g.FS.OpenReadWrite(name, c, o...)
	}
	err = g.guard(g.vital(name), func() error { f, err = g.FS.OpenReadWrite(name, c, o...); return err })
	return g.file(f, name), err
}

func (g *guardFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (f vfs.File, err error) {
	err = g.guard(g.vital(newname), func() error { f, err = g.FS.ReuseForWrite(oldname, newname, c); return err })
	return g.file(f, newname), err
}

func (g *guardFS) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if g.foreign(name) {
		return f, err
	}
	if err != nil {
		return nil, g.guard(true, func() error { return err })
	}
	return &guardFile{File: f, g: g, vital: true}, nil
}

func (g *guardFS) Link(oldname, newname string) error {
	if g.foreign(newname) {
		return g.FS.Link(oldname, newname)
	}
	return g.guard(false, func() error { return g.FS.Link(oldname, newname) })
}

func (g *guardFS) Remove(name string) error {
	if g.foreign(name) {
		return g.FS.Remove(name)
	}
	return g.guard(false, func() error { return g.FS.Remove(name) })
}

func (g *guardFS) RemoveAll(name string) error {
	if g.foreign(name) {
		return g.FS.RemoveAll(name)
	}
	return g.guard(false, func() error { return g.FS.RemoveAll(name) })
}

func (g *guardFS) Rename(oldname, newname string) error {
	if g.foreign(newname) {
		return g.FS.Rename(oldname, newname)
	}
	return g.guard(g.vital(newname), func() error { return g.FS.Rename(oldname, newname) })
}

func (g *guardFS) MkdirAll(dir string, perm os.FileMode) error {
	if g.foreign(dir) {
		return g.FS.MkdirAll(dir, perm)
	}
	return g.guard(false, func() error { return g.FS.MkdirAll(dir, perm) })
}

// Lock implements vfs.FS. The index has locked its folder itself: Pebble would
// release the lock when it is closed, and a Pebble that hangs can't be closed.
func (g *guardFS) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

// Unwrap implements vfs.FS.
func (g *guardFS) Unwrap() vfs.FS { return g.FS }

func (g *guardFS) file(f vfs.File, name string) vfs.File {
	if f == nil {
		return nil
	}
	return &guardFile{File: f, g: g, vital: g.vital(name)}
}

// A guardFile is a file that a guardFS opened for writing.
type guardFile struct {
	vfs.File
	g     *guardFS
	vital bool
}

func (f *guardFile) Write(p []byte) (n int, err error) {
	err = f.g.guard(f.vital, func() error { n, err = f.File.Write(p); return err })
	return n, err
}

func (f *guardFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.g.guard(f.vital, func() error { n, err = f.File.WriteAt(p, off); return err })
	return n, err
}

func (f *guardFile) Sync() error     { return f.g.guard(f.vital, f.File.Sync) }
func (f *guardFile) SyncData() error { return f.g.guard(f.vital, f.File.SyncData) }

func (f *guardFile) SyncTo(length int64) (full bool, err error) {
	err = f.g.guard(f.vital, func() error { full, err = f.File.SyncTo(length); return err })
	return full, err
}

func (f *guardFile) Preallocate(offset, length int64) error {
	return f.g.guard(false, func() error { return f.File.Preallocate(offset, length) })
}
