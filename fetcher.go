package cairn

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/access"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// exportAhead is how many blocks Fetcher.ExportCAR fetches at the same time: as many
// as a file reads ahead.
const exportAhead = 8

// A Fetcher reads as Node does, and fetches missing blocks from connected peers,
// providers and gateways, as Node.Fetch does. They stay as a cache. Use it if a part
// of the content is needed; Node.Sync fetches a whole DAG faster, and keeps it.
//
// Files, directories and CARs fetch some blocks ahead. Instead of a plain
// block.ErrNotFound methods fail with ErrNoSource, or with ErrOffline.
type Fetcher struct {
	node *Node
	get  fetchingGetter
}

var _ block.Getter = Fetcher{}

// Fetcher returns a reader that fetches missing blocks.
func (n *Node) Fetcher() Fetcher { return Fetcher{n, fetchingGetter{n}} }

// Get is Node.Fetch: it returns a block from the store or from a source.
func (f Fetcher) Get(ctx context.Context, c cid.Cid) (block.Block, error) {
	return f.node.Fetch(ctx, c)
}

// OpenFile is Node.OpenFile. Canceling ctx ends what the File waits for.
func (f Fetcher) OpenFile(ctx context.Context, c cid.Cid) (*File, error) {
	return openFile(ctx, f.get, c)
}

// FS is Node.FS.
func (f Fetcher) FS(ctx context.Context, root cid.Cid) fs.FS { return unixfs.FS(ctx, f.get, root) }

// Edit is Node.Edit. It fetches the blocks on the way to what changes, and no others.
// The new root may link to missing blocks: store.Store.Missing lists them, and
// Node.Sync fetches them.
func (f Fetcher) Edit(ctx context.Context, root cid.Cid, o EditOptions) (*Tree, error) {
	return f.node.edit(ctx, f.get, root, o)
}

// ExportCAR is Node.ExportCAR.
func (f Fetcher) ExportCAR(ctx context.Context, w io.Writer, root cid.Cid) error {
	return exportCAR(ctx, f.get, w, root, dag.WalkOptions{Ahead: exportAhead})
}

// A fetchingGetter gets blocks for the readers of a Fetcher. It does not announce
// what it fetches, because the rest of the content may never be fetched.
type fetchingGetter struct{ node *Node }

var _ block.Getter = fetchingGetter{}

// Get implements block.Getter.
func (g fetchingGetter) Get(ctx context.Context, c cid.Cid) (block.Block, error) {
	return g.GetInto(ctx, c, nil)
}

// GetInto is Get for files, which reuse the memory that blocks are read into.
func (g fetchingGetter) GetInto(ctx context.Context, c cid.Cid, memory []byte) (block.Block, error) {
	b, err := store.Internal(access.Key{}).Reader(g.node.store).GetInto(ctx, c, memory)
	if !errors.Is(err, block.ErrNotFound) {
		return b, err
	}
	b, _, err = g.node.fetch(ctx, c)
	return b, err
}
