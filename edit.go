package cairn

import (
	"context"
	"fmt"
	"io"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// EditOptions say how a directory is changed. The zero value is fine.
type EditOptions struct {
	// Profile and Chunker are as in AddOptions. Under those that the directory
	// was added with, the result has the CID that adding the changed directory
	// gives.
	Profile, Chunker string
	// Alias is the name under which the result is kept; see AddOptions.
	Alias string
	// NoPin sets no alias.
	NoPin bool
}

// A Tree is a directory that is being changed, see Node.Edit. Paths are
// relative to its root, with slashes; symlinks on the way are not followed.
//
// A Tree may be used by several goroutines. After an error it is as it was
// before.
type Tree struct {
	options EditOptions
	batch   *store.Batch
	tree    *unixfs.Tree
}

// Edit begins to change the directory that root names; cid.Undef means an empty
// one. Nothing happens to root: Commit makes a new one, at a cost that grows
// with what was changed and the depth of its paths, not with the directory. End
// the Tree with Commit or Discard. Errors: block.ErrNotFound;
// ErrNotDirectory; block.ErrMalformed; block.ErrUnknownCodec.
func (n *Node) Edit(ctx context.Context, root cid.Cid, o EditOptions) (*Tree, error) {
	return n.edit(ctx, n, root, o)
}

func (n *Node) edit(ctx context.Context, get block.Getter, root cid.Cid, o EditOptions) (*Tree, error) {
	p, err := profile(o.Profile, o.Chunker)
	if err != nil {
		return nil, fmt.Errorf("cairn: edit: %w", err)
	}
	batch := n.store.Batch()
	tree, err := unixfs.Edit(ctx, get, batch, root, unixfs.Options{Profile: p})
	if err != nil {
		batch.Discard()
		return nil, err
	}
	return &Tree{options: o, batch: batch, tree: tree}, nil
}

// Write makes a file of what r holds at path, in the place of a file or symlink
// that is there. Errors: those of r; fs.ErrNotExist, ErrNotDirectory for the
// directory it shall lie in; ErrNotFile for a directory at path.
func (t *Tree) Write(ctx context.Context, path string, r io.Reader) error {
	return t.tree.Write(ctx, path, r)
}

// Link puts the file, symlink or directory that c names at path, as Write does
// a file. It reads one block.
func (t *Tree) Link(ctx context.Context, path string, c cid.Cid) error {
	return t.tree.Link(ctx, path, c)
}

// Symlink makes a symlink at path, as Write makes a file.
func (t *Tree) Symlink(ctx context.Context, path, target string) error {
	return t.tree.Symlink(ctx, path, target)
}

// Mkdir makes a directory at path, and those it lies in where they are not
// there. One that is there is no error; ErrNotDirectory if something else is.
func (t *Tree) Mkdir(ctx context.Context, path string) error {
	return t.tree.Mkdir(ctx, path)
}

// Move moves what is at from to to, in the place of a file or symlink that is
// there. Errors: fs.ErrNotExist for from, or the directory that to shall lie in;
// ErrNotFile for a directory at to; block.ErrMalformed if to lies in from.
func (t *Tree) Move(ctx context.Context, from, to string) error {
	return t.tree.Move(ctx, from, to)
}

// Remove removes what is at path, a directory with all that is in it. Errors:
// fs.ErrNotExist.
func (t *Tree) Remove(ctx context.Context, path string) error {
	return t.tree.Remove(ctx, path)
}

// Commit makes the new root, and keeps it, durably, under EditOptions.Alias or
// pin/CID, and ends the Tree. What Write gave it and was then removed again stays
// as a cache.
func (t *Tree) Commit(ctx context.Context) (cid.Cid, error) {
	defer t.Discard()
	root, err := t.tree.Commit(ctx)
	if err != nil {
		return cid.Undef, err
	}
	switch {
	case t.options.Alias != "":
		t.batch.Alias(t.options.Alias, root, store.AliasOptions{})
	case !t.options.NoPin:
		t.batch.Alias(PinName(root), root, store.AliasOptions{})
	}
	if err := t.batch.Commit(ctx); err != nil {
		return cid.Undef, err
	}
	return root, nil
}

// Discard ends the Tree without a new root; after Commit it does nothing.
func (t *Tree) Discard() { t.batch.Discard() }
