package names

import (
	"context"
	"errors"
	"iter"

	"github.com/cairn-ipfs/cairn/internal/routing"
)

// RouterStore returns the ValueStore of a router: its DHTs and delegated routers.
func RouterStore(r *routing.Router) ValueStore { return routerStore{r} }

type routerStore struct{ router *routing.Router }

var _ ValueStore = routerStore{}

func (s routerStore) PutValue(ctx context.Context, key string, value []byte) error {
	return s.router.PutValue(ctx, key, value)
}

func (s routerStore) SearchValue(ctx context.Context, key string) iter.Seq2[Value, error] {
	return func(yield func(Value, error) bool) {
		for v, err := range s.router.SearchValue(ctx, key) {
			if errors.Is(err, routing.ErrNotFound) {
				continue // for a ValueStore, finding nothing is no error
			}
			if !yield(Value{Data: v.Data, Source: v.Source}, err) {
				return
			}
		}
	}
}
