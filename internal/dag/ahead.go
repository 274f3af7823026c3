package dag

import (
	"context"
	"sync"

	"github.com/ipfs/go-cid"

	"github.com/cairn-ipfs/cairn/block"
)

// A reader gets blocks for a walk, and up to limit of those whose turn comes
// next, at the same time.
type reader struct {
	get   block.Getter
	limit int

	started map[string]*request // by key
	waiting sync.WaitGroup      // for the requests; the walk ends their context
}

// A request is a block that was asked for ahead of its turn.
type request struct {
	done  chan struct{} // closed when the following are set
	block block.Block
	err   error
}

// start asks for a block ahead of its turn. It returns false if there is no room.
func (r *reader) start(ctx context.Context, c cid.Cid) bool {
	k := key(c.KeyString())
	if _, started := r.started[k]; started {
		return true
	}
	if len(r.started) >= r.limit {
		return false
	}
	q := &request{done: make(chan struct{})}
	r.started[k] = q
	r.waiting.Go(func() {
		defer close(q.done)
		q.block, q.err = r.get.Get(ctx, c)
	})
	return true
}

// take gets a block whose turn it is.
func (r *reader) take(ctx context.Context, c cid.Cid) (block.Block, error) {
	k := key(c.KeyString())
	q, started := r.started[k]
	if !started {
		return r.get.Get(ctx, c)
	}
	<-q.done
	delete(r.started, k)
	if q.err != nil {
		return block.Block{}, q.err
	}
	return q.block.WithCID(c)
}

// scanAhead bounds how many links are looked at for each block that is asked for
// ahead: most of them may have been visited.
const scanAhead = 8

// startAhead asks for the blocks that come next.
func (w *walker) startAhead(ctx context.Context) {
	left := scanAhead * w.o.Ahead
	for i := range w.fronts {
		f := w.fronts[i]
		if w.o.Order == DepthFirst {
			f = w.fronts[len(w.fronts)-1-i]
		}
		for _, c := range f.cids {
			if left--; left < 0 {
				return
			}
			if _, seen := w.seen[key(c.KeyString())]; seen || block.IsIdentity(c) || w.o.Skip != nil && w.o.Skip(c) {
				continue
			}
			if !w.reader.start(ctx, c) {
				return
			}
		}
	}
}
