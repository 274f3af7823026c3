package crashfs

import (
	"io"
	"os"
	"path"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A File is an open file or directory of an [FS]. Unlike most files of vfs it
// returns os.ErrClosed after Close.
type File struct {
	fs       *FS
	name     string
	node     *node
	pos      int
	writable bool
	closed   bool
}

var _ vfs.File = (*File)(nil)

// handle opens a node. Callers hold mu.
func (fs *FS) handle(name string, n *node, writable bool) *File {
	n.opens++
	return &File{fs: fs, name: clean(name), node: n, writable: writable}
}

// Close implements io.Closer.
func (f *File) Close() error {
	return f.uncounted("close", func() {
		f.closed = true
		f.node.opens--
		f.fs.release(f.node)
	})
}

// uncounted makes a call that is not an Op, unless the file is closed or dead.
func (f *File) uncounted(op string, do func()) error {
	return f.fs.locked(func() error {
		if f.fs.Crashed() {
			return &os.PathError{Op: op, Path: f.name, Err: ErrCrashed}
		}
		if f.closed {
			return &os.PathError{Op: op, Path: f.name, Err: os.ErrClosed}
		}
		do()
		return nil
	})
}

// call is FS.call for an operation on an open file.
func (f *File) call(op Op, do func() error) error {
	return f.fs.call(op, f.name, func() error {
		if f.closed {
			return os.ErrClosed
		}
		return do()
	})
}

// Read implements io.Reader.
func (f *File) Read(p []byte) (n int, err error) {
	eof := false
	err = f.call(OpRead, func() error {
		if f.node.isDir() {
			return syscall.EISDIR
		}
		if f.pos < len(f.node.data) {
			n = copy(p, f.node.data[f.pos:])
			f.pos += n
		}
		eof = n == 0 && len(p) > 0
		f.fs.counts[OpRead].Bytes += int64(n)
		return nil
	})
	return atEnd(n, eof, err)
}

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(p []byte, off int64) (n int, err error) {
	eof := false
	err = f.call(OpRead, func() error {
		if f.node.isDir() {
			return syscall.EISDIR
		}
		if off < 0 {
			return syscall.EINVAL
		}
		if off < int64(len(f.node.data)) {
			n = copy(p, f.node.data[off:])
		}
		eof = n < len(p)
		f.fs.counts[OpRead].Bytes += int64(n)
		return nil
	})
	return atEnd(n, eof, err)
}

// atEnd returns the bare io.EOF if err is only the end of the file.
func atEnd(n int, eof bool, err error) (int, error) {
	if err == nil && eof {
		return n, io.EOF
	}
	return n, err
}

// Write implements io.Writer. A write that fails by a fault may have written a part
// of p, whose length the seed decides. On a full file system it writes what fits.
func (f *File) Write(p []byte) (int, error) {
	return f.write(OpWrite, p, func() int { return f.pos })
}

// WriteAt implements io.WriterAt. It may write a part, as Write.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, &os.PathError{Op: OpWriteAt.String(), Path: f.name, Err: syscall.EINVAL}
	}
	return f.write(OpWriteAt, p, func() int { return int(off) })
}

func (f *File) write(op Op, p []byte, at func() int) (n int, err error) {
	err = f.fs.locked(func() (err error) {
		n, err = f.writeLocked(op, p, at)
		return err
	})
	return n, err
}

func (f *File) writeLocked(op Op, p []byte, at func() int) (n int, err error) {
	fs := f.fs
	part, err := fs.admit(op, f.name)
	if err != nil && !part {
		return 0, fs.failed(op, f.name, err)
	}
	if f.closed {
		return 0, fs.failed(op, f.name, os.ErrClosed)
	}
	if !f.writable {
		return 0, fs.failed(op, f.name, syscall.EBADF)
	}
	off := at()
	n = len(p)
	if part {
		n = fs.rng.IntN(n + 1)
	}
	if grow := int64(off + n - len(f.node.data)); grow > 0 {
		if room := fs.faults.capacity - fs.used; grow > room {
			n = max(0, n-int(grow-max(0, room)))
			if err == nil {
				err = syscall.ENOSPC
			}
		}
	}
	if n > 0 {
		was := len(f.node.data)
		f.node.write(p[:n], off)
		fs.used += int64(len(f.node.data) - was)
		fs.counts[op].Bytes += int64(n)
	}
	if op == OpWrite {
		f.pos = off + n
	}
	if err != nil {
		return n, fs.failed(op, f.name, err)
	}
	return n, nil
}

// Truncate sets the size of the file. It is not in vfs.File, but the files of
// vfs.Default have it, too.
func (f *File) Truncate(size int64) error {
	return f.call(OpTruncate, func() error {
		if !f.writable || size < 0 {
			return syscall.EINVAL
		}
		grow := size - int64(len(f.node.data))
		if grow > 0 && grow > f.fs.faults.capacity-f.fs.used {
			return syscall.ENOSPC
		}
		f.node.truncate(int(size))
		f.fs.used += grow
		return nil
	})
}

// Sync implements vfs.File. For a directory it makes the names durable.
func (f *File) Sync() error {
	if f.node.isDir() {
		return f.call(OpSyncDir, func() error {
			f.fs.syncDir(f.node)
			return nil
		})
	}
	return f.sync(OpSync)
}

// SyncData implements vfs.File.
func (f *File) SyncData() error {
	if f.node.isDir() {
		return f.Sync()
	}
	return f.sync(OpSyncData)
}

func (f *File) sync(op Op) error {
	return f.fs.locked(func() error {
		part, err := f.fs.admit(op, f.name)
		if err == nil && f.closed {
			err = os.ErrClosed
		}
		switch {
		case err == nil:
			f.node.sync()
			return nil
		case part && !f.closed && !f.fs.Crashed():
			// If the power went during the call, Crash keeps or drops what
			// is dirty.
			f.node.loseDirty()
		}
		return f.fs.failed(op, f.name, err)
	})
}

// SyncTo implements vfs.File. Like Linux's sync_file_range it promises nothing.
func (f *File) SyncTo(int64) (fullSync bool, err error) {
	return false, f.uncounted("sync to", func() {})
}

// Preallocate implements vfs.File; it does nothing.
func (f *File) Preallocate(_, _ int64) error {
	return f.uncounted("preallocate", func() {})
}

// Prefetch implements vfs.File; it does nothing.
func (f *File) Prefetch(int64, int64) error {
	return f.uncounted("prefetch", func() {})
}

// Stat implements vfs.File.
func (f *File) Stat() (vfs.FileInfo, error) {
	var info vfs.FileInfo
	err := f.call(OpStat, func() error {
		info = f.node.info(path.Base(f.name))
		return nil
	})
	return info, err
}

// Fd implements vfs.File: there is no descriptor.
func (f *File) Fd() uintptr { return vfs.InvalidFd }

// A lock is the closer that Lock returns.
type lock struct{ file *File }

func (l *lock) Close() error {
	if err := l.file.Close(); err != nil {
		return err
	}
	return l.file.fs.locked(func() error {
		delete(l.file.fs.locks, l.file.name)
		return nil
	})
}
