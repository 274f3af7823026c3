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

// A sender sends the wants of a peer's conversations, while there are any.
type sender struct {
	r      *remote
	signal chan struct{}
	lost   chan struct{} // the last connection is gone
	up     chan struct{} // closed once a stream was open
	torn   atomic.Bool   // a stream of the peer broke, and answers may be lost
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

// leave removes a conversation and its wants.
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

// disconnected has the sender react to the loss of the last connection.
func (r *remote) disconnected() {
	r.mu.Lock()
	s := r.sender
	r.err = nil // a new connection is a new start
	r.mu.Unlock()
	if s != nil {
		signal(s.lost)
	}
}

// streamBroke has the sender ask again: answers may be lost with the stream.
func (r *remote) streamBroke() {
	r.mu.Lock()
	s := r.sender
	r.mu.Unlock()
	if s != nil {
		s.torn.Store(true)
		s.wake()
	}
}

// run sends wants until the last conversation has ended. It fails them if the
// peer can't be reached.
func (s *sender) run() {
	r := s.r
	var out *outbound
	full, failures, reads := true, 0, r.reads.Load()
	// again has all wants sent again, on a new stream.
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
		if now := r.reads.Load(); now != reads {
			reads, failures = now, 0
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
			case <-s.lost: // opening the stream shows it
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
		before := r.reads.Load()
		switch s.wait(&out, patience) {
		case lost:
			again()
			// Conversations that wait must fail if the peer can't be reached.
			probe = true
		case silent:
			patience *= 2
			full = true
			r.resend(s)
		case woken:
			if r.reads.Load() != before {
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
	woken  event = iota // there may be something to send, or to react to
	lost                // the last connection is gone
	silent              // the peer owes answers and has sent nothing
)

// wait waits for the next event. It closes a stream that is idle.
func (s *sender) wait(out **outbound, patience time.Duration) event {
	var broken <-chan struct{}
	if *out != nil {
		broken = (*out).broken
	}
	reads := s.r.reads.Load()
	idle := time.NewTimer(s.r.b.config.IdleTimeout)
	defer idle.Stop()
	reask := time.NewTimer(patience)
	defer reask.Stop()
	for {
		select {
		case <-s.signal:
			return woken
		case <-broken:
			return woken
		case <-s.lost:
			return lost
		case <-s.r.b.ctx.Done():
			return woken
		case <-idle.C:
			if *out != nil {
				(*out).close()
				*out, broken = nil, nil
			}
		case <-reask.C:
			if now := s.r.reads.Load(); now != reads {
				reads = now
				reask.Reset(patience)
			} else if s.r.owes() {
				return silent
			}
		}
	}
}

// owes reports whether wants are unanswered.
func (r *remote) owes() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.outstanding > 0
}

// work reports whether there is something to send, and whether the sender has
// ended.
func (r *remote) work(s *sender) (work, ended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sender != s || r.b.ctx.Err() != nil {
		return false, true
	}
	work = len(r.cancels) > 0 || r.queue.Len() > 0 && (r.queue[0].counted || r.outstanding < r.b.config.MaxOutstanding)
	if !work && len(r.talks) == 0 {
		r.sender = nil
		r.b.host.ConnManager().Unprotect(r.id, protectTag)
		return false, true
	}
	return work, false
}

// message returns the next message. Cancels go before new wants, in a message of
// their own: boxo's server takes a message's wants first, and would have too many.
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
	for r.queue.Len() > 0 {
		w := r.queue[0]
		if !w.counted {
			if r.outstanding >= r.b.config.MaxOutstanding {
				break
			}
			w.counted = true
			r.outstanding++
		}
		heap.Pop(&r.queue)
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

// resend queues all wants again: the peer may not have read them, or forgot them
// with the connection.
func (r *remote) resend(s *sender) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sender != s {
		return
	}
	r.outstanding = 0
	clear(r.cancels) // the full list cancels them
	for _, w := range r.wants {
		w.counted = false
		if w.index < 0 {
			heap.Push(&r.queue, w)
		}
	}
}

// failOf is fail, unless the remote has another sender by now.
func (r *remote) failOf(s *sender, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sender == s {
		r.failLocked(err)
	}
}
