package cairn

import (
	"context"
	"errors"
	"iter"

	"github.com/cairn-ipfs/cairn/internal/names"
	"github.com/cairn-ipfs/cairn/internal/routing"
)

// A routedNames keeps records of names where content routing does: in the DHTs,
// and at delegated routers.
type routedNames struct{ router *routing.Router }

var _ names.ValueStore = routedNames{}

func (r routedNames) PutValue(ctx context.Context, key string, value []byte) error {
	return r.router.PutValue(ctx, key, value)
}

func (r routedNames) SearchValue(ctx context.Context, key string) iter.Seq2[names.Value, error] {
	return func(yield func(names.Value, error) bool) {
		for v, err := range r.router.SearchValue(ctx, key) {
			if errors.Is(err, routing.ErrNotFound) {
				continue // which is no failure
			}
			if !yield(names.Value{Data: v.Data, Source: v.Source}, err) {
				return
			}
		}
	}
}

// nameNetwork is what names use of the network.
func (net *online) nameNetwork(mode routing.Mode) names.Network {
	n := names.Network{Topics: names.SwarmTopics(net.swarm), Host: net.swarm.Host()}
	if mode != routing.ModeNone {
		n.Stores = []names.ValueStore{routedNames{net.routing}}
	}
	return n
}
