package bitswap

import (
	"bufio"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/access"
)

const (
	// writeBuffer joins small writes to a stream, and is the piece of a
	// message for which StallTimeout holds.
	writeBuffer = 64 << 10

	// replaceHave is the size of a block in bytes up to which it is sent where
	// a HAVE was wanted, as boxo does: it costs less than another round trip.
	replaceHave = 1 << 10

	// patience is how long a peer waits for memory before the peer that has read
	// nothing, or sent nothing, for longest is dropped, if it has for as long; and
	// before the next one is.
	patience = time.Second

	// maxLooks is how many wants are looked up in one turn, so that those for
	// blocks that aren't here don't keep it: a few milliseconds of work.
	maxLooks = 2048

	// readers is how many blocks of a message are read at once.
	readers = 4
)

// serve starts answering unless that is going on. The lock is held.
func (a *asker) serve() {
	if a.queue.front == nil {
		return
	}
	if a.serving {
		signal(a.wake)
		return
	}
	a.serving = a.r.b.run(a.run)
}

// run answers what the peer wants until there is nothing for a while: it puts
// a message together while the one before is sent.
func (a *asker) run() {
	b := a.r.b
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	ready := make(chan *answer)
	var sending sync.WaitGroup
	sending.Go(func() {
		a.send(ctx, ready)
		cancel() // nobody takes what is ready any more
	})
	idle := time.NewTimer(b.config.IdleTimeout)
	defer idle.Stop()
	ended := false
	for !ended && ctx.Err() == nil {
		if answer := a.prepare(ctx); answer != nil {
			select {
			case ready <- answer:
			case <-ctx.Done():
				answer.release(a.r)
			}
			continue
		}
		idle.Reset(b.config.IdleTimeout)
		select {
		case <-a.wake:
			continue
		case <-ctx.Done():
		case <-idle.C:
		}
		a.mu.Lock()
		if ctx.Err() == nil && a.queue.front == nil {
			a.serving, ended = false, true
		}
		a.mu.Unlock()
	}
	close(ready)
	sending.Wait()
	if ended {
		return // and another may have begun
	}
	// After a failure there may be new wants, on a new connection.
	a.mu.Lock()
	a.serving = false
	a.serve()
	a.mu.Unlock()
}

// prepare answers as many wants as fit into a message, when it is the peer's
// turn. It returns nil if there are none.
func (a *asker) prepare(ctx context.Context) (ready *answer) {
	b := a.r.b
	l := a.next()
	if l == nil {
		return nil
	}
	share, err := a.r.sending.acquire(ctx, a.share)
	if err != nil {
		a.back(l)
		return nil
	}
	ans := &answer{share: share}
	defer func() {
		if ready == nil {
			ans.release(a.r)
		}
	}()
	turn, err := b.turns.acquire(ctx, 1)
	if err != nil {
		a.back(l)
		return nil
	}
	defer b.turns.release(turn)

	var blocks []foundBlock
	size := 0
	limit := b.config.MessageSize
	for looked := 0; l != nil; l, looked = a.next(), looked+1 {
		if ctx.Err() != nil || looked == maxLooks {
			a.back(l)
			break
		}
		kind, sendDontHave, wanted := a.look(l)
		if !wanted {
			continue
		}
		// What arrives from here on is either found, or makes this change.
		arrived := b.arrived.Load()
		n, read, err := block.Internal(access.Key{}).Find(ctx, b.blocks, l.cid)
		asBlock := err == nil && (kind == WantBlock || n <= replaceHave)
		switch {
		case asBlock:
			n += maxPayloadOverhead
		case err == nil || sendDontHave:
			n = maxPresence
		default:
			n = 0
		}
		if size+n > limit && size > 0 {
			a.back(l)
			break
		}
		if err != nil {
			a.missing(ctx, l, err, arrived)
			if sendDontHave {
				ans.dontHaves = append(ans.dontHaves, l.cid)
				size += n
			}
		} else if asBlock {
			blocks = append(blocks, foundBlock{l, read})
			size += n
		} else if a.answered(l) {
			ans.haves = append(ans.haves, l.cid)
			size += n
		}
		if size >= limit {
			break
		}
	}
	if len(blocks) > 0 && size > a.share && a.share < maxPeerAnswers {
		// A large block alone, which has to wait until the last message is sent, but
		// not in its turn.
		a.share = size
		for _, f := range blocks {
			a.back(f.line)
		}
		signal(a.wake)
		return nil
	}
	a.share = max(size, limit+maxPayloadOverhead)
	// Peers that don't read what they asked for must not keep the memory.
	ans.held, err = b.memoryOut.insist(ctx, size, b.dropSlowest)
	if err != nil {
		for _, f := range blocks {
			a.back(f.line)
		}
		return nil
	}
	a.fill(ctx, ans, blocks)
	if ans.empty() {
		// Nothing to say, but there may be more to look at.
		signal(a.wake)
		return nil
	}
	return ans
}

