package control

import (
	"context"

	"github.com/cairn-ipfs/cairn"
)

// Provide announces a CID, as cairn.Node.Provide does.
var Provide = Call[BlockArgs, struct{}]{
	Path: "provide",
	Run: func(ctx context.Context, n *cairn.Node, a BlockArgs) (struct{}, error) {
		return struct{}{}, n.Provide(ctx, a.CID)
	},
}

// Unprovide ends that.
var Unprovide = Call[BlockArgs, struct{}]{
	Path: "unprovide",
	Run: func(ctx context.Context, n *cairn.Node, a BlockArgs) (struct{}, error) {
		return struct{}{}, n.Unprovide(ctx, a.CID)
	},
}

// ProvideStats returns the state of announcing.
var ProvideStats = Call[struct{}, cairn.ProvideStats]{
	Path: "provide/stats",
	Run: func(ctx context.Context, n *cairn.Node, _ struct{}) (cairn.ProvideStats, error) {
		return n.ProvideStats(ctx)
	},
}

// RoutingStatus returns the state of finding.
var RoutingStatus = Call[struct{}, cairn.RoutingStatus]{
	Path: "routing",
	Run: func(ctx context.Context, n *cairn.Node, _ struct{}) (cairn.RoutingStatus, error) {
		return n.RoutingStatus(ctx)
	},
}
