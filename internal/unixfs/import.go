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

// Options configure an import. The zero value imports by V1Profile on all cores.
type Options struct {
	// Profile decides the CIDs; the zero Profile means V1Profile.
	Profile Profile
	// Workers is the number of goroutines that read and hash. 0: the number of
	// cores, at least 4, as reading waits for the disk.
	Workers int
	// Wrap, if not empty, puts the imported item into a new directory, under
	// this name.
	Wrap string
	// SkipHidden skips entries whose names begin with a dot.
	SkipHidden bool
	// Exclude skips entries that match one of these patterns, in the syntax of
	// gitignore: relative to the imported root, "*" within a name, "**" across
	// directories, a slash at the end for directories only, "!" to undo an
	// earlier pattern; without a slash before the end, at any depth.
	Exclude []string
	// Include, if not empty, selects files, symlinks and directories with their
	// contents by patterns. All others are skipped, and so are directories
	// without selected contents.
	Include []string
	// IgnoreFiles are names of files (such as ".ipfsignore") with patterns to
	// exclude below their directory. The files themselves are imported.
	IgnoreFiles []string
	// KeepMode and KeepTimes keep the permissions and the modification times
	// of files and directories (not of symlinks), which changes the CIDs.
	KeepMode, KeepTimes bool
	// StatCache, if not nil, is queried for each file of a tree, and updated
	// with those that were read.
	StatCache StatCache
	// OfferLeaf, if not nil, is called with each raw leaf of a tree's files, and
	// the file and offset of its bytes. A leaf that it takes is not put. It is
	// called on the import's goroutine, and must not keep the block.
	OfferLeaf func(ctx context.Context, leaf block.Block, path string, offset int64) (taken bool, err error)
	// Progress, if not nil, is updated during the import.
	Progress *Progress
	// OnItem, if not nil, is called with each file, symlink and directory once
	// it is complete. It is called on the import's goroutine, which waits for
	// it.
	OnItem func(ImportItem)
}

// Progress counts what an import or an export has done. It is safe for
// concurrent use.
type Progress struct {
	// Bytes counts bytes of file contents, Files complete files.
	Bytes, Files atomic.Int64
}

// An ImportItem is one imported file, directory or symlink.
type ImportItem struct {
	// Path is relative to the imported root, with slashes; "." is the root
	// itself.
	Path string
	// CID is the item's. Type is TypeFile, TypeDirectory (sharded or not) or
	// TypeSymlink. Size is the bytes of a file's content, or of all files in a
	// directory.
	CID  cid.Cid
	Type Type
	Size uint64
}

// A Result is the result of an import.
type Result struct {
	// CID is the root's.
	CID cid.Cid
	// Size is the bytes of all files' contents. DAGSize is the bytes of all
	// blocks; repeated ones count each time. Hashed is the bytes of the files
	// that were read and not found in the StatCache.
	Size, DAGSize, Hashed uint64
	// Blocks counts the blocks put; Files, Dirs and Symlinks the imported items.
	Blocks, Files, Dirs, Symlinks int
}

// Import makes a file of the content of r, from its offset to its end, and puts
// its blocks.
//
// If r is also an io.ReaderAt and an io.Seeker (an *os.File, a bytes.Reader), it
// is read at several offsets at once, up to its end when Import begins, and its
// offset is set to that end.
//
// Errors of r and put are wrapped. After an error, blocks already put stay.
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

// readerAtOf returns r as an io.ReaderAt, with its offset and remaining size.
func readerAtOf(r io.Reader) (at io.ReaderAt, start, size int64, ok bool) {
	at, isAt := r.(io.ReaderAt)
	seeker, isSeeker := r.(io.Seeker)
	if !isAt || !isSeeker {
		return nil, 0, 0, false
	}
	// Devices and files of /proc can seek, but have no meaningful size.
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

// ImportFS makes a directory of fsys, and puts its blocks: those of a directory
// after those of its contents, names in byte order. Several goroutines open
// files at once, which fsys must allow. Symlinks are imported as symlinks, and
// never followed; fsys must then be an fs.ReadLinkFS. A special file, and a file
// whose length differs from its FileInfo, fails the import with an error that
// names it.
func ImportFS(ctx context.Context, put block.Putter, fsys fs.FS, o Options) (Result, error) {
	return runImport(ctx, put, o, "", func(w *walker) error {
		return w.walkRoot(fsDir{fsys, "."})
	})
}

// ImportPath imports a file, a symlink or a directory from disk, as ImportFS
// does. It never follows a symlink out of its directory, even one that is made
// during the import.
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

// walkRoot walks the imported directory.
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

// runImport runs the pipeline with the walk of produce, and returns when all of
// its goroutines have ended. Its errors contain what.
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

// wrapImportError wraps the error of an import, preferring the cause of the
// caller's context to errors that follow from it.
func wrapImportError(ctx context.Context, what string, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = cause
	}
	return fmt.Errorf("unixfs: import%s: %w", what, err)
}
