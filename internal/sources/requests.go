package sources

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/exchange"
	"github.com/cairn-ipfs/cairn/internal/trustless"
	"github.com/ipfs/go-cid"
)

const (
	// maxRequests is how many requests a gateway gets at a time.
	maxRequests = 32
	// growAfter is how long after its last change the number of requests to a
	// gateway that was busy doubles: long compared with the pauses that it costs
	// if they are too many again.
	growAfter = 30 * time.Second
)

// Open implements exchange.Answerer: each block is a request.
func (g *gateway) Open(ctx context.Context) (exchange.Conversation, error) {
	c := &requests{client: g.client, replies: make(chan exchange.Reply), slots: make(chan struct{}, maxRequests), open: map[string]context.CancelFunc{}}
	c.ctx, c.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	return c, nil
}

// requests is a conversation in which each block is a request of its own.
type requests struct {
	client  *trustless.Client
	ctx     context.Context // of all requests
	stop    context.CancelCauseFunc
	replies chan exchange.Reply
	slots   chan struct{} // one element for each slot that is taken
	group   sync.WaitGroup

	mu      sync.Mutex // guards the following
	open    map[string]context.CancelFunc
	busy    *exchange.BusyError // the gateway's last one
	until   time.Time           // the end of the pause that it asked for
	sent    int                 // requests without an answer
	closed  int                 // slots closed to requests, as the gateway was busy
	owed    int                 // of the closed ones, those that requests still hold
	changed time.Time           // when closed last changed
}

var errConversationOver = errors.New("conversation is closed")

func (r *requests) Want(_ context.Context, cids ...cid.Cid) error {
	if err := context.Cause(r.ctx); err != nil {
		return err
	}
	for _, c := range cids {
		ctx, cancel := context.WithCancel(r.ctx)
		r.mu.Lock()
		r.open[block.V1(c).KeyString()] = cancel
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
	defer r.free() // after the session has taken the block, which bounds memory
	var b block.Block
	var err error
	busy := r.send()
	if busy == nil {
		b, err = r.client.Block(ctx, c)
		busy = busyOf(err)
		r.answered(err == nil, busy)
	}
	r.mu.Lock()
	delete(r.open, block.V1(c).KeyString())
	r.mu.Unlock()
	if err != nil && busy == nil && !errors.Is(err, block.ErrNotFound) {
		if ctx.Err() == nil {
			if errors.Is(err, block.ErrHashMismatch) {
				err = fmt.Errorf("%w: %w", exchange.ErrMisbehaved, err)
			}
			r.stop(err)
		}
		return
	}
	select {
	case r.replies <- exchange.Reply{CID: c, Block: b, Has: err == nil && busy == nil, Busy: busy}:
	case <-ctx.Done():
	}
}

// send counts a request, or returns a BusyError during a pause.
func (r *requests) send() *exchange.BusyError {
	r.mu.Lock()
	defer r.mu.Unlock()
	if left := time.Until(r.until); left > 0 {
		return &exchange.BusyError{Wait: left, Err: r.busy.Err}
	}
	r.sent++
	return nil
}

// answered records the outcome of a request. When the gateway was busy, as many
// requests as it didn't refuse may be sent at a time from then on, but at least
// one.
func (r *requests) answered(ok bool, busy *exchange.BusyError) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent--
	now := time.Now()
	if busy != nil {
		r.busy, r.until, r.changed = busy, now.Add(max(busy.Wait, exchange.MinPause)), now
		if closed := maxRequests - max(r.sent, 1); closed > r.closed {
			r.owed += closed - r.closed
			r.closed = closed
		}
		for r.owed > 0 && r.tryTake() {
			r.owed--
		}
		return
	}
	if !ok || r.closed == 0 || now.Sub(r.changed) < growAfter {
		return
	}
	opened := min(r.closed, maxRequests-r.closed)
	r.closed -= opened
	r.changed = now
	for range opened {
		r.freeLocked()
	}
}

// tryTake takes a slot if one is free.
func (r *requests) tryTake() bool {
	select {
	case r.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

// free frees a slot, or closes it if one is owed.
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

// Has gets the block: the session wants it anyway.
func (r *requests) Has(ctx context.Context, c cid.Cid) error { return r.Want(ctx, c) }

func (r *requests) Cancel(cids ...cid.Cid) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range cids {
		if cancel := r.open[block.V1(c).KeyString()]; cancel != nil {
			cancel()
			delete(r.open, block.V1(c).KeyString())
		}
	}
}

func (r *requests) Next(ctx context.Context) (exchange.Reply, error) {
	select {
	case reply := <-r.replies:
		return reply, nil
	case <-r.ctx.Done():
		return exchange.Reply{}, context.Cause(r.ctx)
	case <-ctx.Done():
		return exchange.Reply{}, ctx.Err()
	}
}

func (r *requests) Close() error {
	r.stop(errConversationOver)
	r.group.Wait()
	return nil
}
