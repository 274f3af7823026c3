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

// exportAhead is how many blocks Fetcher.ExportCAR asks for at the same time: as
// many as a file reads ahead.
const exportAhead = 8

// A Fetcher reads content as the Node does, and fetches the blocks that are not
// here: from connected peers, and from providers and gateways, as Node.Fetch
// does. They stay as a cache. It is for content of which only a part is needed;
// Node.Sync gets a whole DAG faster, and keeps it.
//
// Files, directories and CARs fetch some blocks ahead. All methods add the errors
// of Node.Fetch to those of the Node's: ErrNoSource in place of a plain
// block.ErrNotFound, and ErrOffline.
type Fetcher struct {
	node *Node
	get  fetchingGetter
}

var _ block.Getter = Fetcher{}

// Fetcher returns a reader of content that may not be here.
func (n *Node) Fetcher() Fetcher { return Fetcher{n, fetchingGetter{n}} }

// Get is Node.Fetch: it returns a block that is here or that someone has.
func (f Fetcher) Get(ctx context.Context, c cid.Cid) (block.Block, error) {
	return f.node.Fetch(ctx, c)
}

// OpenFile is Node.OpenFile. The File reads with ctx, so that ending ctx ends
// what it waits for.
func (f Fetcher) OpenFile(ctx context.Context, c cid.Cid) (*File, error) {
	return openFile(ctx, f.get, c)
}

// FS is Node.FS. A block that no one has is an error that wraps ErrNoSource.
func (f Fetcher) FS(ctx context.Context, root cid.Cid) fs.FS { return unixfs.FS(ctx, f.get, root) }

// Edit is Node.Edit. It fetches the nodes on the way to what changes, and no
// others: the new root may link to blocks that are not here, which
// store.Store.Missing lists and Node.Sync gets.
func (f Fetcher) Edit(ctx context.Context, root cid.Cid, o EditOptions) (*Tree, error) {
	return f.node.edit(ctx, f.get, root, o)
}

// ExportCAR is Node.ExportCAR.
func (f Fetcher) ExportCAR(ctx context.Context, w io.Writer, root cid.Cid) error {
	return exportCAR(ctx, f.get, w, root, dag.WalkOptions{Ahead: exportAhead})
}

// A fetchingGetter gets blocks for a Fetcher's readers. It does not announce what
// it fetches: the rest of the content may never come.
type fetchingGetter struct{ node *Node }

var _ block.Getter = fetchingGetter{}

// Get implements block.Getter.
func (g fetchingGetter) Get(ctx context.Context, c cid.Cid) (block.Block, error) {
	return g.GetInto(ctx, c, nil)
}

// GetInto is Get for files, which read blocks that are here into memory that they
// use again.
func (g fetchingGetter) GetInto(ctx context.Context, c cid.Cid, memory []byte) (block.Block, error) {
	b, err := store.Internal(access.Key{}).Reader(g.node.store).GetInto(ctx, c, memory)
	if !errors.Is(err, block.ErrNotFound) {
		return b, err
	}
	b, _, err = g.node.fetch(ctx, c)
	return b, err
}
