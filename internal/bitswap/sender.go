package bitswap

import (
	"container/heap"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/protocol"
)

const (
	// maxFailures is how often the stream may break without a message from
	// the peer in between.
	maxFailures = 3

	// The range of priorities, which are the upper bits of what is sent; the
	// lower ones keep the order, as boxo mixes up a message's wants.
	minPriority, maxPriority = -16, 15
	orderBits                = 26

	// protectTag keeps connections that conversations use from being trimmed.
	protectTag = "bitswap"
)

// A sender tells the peer what is wanted of it, while there are conversations.
type sender struct {
	r      *remote
	signal chan struct{}
	lost   chan struct{} // the last connection is gone
	up     chan struct{} // closed once a stream was open
	torn   atomic.Bool   // a stream of the peer's broke, maybe with answers
}

func (s *sender) wake() { signal(s.signal) }

// join adds a conversation, and returns the sender.
func (r *remote) join(c *Conversation) (*sender, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return nil, r.err
	}
	if r.sender == nil {
		s := &sender{r: r, signal: make(chan struct{}, 1), lost: make(chan struct{}, 1), up: make(chan struct{})}
		if !r.b.run(s.run) {
			return nil, ErrClosed
		}
		r.sender = s
		r.b.host.ConnManager().Protect(r.id, protectTag)
	}
	r.talks[c] = struct{}{}
	return r.sender, nil
}

// leave removes a conversation and what it wants.
func (r *remote) leave(c *Conversation) {
	r.mu.Lock()
	for w := range c.wants {
		r.unask(w, func(a ask) bool { return a.talk == c })
	}
	delete(r.talks, c)
	s := r.sender
	r.mu.Unlock()
	if s != nil {
		s.wake()
	}
}

// lose tells the sender that the last connection is gone.
func (r *remote) lose() {
	r.mu.Lock()
	s := r.sender
	r.err = nil // a new connection is a new start
	r.mu.Unlock()
	if s != nil {
		signal(s.lost)
	}
}

// tear tells the sender that answers may have been lost.
func (r *remote) tear() {
	r.mu.Lock()
	s := r.sender
	r.mu.Unlock()
	if s != nil {
		s.torn.Store(true)
		s.wake()
	}
}

// run sends until the last conversation has ended. It ends them when the peer
// can't be reached.
func (s *sender) run() {
	r := s.r
	var out *outbound
	full, failures, heard := true, 0, r.heard.Load()
	// again makes all be sent again, on a new stream.
	again := func() {
		if out != nil {
			out.reset()
			out = nil
		}
		full = true
		r.resend(s)
	}
	broke := func() {
		s.torn.Store(false)
		again()
		if now := r.heard.Load(); now != heard {
			heard, failures = now, 0
		}
		if failures++; failures > maxFailures {
			r.failOf(s, fmt.Errorf("%w: it resets every stream", ErrGone))
		}
	}
	up, patience := false, r.b.config.ReaskTimeout
	for probe := true; ; {
		if out != nil && out.isBroken() || s.torn.Load() {
			broke()
		}
		work, ended := r.work(s)
		if ended {
			break
		}
		if out == nil && (work || probe) {
			select {
			case <-s.lost: // it will be found out now
			default:
			}
			var err error
			if out, err = r.open(r.b.ctx, true); err != nil {
				if r.b.ctx.Err() != nil {
					err = ErrClosed
				}
				r.failOf(s, err)
				break
			}
			probe = false
			if !up {
				close(s.up)
				up = true
			}
		}
		if work {
			if _, err := out.Write(r.message(s, full, out.s.Protocol())); err != nil {
				broke()
				continue
			}
			full = false
			continue
		}
		before := r.heard.Load()
		switch s.wait(&out, patience) {
		case lost:
			again()
			// Those who wait want to know whether the peer can be reached.
			probe = true
		case silent:
			patience *= 2
			full = true
			r.resend(s)
		case news:
			if r.heard.Load() != before {
				patience = r.b.config.ReaskTimeout
			}
		}
	}
	if out != nil {
		out.close()
	}
}

// An event is what a sender waited for.
type event int

const (
	news   event = iota // something to look at
	lost                // the last connection is gone
	silent              // the peer owes answers and has sent nothing
)

// wait waits for something to do; a stream that isn't used is closed.
func (s *sender) wait(out **outbound, patience time.Duration) event {
	var broken <-chan struct{}
	if *out != nil {
		broken = (*out).broken
	}
	heard := s.r.heard.Load()
	idle := time.NewTimer(s.r.b.config.IdleTimeout)
	defer idle.Stop()
	reask := time.NewTimer(patience)
	defer reask.Stop()
	for {
		select {
		case <-s.signal:
			return news
		case <-broken:
			return news
		case <-s.lost:
			return lost
		case <-s.r.b.ctx.Done():
			return news
		case <-idle.C:
			if *out != nil {
				(*out).close()
				*out, broken = nil, nil
			}
		case <-reask.C:
			if now := s.r.heard.Load(); now != heard {
				heard = now
				reask.Reset(patience)
			} else if s.r.owes() {
				return silent
			}
		}
	}
}

// owes tells whether the peer has not answered everything.
func (r *remote) owes() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.outstanding > 0
}

// work tells whether there is something to send, and whether the sender is to
// end, which it has then.
func (r *remote) work(s *sender) (work, ended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sender != s || r.b.ctx.Err() != nil {
		return false, true
	}
	work = len(r.cancels) > 0 || r.held.Len() > 0 && (r.held[0].counted || r.outstanding < r.b.config.MaxOutstanding)
	if !work && len(r.talks) == 0 {
		r.sender = nil
		r.b.host.ConnManager().Unprotect(r.id, protectTag)
		return false, true
	}
	return work, false
}

// message takes what is to be sent next. Cancels go before new wants, in a
// message of their own: boxo's server looks at a message's wants first, and
// would have too many.
func (r *remote) message(s *sender, full bool, version protocol.ID) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sender != s {
		return nil
	}
	var entries []entry
	if len(r.cancels) > 0 {
		if !full {
			for _, c := range r.cancels {
				entries = append(entries, entry{cid: c, cancel: true})
			}
		}
		r.outstanding -= len(r.cancels)
		clear(r.cancels)
		if !full {
			return appendWants(nil, entries, false)
		}
	}
	for r.held.Len() > 0 {
		w := r.held[0]
		if !w.counted {
			if r.outstanding >= r.b.config.MaxOutstanding {
				break
			}
			w.counted = true
			r.outstanding++
		}
		heap.Pop(&r.held)
		w.sent++
		e := entry{
			cid:      w.cid,
			kind:     w.kind,
			priority: int32(w.priority-minPriority)<<orderBits | int32(1<<orderBits-1-w.seq%(1<<orderBits)),
		}
		if hasPresences(version) {
			e.sendDontHave = w.sendDontHave
		} else {
			e.kind = WantBlock
		}
		entries = append(entries, e)
	}
	return appendWants(nil, entries, full)
}

// resend makes all that was sent to be sent again: the peer may not have read
// it, or has forgotten it with the connection.
func (r *remote) resend(s *sender) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sender != s {
		return
	}
	r.outstanding = 0
	clear(r.cancels) // what isn't in the full list is cancelled with it
	for _, w := range r.wants {
		w.counted = false
		if w.index < 0 {
			heap.Push(&r.held, w)
		}
	}
}

// failOf fails the remote unless it has got another sender since.
func (r *remote) failOf(s *sender, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sender == s {
		r.failLocked(err)
	}
}
