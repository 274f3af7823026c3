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

// ExportOptions say how to export. The zero value refuses to touch what is
// there.
type ExportOptions struct {
	// Overwrite puts files and symlinks in the place of those that are there,
	// and directories together with those that are there.
	Overwrite bool
	// MaxBytes and MaxEntries are the most bytes of files, and the most files,
	// symlinks and directories, that are exported: a few small blocks can say
	// a tree without end. 0: no bound.
	MaxBytes, MaxEntries int64
	// Progress, if not nil, is counted up as the export goes.
	Progress *Progress
}

// Export writes what c names to the path target: a file, a symlink, or a
// directory with all that is below it. The directory that target lies in must
// be there.
//
// Nothing is written outside of target, whatever names and symlinks say:
// entries whose name is no plain name fail the export, symlinks are made as
// they are and never followed. A file has its name only once it is whole; what
// was exported before an error stays.
//
// Permissions and modification times are restored where the tree says them,
// but for setuid, setgid and sticky bits: the tree's maker shall not grant
// rights here. Two entries whose names the target takes for one, as file
// systems do that do not tell cases apart, are an error.
//
// Errors name the place in the tree, and wrap those of get, fs.ErrExist,
// block.ErrMalformed, block.ErrUnknownCodec, block.ErrTooLarge for what is
// beyond the bounds.
func Export(ctx context.Context, get block.Getter, c cid.Cid, target string, o ExportOptions) error {
	err := export(ctx, get, c, target, o)
	if err != nil {
		return fmt.Errorf("unixfs: export to %s: %w", target, err)
	}
	return nil
}

func export(ctx context.Context, get block.Getter, c cid.Cid, target string, o ExportOptions) error {
	// So that "." and "a/.." have a name, too.
	target, err := filepath.Abs(target)
	if err != nil {
		return err
	}
	name := filepath.Base(target)
	if name == string(filepath.Separator) {
		return errors.New("this is the root of the file system")
	}
	parent, err := os.OpenRoot(filepath.Dir(target))
	if err != nil {
		return err
	}
	defer parent.Close()
	e := exporter{ctx: ctx, get: get, options: o, bounds: o.bounds(), folds: foldsNames}
	return e.exportEntry(destination{dir: parent, name: name, path: "."}, c, 0)
}

// An exporter writes a tree. Each directory is held open as an os.Root, in
// which only plain names are used, so that no path is ever followed.
type exporter struct {
	ctx     context.Context // of this export only
	get     block.Getter
	options ExportOptions
	bounds  bounds
	// folds tells whether a directory takes names of different case for one.
	folds func(*os.Root) (bool, error)
}

// A place is where something is written: a name in an open directory, and
// where that is in the tree.
type destination struct {
	dir  *os.Root
	name string
	path string
	// fresh: the export has made the directory, which held nothing before.
	fresh bool
}

// entry writes what c names.
func (e *exporter) exportEntry(at destination, c cid.Cid, depth int) error {
	n, err := load(e.ctx, e.get, c)
	if err == nil {
		err = e.bounds.count(n.fileBytes())
	}
	if err != nil {
		return addPath(at.path, err)
	}
	switch n.Type {
	case TypeFile, TypeRaw:
		err = e.exportFile(at, c, n)
	case TypeSymlink:
		err = e.exportSymlink(at, string(n.Data))
	case TypeDirectory, TypeHAMTShard:
		return e.exportDir(at, c, n, depth)
	default:
		err = fmt.Errorf("%s: %w: a node of type %s", c, block.ErrMalformed, n.Type)
	}
	return addPath(at.path, err)
}

// there tells what is at a place, nil for nothing. It fails if something is
// that may not be overwritten.
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
		return nil, fmt.Errorf("something is there already: %w", fs.ErrExist)
	}
	return info, nil
}

// directory writes a directory and what is in it.
func (e *exporter) exportDir(at destination, c cid.Cid, n Node, depth int) error {
	if depth == MaxDepth {
		return fmt.Errorf("%s: %w: directories lie more than %d deep", at.path, block.ErrMalformed, MaxDepth)
	}
	dir, fresh, err := e.makeDir(at)
	if err != nil {
		return addPath(at.path, err)
	}
	defer dir.Close()
	var seen foldedNames
	if !fresh {
		if seen, err = e.newFoldedNames(dir); err != nil {
			return addPath(at.path, err)
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
			return addPath(at.path, err)
		}
		sub := destination{dir, entry.Name, joinPath(at.path, entry.Name), fresh}
		if err := e.exportEntry(sub, entry.CID, depth+1); err != nil {
			return err
		}
	}
	// Last, as what is written into it counts as a modification.
	return addPath(at.path, restore(dir, ".", n))
}

// makeDir returns a new directory, or the one that is there.
func (e *exporter) makeDir(at destination) (dir *os.Root, fresh bool, err error) {
	info, err := e.lstat(at)
	if err != nil {
		return nil, false, err
	}
	if info != nil && !info.IsDir() {
		// A symlink would be followed.
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

// checkFileName refuses names that this system's paths give a meaning.
func checkFileName(name string) error {
	if strings.ContainsAny(name, "/\x00") || strings.ContainsRune(name, filepath.Separator) ||
		name == "" || name == "." || !filepath.IsLocal(name) {
		return fmt.Errorf("an entry named %q, which can be no file here: %w", name, block.ErrMalformed)
	}
	return nil
}

// temporary is a name that nothing has.
func tempName() string { return ".unixfs-" + rand.Text() }

// symlink makes a symlink, whatever its target.
func (e *exporter) exportSymlink(at destination, target string) error {
	return e.replace(at, func(temporary string) error { return at.dir.Symlink(target, temporary) })
}

// file writes a file.
func (e *exporter) exportFile(at destination, c cid.Cid, n Node) error {
	err := e.replace(at, func(temporary string) error {
		from, err := openNode(e.ctx, e.get, c, n)
		if err != nil {
			return err
		}
		defer from.Close()
		to, err := at.dir.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if err != nil {
			return err
		}
		_, err = from.WriteTo(e.countBytes(to))
		if err = errors.Join(err, to.Close()); err != nil {
			return err
		}
		return restore(at.dir, temporary, n)
	})
	if err == nil && e.options.Progress != nil {
		e.options.Progress.Files.Add(1)
	}
	return err
}

// replace lets write make something under a temporary name, and gives it its
// own.
func (e *exporter) replace(at destination, write func(temporary string) error) error {
	info, err := e.lstat(at)
	if err != nil {
		return err
	}
	if info != nil && info.IsDir() {
		return fmt.Errorf("a directory is there already: %w", fs.ErrExist)
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

// counted is w, with what is written to it counted.
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
