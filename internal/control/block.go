package control

import (
	"context"
	"io"
	"iter"
	"strconv"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// BlockArgs name a block.
type BlockArgs struct {
	CID cid.Cid `json:"cid"`
}

// GetBlock writes a block of the store. Target.Get verifies it, too.
var GetBlock = Download[BlockArgs]{
	Path: "block/get",
	Type: "application/octet-stream",
	Run: func(ctx context.Context, n *cairn.Node, a BlockArgs, w io.Writer, size func(int64)) error {
		b, err := n.Get(ctx, a.CID)
		if err != nil {
			return err
		}
		size(int64(b.Size()))
		_, err = w.Write(b.Data())
		return err
	},
}

// setSize announces how many bytes an answer has.
func setSize(c *httpapi.Call, size int64) {
	c.Header().Set(httpapi.ContentLength, strconv.FormatInt(size, 10))
}

// BlockSize returns the size of a block of the store, in bytes.
var BlockSize = Call[BlockArgs, int]{
	Path: "block/stat",
	Run: func(ctx context.Context, n *cairn.Node, a BlockArgs) (int, error) {
		return n.Store().Size(ctx, a.CID)
	},
}

// DeleteArgs name blocks.
type DeleteArgs struct {
	CIDs []cid.Cid `json:"cids"`
}

// DeleteBlocks removes blocks that nothing keeps alive, all or none. Errors:
// store.ErrLive.
var DeleteBlocks = Call[DeleteArgs, struct{}]{
	Path: "block/rm",
	Run: func(ctx context.Context, n *cairn.Node, a DeleteArgs) (struct{}, error) {
		return struct{}{}, n.Store().Delete(ctx, a.CIDs...)
	},
}

// ListMissing lists the blocks of a DAG that the store lacks, as
// store.Store.Missing does.
var ListMissing = Stream[RootArgs, cid.Cid]{
	Path: "missing",
	Run: func(ctx context.Context, n *cairn.Node, a RootArgs) iter.Seq2[cid.Cid, error] {
		return n.Store().Missing(ctx, a.Root, store.Selection{})
	},
}
