package unixfs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// ExportOptions configure an export. The zero value overwrites nothing.
type ExportOptions struct {
	// Overwrite replaces existing files and symlinks, and merges directories
	// into existing ones.
	Overwrite bool
	// MaxBytes bounds the bytes of files, MaxEntries the number of files,
	// symlinks and directories: a few small blocks can describe a tree without
	// end. 0: no bound.
	MaxBytes, MaxEntries int64
	// Progress, if not nil, is updated during the export.
	Progress *Progress
}

// Export writes c to the path target: a file, a symlink, or a directory with all
// its contents. The parent directory of target must exist.
//
// Nothing is written outside of target, whatever names and symlinks the tree
// has. An invalid entry name fails the export. Symlinks are made unchanged and
// never followed. A file gets its name only once it is complete. Items exported
// before an error stay.
//
// Permissions and modification times are restored if the tree has them, except
// setuid, setgid and sticky bits: a tree can't grant rights here. Two entries
// whose names are one to the file system, ignoring case for example, are an
// error.
//
// Errors name the path in the tree, and wrap those of get, fs.ErrExist,
// block.ErrMalformed, block.ErrUnknownCodec, and block.ErrTooLarge for an
// exceeded bound.
func Export(ctx context.Context, get block.Getter, c cid.Cid, target string, o ExportOptions) error {
	err := export(ctx, get, c, target, o)
	if err != nil {
		return fmt.Errorf("unixfs: export to %s: %w", target, err)
	}
	return nil
}

func export(ctx context.Context, get block.Getter, c cid.Cid, target string, o ExportOptions) error {
	// Then "." and "a/.." have a base name, too.
	target, err := filepath.Abs(target)
	if err != nil {
		return err
	}
	name := filepath.Base(target)
	if name == string(filepath.Separator) {
		return errors.New("invalid target: it is the root of the file system")
	}
	parent, err := os.OpenRoot(filepath.Dir(target))
	if err != nil {
		return err
	}
	defer parent.Close()
	e := exporter{ctx: ctx, get: get, options: o, bounds: o.bounds(), folds: foldsNames}
	return e.exportEntry(destination{dir: parent, name: name, path: "."}, c, 0)
}

// An exporter writes a tree. It holds each directory open as an os.Root, and
// uses only plain names in it, so it never follows a path.
type exporter struct {
	ctx     context.Context // of this export only
	get     block.Getter
	options ExportOptions
	bounds  bounds
	// folds reports whether a directory's file system ignores case.
	folds func(*os.Root) (bool, error)
}

// A destination is where an item is written: a name in an open directory, and
// its path in the tree.
type destination struct {
	dir  *os.Root
	name string
	path string
	// fresh: the export made the directory, so it was empty.
	fresh bool
}

// exportEntry writes c.
func (e *exporter) exportEntry(at destination, c cid.Cid, depth int) error {
	n, err := load(e.ctx, e.get, c)
	if err == nil {
		err = e.bounds.count(n.fileBytes())
	}
	if err != nil {
		return wrapPath(at.path, err)
	}
	switch n.Type {
	case TypeFile, TypeRaw:
		err = e.exportFile(at, c, n)
	case TypeSymlink:
		err = e.exportSymlink(at, string(n.Data))
	case TypeDirectory, TypeHAMTShard:
		return e.exportDir(at, c, n, depth)
	default:
		err = fmt.Errorf("%s: %w: unexpected node of type %s", c, block.ErrMalformed, n.Type)
	}
	return wrapPath(at.path, err)
}

// lstat returns the file at a destination, or nil. It fails if that may not be
// overwritten.
func (e *exporter) lstat(at destination) (fs.FileInfo, error) {
	info, err := at.dir.Lstat(at.name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case at.fresh:
		return nil, fmt.Errorf("%w: %w", errClash, fs.ErrExist)
	case !e.options.Overwrite:
		return nil, fmt.Errorf("the target exists: %w", fs.ErrExist)
	}
	return info, nil
}

