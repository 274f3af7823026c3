package names

import (
	"context"
	"fmt"
	"iter"
	"time"
)

// Follow subscribes to a name's topic, serves its record to peers that ask, and
// puts it into the stores again at each Config.Rebroadcast, unchanged. A followed
// name stays followed across restarts.
func (n *Names) Follow(ctx context.Context, name Name) error {
	err := n.cache.update(ctx, name, true, func(r row, held *Record) (row, *Record, error) {
		if r.followed {
			return r, held, errUnchanged
		}
		r.followed = true
		return r, held, nil
	})
	if err != nil && err != errUnchanged {
		return err
	}
	return n.updateSubscription(name)
}

// Unfollow undoes Follow. The name's record and sequence stay in the cache.
func (n *Names) Unfollow(ctx context.Context, name Name) error {
	return n.clearKept(ctx, name, func(r *row) { r.followed = false })
}

// Withdraw stops renewing the record published under a name. Copies elsewhere
// stay valid until they expire.
func (n *Names) Withdraw(ctx context.Context, name Name) error {
	return n.clearKept(ctx, name, func(r *row) { r.own = false })
}

// clearKept clears a flag of a kept name by f.
func (n *Names) clearKept(ctx context.Context, name Name, f func(*row)) error {
	err := n.cache.update(ctx, name, true, func(r row, held *Record) (row, *Record, error) {
		if !r.kept() {
			return r, held, errUnchanged
		}
		f(&r)
		return r, held, nil
	})
	if err != nil && err != errUnchanged {
		return err
	}
	return n.updateSubscription(name)
}

// Updates yields the valid record held of an own or followed name, and then each
// better one as it arrives. A slow caller gets only the newest. Updates ends with
// the context's error, and when the name is forgotten or Names is closed.
func (n *Names) Updates(ctx context.Context, name Name) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		var last *Record
		for {
			record, changed, ok := n.cache.watch(name)
			if !ok {
				yield(nil, fmt.Errorf("names: updates of %s: %w: it isn't followed", name, ErrNotFound))
				return
			}
			if record != nil && (last == nil || record.Compare(last) > 0) && record.Valid(time.Now()) == nil {
				last = record
				if !yield(record, nil) {
					return
				}
			}
			select {
			case <-changed:
			case <-ctx.Done():
				yield(nil, ctx.Err())
				return
			case <-n.ctx.Done():
				yield(nil, fmt.Errorf("names: updates of %s: %w", name, ErrClosed))
				return
			}
		}
	}
}
