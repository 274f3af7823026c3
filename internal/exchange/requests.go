package exchange

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/trustless"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"
)

// maxRequests is how many blocks a gateway is asked for at a time.
const maxRequests = 32

// Open implements Asker: each block is a request.
func (g *Gateway) Open(ctx context.Context) (Conversation, error) {
	c := &requests{client: g.client, replies: make(chan Reply), slots: make(chan struct{}, maxRequests), open: map[string]context.CancelFunc{}}
	c.ctx, c.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	return c, nil
}

// moreAfter is after how long a gateway that was busy, and has sent blocks since,
// is asked for twice as many at a time: long beside the pauses that it costs if
// they are too many again.
const moreAfter = 30 * time.Second

// busyOf returns what a gateway's answer means if it has too much to do: that it
// takes no request more just now, be it by HTTP or by resetting the stream. Else
// it returns nil.
func busyOf(err error) *BusyError {
	var status *trustless.StatusError
	var reset *network.StreamError
	switch {
	case errors.As(err, &status) && (status.Status == http.StatusTooManyRequests || status.Status == http.StatusServiceUnavailable):
		return &BusyError{status.RetryAfter, err}
	case errors.As(err, &reset) && reset.Remote && reset.ErrorCode == network.StreamResourceLimitExceeded:
		return &BusyError{0, err}
	}
	return nil
}

// requests is a conversation in which each block is a request of its own.
type requests struct {
	client  *trustless.Client
	ctx     context.Context // of all requests
	stop    context.CancelCauseFunc
	replies chan Reply
	slots   chan struct{} // taken by requests
	group   sync.WaitGroup

	mu      sync.Mutex // guards the following
	open    map[string]context.CancelFunc
	busy    *BusyError // what the gateway said last
	until   time.Time  // when that is over
	sent    int        // requests that the gateway has to answer
	fewer   int        // slots that no request may take, as they were too many
	owed    int        // of these, those that are to be taken from requests
	changed time.Time  // when fewer was changed
}

var errConversationOver = errors.New("conversation is over")

func (r *requests) Want(_ context.Context, cids ...cid.Cid) error {
	if err := context.Cause(r.ctx); err != nil {
		return err
	}
	for _, c := range cids {
		ctx, cancel := context.WithCancel(r.ctx)
		r.mu.Lock()
		r.open[key(c)] = cancel
		r.mu.Unlock()
		r.group.Go(func() {
			defer cancel()
			r.request(ctx, c)
		})
	}
	return nil
}

func (r *requests) request(ctx context.Context, c cid.Cid) {
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer r.free() // not before the block was taken: it's held until then
	var b block.Block
	var err error
	busy := r.send()
	if busy == nil {
		b, err = r.client.Block(ctx, c)
		busy = busyOf(err)
		r.answered(err == nil, busy)
	}
	r.mu.Lock()
	delete(r.open, key(c))
	r.mu.Unlock()
	if err != nil && busy == nil && !errors.Is(err, block.ErrNotFound) {
		if ctx.Err() == nil {
			if errors.Is(err, block.ErrHashMismatch) {
				err = fmt.Errorf("%w: %w", ErrLied, err)
			}
			r.stop(err)
		}
		return
	}
	select {
	case r.replies <- Reply{CID: c, Block: b, Has: err == nil && busy == nil, Busy: busy}:
	case <-ctx.Done():
	}
}

// send notes that a request is sent, or returns what the gateway said, as long as
// it isn't to be asked.
func (r *requests) send() *BusyError {
	r.mu.Lock()
	defer r.mu.Unlock()
	if left := time.Until(r.until); left > 0 {
		return &BusyError{left, r.busy.Err}
	}
	r.sent++
	return nil
}

// answered notes what came of a request. As many as weren't refused, but one at
// least, may be sent at a time from then on.
func (r *requests) answered(came bool, busy *BusyError) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent--
	now := time.Now()
	if busy != nil {
		r.busy, r.until, r.changed = busy, now.Add(max(busy.Wait, minPause)), now
		if fewer := maxRequests - max(r.sent, 1); fewer > r.fewer {
			r.owed += fewer - r.fewer
			r.fewer = fewer
		}
		for r.owed > 0 && r.tryTake() {
			r.owed--
		}
		return
	}
	if !came || r.fewer == 0 || now.Sub(r.changed) < moreAfter {
		return
	}
	more := min(r.fewer, maxRequests-r.fewer)
	r.fewer -= more
	r.changed = now
	for range more {
		r.freeLocked()
	}
}

// tryTake takes a slot if there's one.
func (r *requests) tryTake() bool {
	select {
	case r.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

// free gives a slot back.
func (r *requests) free() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.freeLocked()
}

// freeLocked is free with mu held.
func (r *requests) freeLocked() {
	if r.owed > 0 {
		r.owed--
		return
	}
	<-r.slots
}

// Has gets the block: it's wanted anyway.
func (r *requests) Has(ctx context.Context, c cid.Cid) error { return r.Want(ctx, c) }

func (r *requests) Cancel(cids ...cid.Cid) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range cids {
		if cancel := r.open[key(c)]; cancel != nil {
			cancel()
			delete(r.open, key(c))
		}
	}
}

func (r *requests) Next(ctx context.Context) (Reply, error) {
	select {
	case reply := <-r.replies:
		return reply, nil
	case <-r.ctx.Done():
		return Reply{}, context.Cause(r.ctx)
	case <-ctx.Done():
		return Reply{}, ctx.Err()
	}
}

func (r *requests) Close() error {
	r.stop(errConversationOver)
	r.group.Wait()
	return nil
}
