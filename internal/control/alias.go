package control

import (
	"context"
	"iter"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// AliasArgs name an alias.
type AliasArgs struct {
	Name string `json:"name"`
}

// ResolveAlias returns an alias. Errors: store.ErrNoAlias.
var ResolveAlias = Call[AliasArgs, store.Alias]{
	Path: "alias/get",
	Run: func(ctx context.Context, n *cairn.Node, a AliasArgs) (store.Alias, error) {
		return n.Store().GetAlias(ctx, a.Name)
	},
}

// ListArgs select names that begin with Prefix.
type ListArgs struct {
	Prefix string `json:"prefix"`
}

// ListAliases lists aliases in the order of their names.
var ListAliases = Stream[ListArgs, store.Alias]{
	Path: "alias/ls",
	Run: func(ctx context.Context, n *cairn.Node, a ListArgs) iter.Seq2[store.Alias, error] {
		return n.Store().Aliases(ctx, a.Prefix)
	},
}

// RootArgs name a DAG by its root.
type RootArgs struct {
	Root cid.Cid `json:"cid"`
}

// ListKeepers lists the aliases that keep a block alive.
var ListKeepers = Stream[BlockArgs, store.Alias]{
	Path: "alias/why",
	Run: func(ctx context.Context, n *cairn.Node, a BlockArgs) iter.Seq2[store.Alias, error] {
		return n.Store().ReverseAlias(ctx, a.CID)
	},
}
