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

// EditOptions configure Edit. The zero value is fine.
type EditOptions struct {
	// Profile and Chunker are as in AddOptions. With those that the directory was
	// added with, the result has the CID that adding the changed directory gives.
	Profile, Chunker string
	// Alias is the name of the new root; see AddOptions.
	Alias string
	// NoPin sets no alias.
	NoPin bool
}

// A Tree is a directory being changed; see Node.Edit. Paths are relative to its root,
// with slashes. It does not follow symlinks.
//
// A Tree is safe for concurrent use. A method that fails changes nothing.
type Tree struct {
	options EditOptions
	batch   *store.Batch
	tree    *unixfs.Tree
}

// Edit begins to change the directory root; cid.Undef is an empty one. The old root
// stays as it is. Commit makes a new one, at a cost that grows with the changes and
// the depth of their paths, not with the directory. It reads from the store only; see
// Fetcher. End the Tree with Commit or Discard. Errors: block.ErrNotFound,
// ErrNotDirectory, block.ErrMalformed, block.ErrUnknownCodec.
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

// Write writes r as a file at path, replacing a file or symlink. Errors: those of r;
// fs.ErrNotExist and ErrNotDirectory for the parent directory; ErrNotFile for a
// directory at path.
func (t *Tree) Write(ctx context.Context, path string, r io.Reader) error {
	return t.tree.Write(ctx, path, r)
}

// Link puts the file, symlink or directory c at path, as Write does a file. It reads
// one block.
func (t *Tree) Link(ctx context.Context, path string, c cid.Cid) error {
	return t.tree.Link(ctx, path, c)
}

// Symlink puts a symlink at path, as Write does a file.
func (t *Tree) Symlink(ctx context.Context, path, target string) error {
	return t.tree.Symlink(ctx, path, target)
}

// Mkdir makes a directory at path, and its missing parents. It does nothing if the
// directory exists. Errors: ErrNotDirectory if something else is at path.
func (t *Tree) Mkdir(ctx context.Context, path string) error {
	return t.tree.Mkdir(ctx, path)
}

// Move moves a file, symlink or directory, replacing a file or symlink at to. Errors:
// fs.ErrNotExist for from or the parent of to; ErrNotFile for a directory at to;
// block.ErrMalformed if to is below from.
func (t *Tree) Move(ctx context.Context, from, to string) error {
	return t.tree.Move(ctx, from, to)
}

// Remove removes a file, a symlink, or a directory with all its content. Errors:
// fs.ErrNotExist.
func (t *Tree) Remove(ctx context.Context, path string) error {
	return t.tree.Remove(ctx, path)
}

// Commit makes the new root, names it with EditOptions.Alias or PinName, durably, and
// ends the Tree. Blocks of what was written and removed again stay as a cache.
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
