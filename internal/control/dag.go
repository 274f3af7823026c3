package control

import (
	"context"
	"io"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/access"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// carType is the media type of CARs.
const carType = "application/vnd.ipld.car"

// CatArgs name a part of a file.
type CatArgs struct {
	CID    cid.Cid `json:"cid"`
	Offset int64   `json:"offset,omitempty"`
	// Length is the most bytes to write. Nil: to the end.
	Length *int64 `json:"length,omitempty"`
}

// Cat writes a file.
var Cat = Download[CatArgs]{
	Path: "cat",
	Type: "application/octet-stream",
	Run: func(ctx context.Context, n *cairn.Node, a CatArgs, w io.Writer, size func(int64)) error {
		// Its blocks are read into memory that is used again.
		f, err := unixfs.Open(ctx, store.Internal(access.Key{}).Reader(n.Store()), a.CID)
		if err != nil {
			return err
		}
		defer f.Close()
		length := int64(-1)
		if a.Length != nil {
			length = max(0, *a.Length)
		}
		part := max(0, f.Size()-a.Offset)
		if length >= 0 {
			part = min(part, length)
		}
		size(part)
		_, err = f.WriteRange(w, a.Offset, length)
		return err
	},
}

// ExportCAR writes a DAG as a CAR of version 1. A block that the store lacks is
// an error.
var ExportCAR = Download[RootArgs]{
	Path: "dag/export",
	Type: carType,
	Run: func(ctx context.Context, n *cairn.Node, a RootArgs, w io.Writer, _ func(int64)) error {
		// Without its root there is no CAR at all, not one that breaks off.
		if !block.IsIdentity(a.Root) {
			if _, err := n.Get(ctx, a.Root); err != nil {
				return err
			}
		}
		return n.ExportCAR(ctx, w, a.Root)
	},
}

// CountDAG counts the blocks and bytes of a DAG, each block once.
var CountDAG = Call[RootArgs, dag.Totals]{
	Path: "dag/stat",
	Run: func(ctx context.Context, n *cairn.Node, a RootArgs) (dag.Totals, error) {
		return dag.Count(ctx, n, a.Root)
	},
}
