package control

import (
	"context"
	"iter"

	"github.com/cairn-ipfs/cairn"
	"github.com/ipfs/go-cid"
)

// SyncArgs are a DAG, and how to get it. Follow is code, and stays here.
type SyncArgs struct {
	Root cid.Cid `json:"cid"`
	cairn.SyncOptions
}

// Sync gets a DAG, and yields the progress, as cairn.Node.Sync does.
var Sync = Stream[SyncArgs, cairn.SyncProgress]{
	Path: "sync",
	Run: func(ctx context.Context, n *cairn.Node, a SyncArgs) iter.Seq2[cairn.SyncProgress, error] {
		return n.Sync(ctx, a.Root, a.SyncOptions)
	},
}
