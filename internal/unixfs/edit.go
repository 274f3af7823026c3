package unixfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// A Tree is a directory being edited. Commit makes a new root; the old one stays
// valid. The cost grows with the changes and the depth of their paths, not with
// the tree. Of sharded directories only the shards on the way are read and
// written. After a removal from one, Commit also reads entries up to the
// profile's threshold, to decide whether the directory becomes a plain one.
//
// Changes are kept in memory until Commit, except the content of files, whose
// blocks are put at once. Paths are relative to the root, with slashes. Symlinks
// on the way are not followed.
//
// A Tree is safe for concurrent use. A call that fails doesn't change it.
type Tree struct {
	get     block.Getter
	put     block.Putter
	options Options

	mu   sync.Mutex
	root *treeDir // guarded by mu, with all below it
}

// A treeDir is a directory of a Tree, with changes.
type treeDir struct {
	// link is the unchanged directory, without a name; undefined for a new one.
	link Link
	// changes are by name; nil: the entry is removed.
	changes map[string]*treeEntry
}

// A treeEntry is a new or changed entry.
type treeEntry struct {
	link Link // without a name
	dir  *treeDir
}

// Edit returns a Tree of the directory root; cid.Undef is an empty one. It gets
// one block. get must return what was put into put. Only the options Profile,
// Workers and Progress are used. Under the profile of the tree's import, Commit
// makes the root that an import of the changed tree would make. Errors: those of
// get; ErrNotDirectory; block.ErrMalformed; block.ErrUnknownCodec.
func Edit(ctx context.Context, get block.Getter, put block.Putter, root cid.Cid, o Options) (*Tree, error) {
	o = Options{Profile: o.Profile, Workers: o.Workers, Progress: o.Progress}
	if o.Profile == (Profile{}) {
		o.Profile = V1Profile()
	}
	if err := o.Profile.check(); err != nil {
		return nil, err
	}
	t := &Tree{get: get, put: put, options: o, root: &treeDir{}}
	if !root.Defined() {
		return t, nil
	}
	n, err := load(ctx, get, root)
	if err == nil && n.Type != TypeDirectory && n.Type != TypeHAMTShard {
		err = fmt.Errorf("%s is a %s: %w", root, n.Type, ErrNotDirectory)
	}
	if err != nil {
		return nil, fmt.Errorf("unixfs: edit: %w", err)
	}
	t.root.link.CID = root
	return t, nil
}

// getEntry returns an entry of d, or nil.
func (t *Tree) getEntry(ctx context.Context, d *treeDir, name string) (*treeEntry, error) {
	if e, changed := d.changes[name]; changed || !d.link.CID.Defined() {
		return e, nil
	}
	found, err := lookup(ctx, t.get, d.link.CID, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &treeEntry{link: Link{CID: found.CID, Tsize: found.Tsize}}, nil
}

// isDir reports whether an entry is a directory.
func (t *Tree) isDir(ctx context.Context, e *treeEntry) (bool, error) {
	if e.dir != nil {
		return true, nil
	}
	if e.link.CID.Type() == block.Raw {
		return false, nil
	}
	n, err := load(ctx, t.get, e.link.CID)
	return n.Type == TypeDirectory || n.Type == TypeHAMTShard, err
}

// set changes an entry.
func (d *treeDir) set(name string, e *treeEntry) {
	if d.changes == nil {
		d.changes = map[string]*treeEntry{}
	}
	d.changes[name] = e
}

// enterDir returns the directory of that name in d, to be changed; nil if d has
// no entry of that name.
func (t *Tree) enterDir(ctx context.Context, d *treeDir, name string) (*treeDir, error) {
	e, err := t.getEntry(ctx, d, name)
	if err != nil || e == nil {
		return nil, err
	}
	isDir, err := t.isDir(ctx, e)
	switch {
	case err != nil:
		return nil, err
	case !isDir:
		return nil, ErrNotDirectory
	case e.dir == nil:
		e.dir = &treeDir{link: e.link}
		d.set(name, e)
	}
	return e.dir, nil
}

// A treeSlot is a name in a directory of a Tree.
type treeSlot struct {
	dir  *treeDir
	name string
}

// locate returns the slot of path. The root has none.
func (t *Tree) locate(ctx context.Context, path string) (treeSlot, error) {
	parts, err := SplitPath(path)
	if err != nil {
		return treeSlot{}, err
	}
	if len(parts) == 0 {
		return treeSlot{}, errors.New("invalid path: it is the root, want an entry below")
	}
	d := t.root
	for i, name := range parts {
		if err := checkName(name); err != nil {
			return treeSlot{}, err
		}
		if i == len(parts)-1 {
			break
		}
		if d, err = t.enterDir(ctx, d, name); err == nil && d == nil {
			err = fs.ErrNotExist
		}
		if err != nil {
			return treeSlot{}, fmt.Errorf("%s: %w", strings.Join(parts[:i+1], "/"), err)
		}
	}
	return treeSlot{d, parts[len(parts)-1]}, nil
}

// Write makes a file at path of the content of r, and replaces a file or symlink
// there. Errors: those of r, of the Putter and the Getter; fs.ErrNotExist,
// ErrNotDirectory for the parent directory; ErrNotFile for a directory at path.
func (t *Tree) Write(ctx context.Context, path string, r io.Reader) error {
	// Check before reading r.
	if err := t.checkSettable(ctx, path); err != nil {
		return fmt.Errorf("unixfs: write %s: %w", path, err)
	}
	result, err := Import(ctx, t.put, r, t.options)
	if err != nil {
		return fmt.Errorf("unixfs: write %s: %w", path, err)
	}
	return t.setEntry(ctx, "write", path, Link{CID: result.CID, Tsize: result.DAGSize})
}

// Symlink makes a symlink at path, as Write makes a file. The target may be any
// UTF-8 string.
func (t *Tree) Symlink(ctx context.Context, path, target string) error {
	b, err := symlinkBlock(target, t.options.Profile)
	if err == nil && !block.IsIdentity(b.CID()) {
		err = t.put.Put(ctx, b)
	}
	if err != nil {
		return fmt.Errorf("unixfs: symlink %s: %w", path, err)
	}
	return t.setEntry(ctx, "symlink", path, Link{CID: b.CID(), Tsize: uint64(b.Size())})
}

// Link puts the file, symlink or directory c at path, as Write does a file. It
// gets one block.
func (t *Tree) Link(ctx context.Context, path string, c cid.Cid) error {
	b, err := getBlock(ctx, t.get, c)
	var n Node
	if err == nil {
		n, err = decodeBlock(b)
	}
	if err == nil {
		_, err = newInfo(c, n)
	}
	if err != nil {
		return fmt.Errorf("unixfs: link %s: %w", path, err)
	}
	return t.setEntry(ctx, "link", path, Link{CID: c, Tsize: n.toPart(b).tsize})
}

// setEntry sets the entry at path, unless a directory is there.
func (t *Tree) setEntry(ctx context.Context, op, path string, l Link) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, err := t.locateFile(ctx, path)
	if err != nil {
		return fmt.Errorf("unixfs: %s %s: %w", op, path, err)
	}
	at.dir.set(at.name, &treeEntry{link: l})
	return nil
}

