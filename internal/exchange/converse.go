package exchange

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// maxAsk bounds how many blocks are asked for at once.
const maxAsk = 256

// converse asks the source for single blocks, until there's nothing to ask it
// for, or something to stream. It's called with mu held, and lets go of it
// while it waits.
func (w *worker) converse(ctx context.Context) {
	s := w.s
	s.mu.Unlock()
	err := w.talk(ctx)
	s.mu.Lock()
	w.takeBack()
	w.cancels = nil
	var busy *BusyError
	switch {
	case s.over || w.gone || err == nil:
	case errors.As(err, &busy):
		w.rest(busy)
	case errors.Is(err, ErrLied), errors.Is(err, block.ErrNotFound):
		w.leave(err)
	default:
		w.fail(err)
	}
}

// talk holds one conversation.
func (w *worker) talk(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conv, err := w.src.(Asker).Open(ctx)
	if err != nil {
		return err
	}
	if !w.known {
		if err := w.probe(ctx, conv); err != nil {
			conv.Close()
			return err
		}
	}
	heard := make(chan error, 1)
	go func() {
		err := w.listen(ctx, conv)
		if ctx.Err() != nil && !errors.Is(err, ErrLied) {
			err = nil // it was told to stop, whatever it takes that for
		}
		cancel() // there's no use in asking then
		w.s.mu.Lock()
		w.s.changed.Broadcast()
		w.s.mu.Unlock()
		heard <- err
	}()
	err = w.ask(ctx, conv)
	cancel()
	conv.Close()
	if herr := <-heard; err == nil {
		err = herr
	}
	return err
}

// probe asks the source whether it has the root, which says whether it's worth
// it to ask for more. Some send the root itself, so watchStalls watches it.
func (w *worker) probe(ctx context.Context, conv Conversation) error {
	w.setProbing(true)
	defer w.setProbing(false)
	if err := conv.Has(ctx, w.s.root); err != nil {
		return err
	}
	for {
		r, err := conv.Next(ctx)
		if err != nil {
			return fmt.Errorf("whether it has the root: %w", err)
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

// setProbing notes that a probe begins or ends.
func (w *worker) setProbing(on bool) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.probing, w.lastCame = on, time.Now()
}

// ask keeps asking. It returns nil when there's nothing more to ask.
func (w *worker) ask(ctx context.Context, conv Conversation) error {
	s := w.s
	for {
		s.mu.Lock()
		var wants, cancels []cid.Cid
		for {
			if s.over || w.gone || ctx.Err() != nil || w.asked == 0 && !w.resting() && s.looking == 0 && (s.streamTarget(w) != nil || s.next(w) == nil) {
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

// listen takes in what the source answers.
func (w *worker) listen(ctx context.Context, conv Conversation) error {
	s := w.s
	for {
		r, err := conv.Next(ctx)
		if err != nil {
			return err
		}
		if !r.Block.CID().Defined() {
			w.told(r)
			continue
		}
		v := w.accept(r.Block)
		s.mu.Lock()
		err = w.judge(v, r.Block.Size())
		if w.asked <= w.room()/2 {
			s.changed.Broadcast()
		}
		over := s.over || w.gone
		s.mu.Unlock()
		if over || err != nil {
			return err
		}
	}
}

// told takes note of what a source says of a block.
func (w *worker) told(r Reply) {
	s := w.s
	s.mu.Lock()
	defer s.mu.Unlock()
	w.lastCame = time.Now()
	if r.Busy != nil {
		w.rest(r.Busy)
	}
	t := s.f.wants[key(r.CID)]
	if r.Has || t == nil || !t.askedOf(w) {
		return
	}
	t.forget(w)
	w.asked--
	if r.Busy == nil {
		t.lacking = append(t.lacking, w)
	}
	s.f.again(t, true)
	s.changed.Broadcast()
}

// answered takes note that a block came that the source was asked for, from it
// or another. It's called with mu held.
func (w *worker) answered(t *want, a asking, byIt bool) {
	w.asked--
	if !byIt {
		if !w.streaming {
			w.cancels = append(w.cancels, t.cid)
		}
		return
	}
	if !w.streaming {
		w.latency.add(time.Since(a.at).Seconds())
		w.window = min(w.window+1, maxWindow)
	}
}

// room is how many blocks the source may be asked for at a time.
func (w *worker) room() int {
	size := int64(256 << 10)
	if w.blocks > 0 {
		size = max(w.bytes/w.blocks, 1)
	}
	ahead := 2 * w.s.rate.now(time.Now()) * w.latency.value
	bytes := min(max(int64(ahead), minAhead), maxAhead)
	answers := max(maxAnswers*(answerSize+size/2)/size, maxAnswers)
	return max(min(w.window, int(min(bytes/size, answers))), 2)
}

// take takes wants from the frontier for a source, as many as there's room for.
// It's called with mu held.
func (s *session) take(w *worker) []cid.Cid {
	room := w.room()
	if w.resting() || w.asked > room/2 && w.asked > 0 {
		return nil // in larger lots, later
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
			w.lastCame = now // it had nothing to send before
		}
		t.asked = append(t.asked, asking{w, now})
		w.asked++
		cids = append(cids, t.cid)
	}
	return cids
}

// next is what a source may be asked for next: from the queues, blocks with
// links first, or else what is late elsewhere. It's called with mu held.
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

// late tells whether an answer takes long.
func (a asking) late() bool {
	usual := time.Duration(a.who.latency.value * lateFactor * float64(time.Second))
	return !a.who.streaming && time.Since(a.at) > max(minLate, usual)
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
