package cairn

import (
	"context"
	"iter"

	"github.com/cairn-ipfs/cairn/internal/rows"
	"github.com/cairn-ipfs/cairn/store"
)

// A rowStore gives packages below the store its spaces.
type rowStore struct{ store *store.Store }

var _ rows.Store = rowStore{}

func (s rowStore) Get(ctx context.Context, space string, key []byte) ([]byte, bool, error) {
	return s.store.Space(space).Get(ctx, key)
}

func (s rowStore) All(ctx context.Context, space string, prefix []byte) iter.Seq2[rows.Row, error] {
	return func(yield func(rows.Row, error) bool) {
		for item, err := range s.store.Space(space).All(ctx, prefix) {
			if !yield(rows.Row(item), err) {
				return
			}
		}
	}
}

func (s rowStore) Set(ctx context.Context, changes ...rows.Change) error {
	b := s.store.Batch()
	for _, c := range changes {
		if c.Value == nil {
			b.Unset(c.Space, c.Key)
		} else {
			b.Set(c.Space, c.Key, c.Value)
		}
	}
	return b.Commit(ctx)
}