// exportDir writes a directory and its contents.
func (e *exporter) exportDir(at destination, c cid.Cid, n Node, depth int) error {
	if depth == MaxDepth {
		return fmt.Errorf("%s: %w: directories are nested more than %d deep", at.path, block.ErrMalformed, MaxDepth)
	}
	dir, fresh, err := e.makeDir(at)
	if err != nil {
		return wrapPath(at.path, err)
	}
	defer dir.Close()
	var seen foldedNames
	if !fresh {
		if seen, err = e.newFoldedNames(dir); err != nil {
			return wrapPath(at.path, err)
		}
	}
	for entry, err := range entriesOf(e.ctx, e.get, c, n) {
		if err == nil {
			err = checkFileName(entry.Name)
		}
		if err == nil {
			err = seen.add(entry.Name)
		}
		if err != nil {
			return wrapPath(at.path, err)
		}
		sub := destination{dir, entry.Name, joinPath(at.path, entry.Name), fresh}
		if err := e.exportEntry(sub, entry.CID, depth+1); err != nil {
			return err
		}
	}
	// Last, as each file written into it sets its time.
	return wrapPath(at.path, restore(dir, ".", n))
}

// makeDir returns a new directory, or the existing one.
func (e *exporter) makeDir(at destination) (dir *os.Root, fresh bool, err error) {
	info, err := e.lstat(at)
	if err != nil {
		return nil, false, err
	}
	if info != nil && !info.IsDir() {
		// Opening a symlink would follow it.
		if err := at.dir.Remove(at.name); err != nil {
			return nil, false, err
		}
	}
	if info == nil || !info.IsDir() {
		if err := at.dir.Mkdir(at.name, 0o777); err != nil {
			return nil, false, err
		}
		fresh = true
	}
	dir, err = at.dir.OpenRoot(at.name)
	return dir, fresh, err
}

// checkFileName refuses names that are special in this system's paths.
func checkFileName(name string) error {
	if strings.ContainsAny(name, "/\x00") || strings.ContainsRune(name, filepath.Separator) ||
		name == "" || name == "." || !filepath.IsLocal(name) {
		return fmt.Errorf("entry name %q is invalid on this system: %w", name, block.ErrMalformed)
	}
	return nil
}

// tempName returns a new random name.
func tempName() string { return ".unixfs-" + rand.Text() }

// exportSymlink makes a symlink, with any target.
func (e *exporter) exportSymlink(at destination, target string) error {
	return e.replace(at, func(name string) error { return at.dir.Symlink(target, name) })
}

// exportFile writes a file.
func (e *exporter) exportFile(at destination, c cid.Cid, n Node) error {
	err := e.replace(at, func(name string) error {
		from, err := openNode(e.ctx, e.get, c, n)
		if err != nil {
			return err
		}
		defer from.Close()
		to, err := at.dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if err != nil {
			return err
		}
		_, err = from.WriteTo(e.countBytes(to))
		if err = errors.Join(err, to.Close()); err != nil {
			return err
		}
		return restore(at.dir, name, n)
	})
	if err == nil && e.options.Progress != nil {
		e.options.Progress.Files.Add(1)
	}
	return err
}

// replace calls write with a temporary name, and then renames the result.
func (e *exporter) replace(at destination, write func(name string) error) error {
	info, err := e.lstat(at)
	if err != nil {
		return err
	}
	if info != nil && info.IsDir() {
		return fmt.Errorf("the target is an existing directory: %w", fs.ErrExist)
	}
	name := tempName()
	if err = write(name); err == nil {
		err = at.dir.Rename(name, at.name)
	}
	if err != nil {
		if gone := at.dir.Remove(name); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// countBytes returns a writer to w that updates the progress.
func (e *exporter) countBytes(w io.Writer) io.Writer {
	if e.options.Progress == nil {
		return w
	}
	return countedWriter{w, e.options.Progress}
}

type countedWriter struct {
	w io.Writer
	p *Progress
}

func (c countedWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.p.Bytes.Add(int64(n))
	return n, err
}
