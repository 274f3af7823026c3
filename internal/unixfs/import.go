package unixfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// Options say how to import. The zero value imports by V1Profile on all cores.
type Options struct {
	// Profile decides the CIDs; the zero Profile means V1Profile.
	Profile Profile
	// Workers is how many goroutines read and hash; 0 means as many as cores,
	// 4 at least, as reading waits for the disk.
	Workers int
	// Wrap, if not empty, puts what is imported into a directory, under this
	// name.
	Wrap string
	// SkipHidden leaves out of directories what has a name that begins with a
	// dot.
	SkipHidden bool
	// Exclude leaves out what matches one of these patterns, in the manner of
	// gitignore: relative to the imported root, "*" within a name, "**" across
	// directories, a slash at the end for directories alone, "!" to take back
	// an earlier one; without a slash before the end, at any depth.
	Exclude []string
	// Include, if not empty, leaves out every file and symlink that matches
	// none of these patterns and lies below no directory that does, and
	// directories in which nothing remains.
	Include []string
	// IgnoreFiles are names of files (such as ".ipfsignore") that hold, in any
	// directory of the tree, patterns of what to leave out below it. They are
	// imported themselves like all others.
	IgnoreFiles []string
	// KeepMode and KeepTimes keep the permissions and the modification times
	// of files and directories (not of symlinks), which changes the CIDs.
	KeepMode, KeepTimes bool
	// Remembers, if not nil, is asked of each file of a tree whether it is as
	// it was, and told of those that were read.
	StatCache StatCache
	// Leaf, if not nil, is offered the raw leaves of the files of a tree, with
	// where in which file their bytes lie. Those that it takes are not handed
	// to the Putter. It is called on the goroutine of the import, and must not
	// keep the block.
	OfferLeaf func(ctx context.Context, leaf block.Block, path string, offset int64) (taken bool, err error)
	// Progress, if not nil, is counted up as the import goes.
	Progress *Progress
	// Added, if not nil, is told of each file, symlink and directory in the
	// order in which it is complete. It is called on the goroutine of the
	// import, which waits for it.
	OnItem func(ImportItem)
}

// Progress counts what an import or an export has done so far. It may be read
// at any time.
type Progress struct {
	// Bytes are those of file contents, Files whole files.
	Bytes, Files atomic.Int64
}

// Added tells of one thing imported.
type ImportItem struct {
	// Path is relative to the imported root, with slashes; "." is the root
	// itself.
	Path string
	// CID names it; Type is TypeFile, TypeDirectory or TypeSymlink (a sharded
	// directory is a directory); Size is the bytes of a file's content, or of
	// those of all files in a directory.
	CID  cid.Cid
	Type Type
	Size uint64
}

// A Result is what an import made.
type Result struct {
	// CID names the root.
	CID cid.Cid
	// Size is the bytes of all files' contents, DAGSize that of all blocks
	// (those that occur twice counted twice), Hashed the bytes of those files
	// that were read, and not known already.
	Size, DAGSize, Hashed uint64
	// Blocks counts what was handed to the Putter; Files, Dirs and Symlinks
	// what was imported.
	Blocks, Files, Dirs, Symlinks int
}

// Import makes a file of what r holds, from where it stands to its end, and
// hands its blocks to put.
//
// Where r is also an io.ReaderAt and an io.Seeker (an *os.File, a
// bytes.Reader), it is read at several places at once, up to the end that it
// has when Import begins, and left standing there.
//
// Errors of r and put are wrapped; on an error, blocks already handed to put
// stay there.
func Import(ctx context.Context, put block.Putter, r io.Reader, o Options) (Result, error) {
	return runImport(ctx, put, o, "", func(w *walker) error {
		if at, start, size, ok := readerAtOf(r); ok {
			if err := w.cutReaderAt(at, start, size); err != nil {
				return err
			}
			_, err := at.(io.Seeker).Seek(start+size, io.SeekStart)
			return err
		}
		return w.cutStream(r)
	})
}

