package exchange

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// maxAsk is how many blocks one Want asks for.
const maxAsk = 256

// converse asks the source for single blocks, until there's nothing to ask for, or
// something to stream. It's called with mu held, and unlocks it meanwhile.
func (w *worker) converse(ctx context.Context) {
	s := w.s
	s.mu.Unlock()
	err := w.runConversation(ctx)
	s.mu.Lock()
	w.requeueAsked()
	w.cancels = nil
	var busy *BusyError
	switch {
	case s.over || w.gone || err == nil:
	case errors.As(err, &busy):
		w.pause(busy)
	case errors.Is(err, ErrMisbehaved), errors.Is(err, block.ErrNotFound):
		w.dropSource(err)
	default:
		w.fail(err)
	}
}

// runConversation holds one conversation.
func (w *worker) runConversation(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conv, err := w.src.(Answerer).Open(ctx)
	if err != nil {
		return err
	}
	if !w.known {
		if err := w.probe(ctx, conv); err != nil {
			conv.Close()
			return err
		}
	}
	listened := make(chan error, 1)
	go func() {
		err := w.listen(ctx, conv)
		if ctx.Err() != nil && !errors.Is(err, ErrMisbehaved) {
			err = nil // the conversation was cancelled, whatever it calls that
		}
		cancel() // no answer will come
		w.s.mu.Lock()
		w.s.changed.Broadcast()
		w.s.mu.Unlock()
		listened <- err
	}()
	err = w.ask(ctx, conv)
	cancel()
	conv.Close()
	if lerr := <-listened; err == nil {
		err = lerr
	}
	return err
}

// probe asks whether the source has the root: without it the source is asked for
// nothing else. Some sources send the root itself, so watchStalls watches a probe.
func (w *worker) probe(ctx context.Context, conv Conversation) error {
	w.setProbing(true)
	defer w.setProbing(false)
	if err := conv.Has(ctx, w.s.root); err != nil {
		return err
	}
	for {
		r, err := conv.Next(ctx)
		if err != nil {
			return fmt.Errorf("ask for the root: %w", err)
		}
		if !block.Equal(r.CID, w.s.root) {
			continue
		}
		if r.Busy != nil {
			return r.Busy
		}
		if r.Block.CID().Defined() {
			w.accept(r.Block)
		}
		if !r.Has {
			return fmt.Errorf("the root: %w", block.ErrNotFound)
		}
		w.s.mu.Lock()
		w.known = true
		w.s.mu.Unlock()
		return nil
	}
}

// setProbing records that a probe begins or ends.
func (w *worker) setProbing(on bool) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.probing, w.lastCame = on, time.Now()
}

// ask asks for blocks until there's nothing to ask for, and then returns nil.
func (w *worker) ask(ctx context.Context, conv Conversation) error {
	s := w.s
	for {
		s.mu.Lock()
		var wants, cancels []cid.Cid
		for {
			if s.over || w.gone || ctx.Err() != nil || w.asked == 0 && !w.paused() && s.walks == 0 && (s.streamTarget(w) != nil || s.next(w) == nil) {
				s.mu.Unlock()
				return nil
			}
			wants = s.take(w)
			cancels, w.cancels = w.cancels, nil
			if len(wants)+len(cancels) > 0 {
				break
			}
			s.changed.Wait()
		}
		s.mu.Unlock()
		if len(cancels) > 0 {
			conv.Cancel(cancels...)
		}
		if len(wants) > 0 {
			if err := conv.Want(ctx, wants...); err != nil {
				return err
			}
		}
	}
}

// listen takes the source's replies.
func (w *worker) listen(ctx context.Context, conv Conversation) error {
	s := w.s
	for {
		r, err := conv.Next(ctx)
		if err != nil {
			return err
		}
		if !r.Block.CID().Defined() {
			w.receivePresence(r)
			continue
		}
		v := w.accept(r.Block)
		s.mu.Lock()
		err = w.checkUnwanted(v, r.Block.Size())
		if w.asked <= w.windowSize()/2 {
			s.changed.Broadcast()
		}
		over := s.over || w.gone
		s.mu.Unlock()
		if over || err != nil {
			return err
		}
	}
}

// receivePresence takes a reply without a block.
func (w *worker) receivePresence(r Reply) {
	s := w.s
	s.mu.Lock()
	defer s.mu.Unlock()
	w.lastCame = time.Now()
	if r.Busy != nil {
		w.pause(r.Busy)
	}
	t := s.f.wants[key(r.CID)]
	if r.Has || t == nil || !t.askedOf(w) {
		return
	}
	t.removeAsk(w)
	w.asked--
	if r.Busy == nil {
		t.lacking = append(t.lacking, w)
	}
	s.f.requeue(t, true)
	s.changed.Broadcast()
}

// answered records that a block came that the source was asked for, from this
// source or from another. It's called with mu held.
func (w *worker) answered(t *want, q question, byIt bool) {
	w.asked--
	if !byIt {
		if !w.streaming {
			w.cancels = append(w.cancels, t.cid)
		}
		return
	}
	if !w.streaming {
		w.latency.add(time.Since(q.at).Seconds())
		w.window = min(w.window+1, maxWindow)
	}
}

// windowSize is how many blocks the source may be asked for at a time.
func (w *worker) windowSize() int {
	size := int64(256 << 10)
	if w.blocks > 0 {
		size = max(w.bytes/w.blocks, 1)
	}
	ahead := 2 * w.s.rate.now(time.Now()) * w.latency.value
	bytes := min(max(int64(ahead), minAhead), maxAhead)
	answers := max(maxAnswers*(answerSize+size/2)/size, maxAnswers)
	return max(min(w.window, int(min(bytes/size, answers))), 2)
}

// take takes wants from the frontier for a source, until its window is full. It's
// called with mu held.
func (s *session) take(w *worker) []cid.Cid {
	room := w.windowSize()
	if w.paused() || w.asked > room/2 && w.asked > 0 {
		return nil // more at once, later
	}
	var cids []cid.Cid
	now := time.Now()
	for w.asked < room && len(cids) < maxAsk {
		t := s.next(w)
		if t == nil {
			break
		}
		s.f.unqueue(t)
		if w.asked == 0 {
			w.lastCame = now // it owed nothing before
		}
		t.asked = append(t.asked, question{w, now})
		w.asked++
		cids = append(cids, t.cid)
	}
	return cids
}

// next returns the next want for a source: from the queues, blocks with links
// first, or else one whose answer is late from another source. It's called with mu
// held.
func (s *session) next(w *worker) *want {
	front := s.streams == 0
	for _, q := range []*queue{&s.f.links, &s.f.leaves} {
		if t := q.first(w, front); t != nil {
			return t
		}
	}
	if s.f.queued() > 0 || w.asked > 0 {
		return nil
	}
	passed := 0
	for _, t := range s.f.wants {
		if passed++; passed > maxPassed {
			break
		}
		if len(t.asked) == 1 && !t.askedOf(w) && !t.lackedBy(w) && t.asked[0].late() {
			return t
		}
	}
	return nil
}

// late reports whether the answer takes long.
func (q question) late() bool {
	usual := time.Duration(q.worker.latency.value * lateFactor * float64(time.Second))
	return !q.worker.streaming && time.Since(q.at) > max(minLate, usual)
}

// average is a moving average.
type average struct {
	value float64
	any   bool
}

func (a *average) add(v float64) {
	if !a.any {
		a.value, a.any = v, true
		return
	}
	a.value += (v - a.value) / 8
}