// checkSettable fails if setEntry would.
func (t *Tree) checkSettable(ctx context.Context, path string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := t.locateFile(ctx, path)
	return err
}

// locateFile returns the slot of path. It fails if a directory is there.
func (t *Tree) locateFile(ctx context.Context, path string) (treeSlot, error) {
	at, err := t.locate(ctx, path)
	if err == nil {
		err = t.checkNotDir(ctx, at)
	}
	return at, err
}

// checkNotDir fails if a slot has a directory.
func (t *Tree) checkNotDir(ctx context.Context, at treeSlot) error {
	e, err := t.getEntry(ctx, at.dir, at.name)
	if err != nil || e == nil {
		return err
	}
	isDir, err := t.isDir(ctx, e)
	if err == nil && isDir {
		err = fmt.Errorf("a directory is there: %w", ErrNotFile)
	}
	return err
}

// Mkdir makes a directory at path, and missing parents. An existing directory is
// not an error; anything else there is ErrNotDirectory.
func (t *Tree) Mkdir(ctx context.Context, path string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	parts, err := SplitPath(path)
	for _, name := range parts {
		if err == nil {
			err = checkName(name)
		}
	}
	d := t.root
	for i := 0; i < len(parts) && err == nil; i++ {
		var sub *treeDir
		if sub, err = t.enterDir(ctx, d, parts[i]); err == nil && sub == nil {
			sub = &treeDir{}
			d.set(parts[i], &treeEntry{dir: sub})
		}
		d = sub
	}
	if err != nil {
		return fmt.Errorf("unixfs: make directory %s: %w", path, err)
	}
	return nil
}

// Remove removes the entry at path, a directory with all its contents. Errors:
// fs.ErrNotExist.
func (t *Tree) Remove(ctx context.Context, path string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, err := t.locate(ctx, path)
	var e *treeEntry
	if err == nil {
		e, err = t.getEntry(ctx, at.dir, at.name)
	}
	if err == nil && e == nil {
		err = fs.ErrNotExist
	}
	if err != nil {
		return fmt.Errorf("unixfs: remove %s: %w", path, err)
	}
	at.dir.set(at.name, nil)
	return nil
}

// Move moves the entry at from to to, and replaces a file or symlink there.
// Errors: fs.ErrNotExist for from, or the parent directory of to; ErrNotFile for
// a directory at to; block.ErrMalformed if to is inside from.
func (t *Tree) Move(ctx context.Context, from, to string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.move(ctx, from, to); err != nil {
		return fmt.Errorf("unixfs: move %s to %s: %w", from, to, err)
	}
	return nil
}

func (t *Tree) move(ctx context.Context, from, to string) error {
	source, err := t.locate(ctx, from)
	if err != nil {
		return err
	}
	e, err := t.getEntry(ctx, source.dir, source.name)
	if err == nil && e == nil {
		err = fmt.Errorf("%s: %w", from, fs.ErrNotExist)
	}
	if err != nil {
		return err
	}
	fromParts, err := SplitPath(from)
	if err != nil {
		return err
	}
	toParts, err := SplitPath(to)
	if err != nil {
		return err
	}
	if len(toParts) >= len(fromParts) && strings.Join(toParts[:len(fromParts)], "/") == strings.Join(fromParts, "/") {
		if len(toParts) == len(fromParts) {
			return nil
		}
		return fmt.Errorf("%w: a directory can't be moved into itself", block.ErrMalformed)
	}
	target, err := t.locateFile(ctx, to)
	if err != nil {
		return err
	}
	source.dir.set(source.name, nil)
	target.dir.set(target.name, e)
	return nil
}