// sized returns r as one that is read at any place, with where it stands and
// how much follows.
func readerAtOf(r io.Reader) (at io.ReaderAt, start, size int64, ok bool) {
	at, isAt := r.(io.ReaderAt)
	seeker, isSeeker := r.(io.Seeker)
	if !isAt || !isSeeker {
		return nil, 0, 0, false
	}
	// Devices and the files of /proc seek, but have no size to speak of.
	if f, isFile := r.(*os.File); isFile {
		info, err := f.Stat()
		if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
			return nil, 0, 0, false
		}
	}
	start, err := seeker.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, 0, 0, false
	}
	end, err := seeker.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, 0, 0, false
	}
	if _, err := seeker.Seek(start, io.SeekStart); err != nil {
		return nil, 0, 0, false
	}
	return at, start, max(end-start, 0), true
}

// ImportFS makes a directory of fsys, whole, and hands its blocks to put,
// those of a directory after those of what is in it, names in byte order.
// Files are opened by several goroutines at once, which fsys must allow.
// Symlinks are kept as such, never followed; fsys must then be an
// fs.ReadLinkFS. What is neither a file, a directory nor a symlink, and a file
// that is not as long as fsys said, fails the import with an error that names
// it.
func ImportFS(ctx context.Context, put block.Putter, fsys fs.FS, o Options) (Result, error) {
	return runImport(ctx, put, o, "", func(w *walker) error {
		return w.walkRoot(fsDir{fsys, "."})
	})
}

// ImportPath makes a file, a symlink or a directory of what path names on
// disk, as ImportFS does. Nothing is opened through a symlink that leads out
// of its directory, even if it is put there during the import.
func ImportPath(ctx context.Context, put block.Putter, path string, o Options) (Result, error) {
	now := time.Now()
	info, err := os.Lstat(path)
	if err != nil {
		return Result{}, fmt.Errorf("unixfs: import: %w", err)
	}
	return runImport(ctx, put, o, " "+path, func(w *walker) error {
		if info.IsDir() {
			root, err := os.OpenRoot(path)
			if err != nil {
				return err
			}
			return w.walkRoot(rootDir{root})
		}
		root, err := os.OpenRoot(filepath.Dir(path))
		if err != nil {
			return err
		}
		parent := newOpenDir(rootDir{root})
		defer parent.release()
		return w.walkEntry(parent, fs.FileInfoToDirEntry(info), w.rootPath(), now)
	})
}

// root walks the directory that is imported.
func (w *walker) walkRoot(source dirSource) error {
	d := newOpenDir(source)
	var info fs.FileInfo
	if w.options.keepsAttributes() {
		var err error
		if info, err = source.stat(); err != nil {
			d.release()
			return err
		}
	}
	return w.walkDir(d, w.rootPath(), info)
}

// run starts the pipeline over what produce walks, and returns when all of its
// goroutines have ended. Its errors name what is imported.
func runImport(ctx context.Context, put block.Putter, o Options, what string, produce func(*walker) error) (Result, error) {
	if o.Profile == (Profile{}) {
		o.Profile = V1Profile()
	}
	if err := o.Profile.check(); err != nil {
		return Result{}, err
	}
	if err := o.checkPatterns(); err != nil {
		return Result{}, fmt.Errorf("unixfs: import: %w", err)
	}
	if o.Workers <= 0 {
		o.Workers = max(runtime.GOMAXPROCS(0), 4)
	}
	if o.Wrap != "" {
		if err := checkName(o.Wrap); err != nil {
			return Result{}, fmt.Errorf("unixfs: import: wrap: %w", err)
		}
	}
	p := newPipeline(ctx, put, o)
	defer p.stop()
	go p.produce(o, produce)
	b := newBuilder(p.ctx, put, p.pool, o)
	for s := range p.ordered {
		<-s.done
		err := b.takeStep(s)
		p.release()
		if err != nil {
			return Result{}, wrapImportError(ctx, what, err)
		}
	}
	result, err := b.finish()
	if err != nil {
		return Result{}, wrapImportError(ctx, what, err)
	}
	return result, nil
}

// importError says why an import failed: its caller's context before what
// followed from that.
func wrapImportError(ctx context.Context, what string, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = cause
	}
	return fmt.Errorf("unixfs: import%s: %w", what, err)
}