// missing parks a want for a block that isn't here. If it arrived meanwhile,
// it is asked for once more.
func (a *asker) missing(ctx context.Context, l *line, err error, arrived int64) {
	if !errors.Is(err, block.ErrNotFound) && ctx.Err() == nil {
		a.r.b.log.Warn("bitswap: a block wanted by a peer can't be read", "peer", a.r.id, "cid", l.cid, "error", err)
	}
	a.park(l)
	if a.r.b.arrived.Load() == arrived {
		return
	}
	if has, err := a.r.b.blocks.Has(ctx, l.cid); has && err == nil {
		a.unpark(l)
	}
}

// A foundBlock is a block that was found for a line, and can be read.
type foundBlock struct {
	*line
	read func(context.Context) (block.Block, error)
}

// fill reads the blocks of a message, several at once.
func (a *asker) fill(ctx context.Context, ans *answer, found []foundBlock) {
	blocks := make([]block.Block, len(found))
	errs := make([]error, len(found))
	get := func(i int) {
		if a.answered(found[i].line) {
			blocks[i], errs[i] = found[i].read(ctx)
		}
	}
	if len(found) < 2 {
		for i := range found {
			get(i)
		}
	} else {
		var next atomic.Int64
		var reading sync.WaitGroup
		for range min(readers, len(found)) {
			reading.Go(func() {
				for i := int(next.Add(1)) - 1; i < len(found); i = int(next.Add(1)) - 1 {
					get(i)
				}
			})
		}
		reading.Wait()
	}
	for i, b := range blocks {
		switch {
		case errs[i] != nil:
			if !errors.Is(errs[i], block.ErrNotFound) && ctx.Err() == nil {
				a.r.b.log.Warn("bitswap: a block wanted by a peer can't be read", "peer", a.r.id, "cid", found[i].cid, "error", errs[i])
			}
			if _, sendDontHave, _ := a.look(found[i].line); sendDontHave {
				ans.dontHaves = append(ans.dontHaves, found[i].cid)
			}
		case b.CID().Defined():
			ans.blocks = append(ans.blocks, b)
			ans.bytes += b.Size()
		}
	}
}

// send sends messages until there are no more, or the peer doesn't read them:
// then all that it wants is forgotten.
func (a *asker) send(ctx context.Context, ready <-chan *answer) {
	r := a.r
	var out *outbound
	defer func() {
		if out != nil {
			out.close()
		}
	}()
	for {
		var ans *answer
		select {
		case ans = <-ready:
		case <-ctx.Done():
		}
		if ans == nil {
			return
		}
		var err error
		for range 2 { // the peer may have reset the stream when it was idle
			if out != nil && out.isBroken() {
				out.reset()
				out = nil
			}
			if out == nil {
				if out, err = r.open(ctx, false); err != nil {
					out = nil
					break
				}
			}
			if err = a.write(out, ans); err == nil {
				break
			}
			out.reset()
			out = nil
			if !isReset(err) {
				break
			}
		}
		ans.release(r)
		if err != nil {
			r.b.log.Debug("bitswap: peer doesn't take what it asked for", "peer", r.id, "error", err)
			a.drop()
			return
		}
		a.earn(len(ans.blocks) + len(ans.haves))
		r.count(func(c *counters) *atomic.Int64 { return &c.blocksOut }, int64(len(ans.blocks)))
		r.count(func(c *counters) *atomic.Int64 { return &c.bytesOut }, int64(ans.bytes))
	}
}

// dropSlowest drops the peer that a piece of a message has been under way to for
// longest.
func (b *Bitswap) dropSlowest() {
	var slowest *outbound
	since := time.Now().Add(-patience).UnixNano()
	for _, r := range b.snapshot() {
		if out := r.ask.writing.Load(); out != nil {
			if t := out.since.Load(); t != 0 && t < since {
				slowest, since = out, t
			}
		}
	}
	if slowest != nil {
		slowest.drop()
	}
}

func (a *asker) write(out *outbound, ans *answer) error {
	w := a.r.b.writers.Get().(*bufio.Writer)
	w.Reset(out)
	a.writing.Store(out)
	defer func() {
		a.writing.Store(nil)
		w.Reset(nil)
		a.r.b.writers.Put(w)
	}()
	if err := ans.writeTo(w, out.s.Protocol()); err != nil {
		return err
	}
	return w.Flush()
}

// release gives back what an answer to r held.
func (a *answer) release(r *remote) {
	r.sending.release(a.share)
	r.b.memoryOut.release(a.held)
	a.share, a.held = 0, 0
}
