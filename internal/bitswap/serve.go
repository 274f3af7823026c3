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

	// replaceHave is the size of a block in bytes up to which it is sent in place
	// of a HAVE, as boxo does: that costs less than another round trip.
	replaceHave = 1 << 10

	// maxLookups bounds the wants that are looked up in one turn, which takes a
	// few milliseconds even if their blocks aren't here.
	maxLookups = 2048

	// readers is how many blocks of a message are read at once.
	readers = 4
)

// serve starts run unless it runs. The lock is held.
func (s *server) serve() {
	if s.queue.front == nil {
		return
	}
	if s.serving {
		signal(s.wake)
		return
	}
	s.serving = s.r.b.run(s.run)
}

// run answers the peer's wants until there are none for IdleTimeout. It puts a
// message together while the one before is sent.
func (s *server) run() {
	b := s.r.b
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	ready := make(chan *answer)
	var sending sync.WaitGroup
	sending.Go(func() {
		s.send(ctx, ready)
		cancel() // ready has no receiver any more
	})
	idle := time.NewTimer(b.config.IdleTimeout)
	defer idle.Stop()
	ended := false
	for !ended && ctx.Err() == nil {
		if answer := s.prepare(ctx); answer != nil {
			select {
			case ready <- answer:
			case <-ctx.Done():
				answer.release(s.r)
			}
			continue
		}
		idle.Reset(b.config.IdleTimeout)
		select {
		case <-s.wake:
			continue
		case <-ctx.Done():
		case <-idle.C:
		}
		s.mu.Lock()
		if ctx.Err() == nil && s.queue.front == nil {
			s.serving, ended = false, true
		}
		s.mu.Unlock()
	}
	close(ready)
	sending.Wait()
	if ended {
		return // and another run may have begun
	}
	// After a failure there may be new wants, on a new connection.
	s.mu.Lock()
	s.serving = false
	s.serve()
	s.mu.Unlock()
}

// prepare puts together a message of as many answers as fit, when it is the
// peer's turn. It returns nil if there is nothing to send.
func (s *server) prepare(ctx context.Context) (ready *answer) {
	b := s.r.b
	l := s.next()
	if l == nil {
		return nil
	}
	share, err := s.r.sending.acquire(ctx, s.share)
	if err != nil {
		s.putBack(l)
		return nil
	}
	ans := &answer{share: share}
	defer func() {
		if ready == nil {
			ans.release(s.r)
		}
	}()
	turn, err := b.turns.acquire(ctx, 1)
	if err != nil {
		s.putBack(l)
		return nil
	}
	defer b.turns.release(turn)

	var blocks []foundBlock
	size := 0
	limit := b.config.MessageSize
	for lookups := 0; l != nil; l, lookups = s.next(), lookups+1 {
		if ctx.Err() != nil || lookups == maxLookups {
			s.putBack(l)
			break
		}
		kind, sendDontHave, wanted := s.state(l)
		if !wanted {
			continue
		}
		// A block that arrives from here on is found, or changes this count.
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
			s.putBack(l)
			break
		}
		if err != nil {
			s.missing(ctx, l, err, arrived)
			if sendDontHave {
				ans.dontHaves = append(ans.dontHaves, l.cid)
				size += n
			}
		} else if asBlock {
			blocks = append(blocks, foundBlock{l, read})
			size += n
		} else if s.finish(l) {
			ans.haves = append(ans.haves, l.cid)
			size += n
		}
		if size >= limit {
			break
		}
	}
	if len(blocks) > 0 && size > s.share && s.share < maxPeerAnswers {
		// A single large block. It waits until the last message is sent, but not
		// while it holds the turn.
		s.share = size
		for _, f := range blocks {
			s.putBack(f.line)
		}
		signal(s.wake)
		return nil
	}
	s.share = max(size, limit+maxPayloadOverhead)
	// Peers that don't read their answers must not keep the memory.
	ans.held, err = b.memoryOut.acquireEvicting(ctx, size, b.dropSlowest)
	if err != nil {
		for _, f := range blocks {
			s.putBack(f.line)
		}
		return nil
	}
	s.fill(ctx, ans, blocks)
	if ans.empty() {
		// There may be more wants to look up.
		signal(s.wake)
		return nil
	}
	return ans
}

// missing parks a want for a block that isn't here. A want whose block has arrived
// meanwhile is queued again.
func (s *server) missing(ctx context.Context, l *line, err error, arrived int64) {
	if !errors.Is(err, block.ErrNotFound) && ctx.Err() == nil {
		s.r.b.log.Warn("bitswap: reading a block that a peer wants", "peer", s.r.id, "cid", l.cid, "error", err)
	}
	s.park(l)
	if s.r.b.arrived.Load() == arrived {
		return
	}
	if has, err := s.r.b.blocks.Has(ctx, l.cid); has && err == nil {
		s.unpark(l)
	}
}

// A foundBlock is a block that was found for a line, and can be read.
type foundBlock struct {
	*line
	read func(context.Context) (block.Block, error)
}

// fill reads the blocks of a message, several at once.
func (s *server) fill(ctx context.Context, ans *answer, found []foundBlock) {
	blocks := make([]block.Block, len(found))
	errs := make([]error, len(found))
	get := func(i int) {
		if s.finish(found[i].line) {
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
				s.r.b.log.Warn("bitswap: reading a block that a peer wants", "peer", s.r.id, "cid", found[i].cid, "error", errs[i])
			}
			if _, sendDontHave, _ := s.state(found[i].line); sendDontHave {
				ans.dontHaves = append(ans.dontHaves, found[i].cid)
			}
		case b.CID().Defined():
			ans.blocks = append(ans.blocks, b)
		}
	}
}

// send sends messages until there are no more. If the peer doesn't read them, it
// forgets the want list.
func (s *server) send(ctx context.Context, ready <-chan *answer) {
	r := s.r
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
		for range 2 { // the peer may have reset an idle stream
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
			if err = s.write(out, ans); err == nil {
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
			r.b.log.Debug("bitswap: answering a peer", "peer", r.id, "error", err)
			s.clear()
			return
		}
		s.earn(len(ans.blocks) + len(ans.haves))
	}
}

// dropSlowest ends the write that has been waiting for its peer for longest.
func (b *Bitswap) dropSlowest() {
	var slowest *outbound
	since := time.Now().Add(-patience).UnixNano()
	for _, r := range b.snapshot() {
		if out := r.server.writing.Load(); out != nil {
			if t := out.since.Load(); t != 0 && t < since {
				slowest, since = out, t
			}
		}
	}
	if slowest != nil {
		slowest.drop()
	}
}

func (s *server) write(out *outbound, ans *answer) error {
	w := s.r.b.writers.Get().(*bufio.Writer)
	w.Reset(out)
	s.writing.Store(out)
	defer func() {
		s.writing.Store(nil)
		w.Reset(nil)
		s.r.b.writers.Put(w)
	}()
	if err := ans.writeTo(w, out.s.Protocol()); err != nil {
		return err
	}
	return w.Flush()
}

// release gives back the memory of an answer to r.
func (a *answer) release(r *remote) {
	r.sending.release(a.share)
	r.b.memoryOut.release(a.held)
	a.share, a.held = 0, 0
}
