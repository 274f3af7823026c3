package exchange

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/access"
	"github.com/ipfs/go-cid"
)

// A worker asks one source for a session.
type worker struct {
	s   *session
	src Source
	// known: the source has the root, as the caller or the source says.
	known bool

	// stop ends the current stream or conversation.
	stop context.CancelFunc
	// accept takes a block that came. It isn't ended by stop: a block that comes
	// while the source is dropped is as good, and one that can't be put ends the
	// session.
	accept func(block.Block) verdict

	// The rest is guarded by the session's mu.
	gone          bool
	err           error // the last one, or why it's gone
	busy          bool  // it streams or converses
	streaming     bool
	probing       bool      // probe runs
	taking        bool      // accept runs
	noStream      bool      // it isn't a Streamer, or its streams don't help
	noAnswer      bool      // it isn't an Answerer
	failures      int       // since the last block
	pauses        int       // since the last block
	until         time.Time // the end of the last pause
	blocks        int64
	bytes         int64
	unwantedBytes int64
	lastCame      time.Time
	reads         int64 // by its ReadCounter
	lastRead      time.Time

	// Of the conversation.
	asked   int       // open wants that it was asked for
	window  int       // how many there may be
	latency average   // in seconds, from the question to the block
	cancels []cid.Cid // wants that other sources answered
}

const (
	// maxFailures is how many errors in a row drop a source.
	maxFailures = 3
	// maxPauses is how many pauses in a row a busy source gets, and maxPause how
	// long one may be; a source that needs more is dropped.
	maxPauses = 5
	maxPause  = time.Minute
	// startWindow is how many blocks a source is asked for at first. Each block
	// that comes adds one, up to maxWindow: today's bitswap servers keep 1,024
	// wants of a peer.
	startWindow = 16
	maxWindow   = 1000
	// maxAnswers is how many messages may be under way from a source. Today's
	// bitswap servers fill a message up to answerSize bytes, and send each on a
	// stream of its own, which stays open for a round trip. They lose messages
	// for which their host's limit leaves no stream; go-libp2p allows at least
	// 128 to a peer.
	maxAnswers = 96
	answerSize = 16 << 10
	// minAhead and maxAhead bound the bytes that a source owes: twice its rate
	// times its latency.
	minAhead = 4 << 20
	maxAhead = 32 << 20
	// maxRepeated is how many bytes of duplicates in a row end a stream: it has
	// nothing new.
	maxRepeated = 1 << 20
	// fewLinks and fewLeaves: with no more queued blocks than these, it's worth
	// streaming what lies below them.
	fewLinks  = 8
	fewLeaves = 64
	// A block is late after lateFactor times the source's latency, but not
	// before minLate.
	lateFactor = 4
	minLate    = time.Second
	// maxSlow is how much longer than Stall a block may take while bytes arrive:
	// enough for 2 MiB at 12 kB/s, the slowest that bitswap's messages may be.
	maxSlow = 3 * time.Minute
)

// MinPause is the shortest pause of a busy source. A source that doesn't say how
// long it needs gets this pause first, and twice the last one each further time.
const MinPause = time.Second

// findSources starts the known sources, and the searches for more.
func (s *session) findSources(ctx context.Context) {
	// Hold the session open until all sources are known.
	s.mu.Lock()
	s.searches++
	s.mu.Unlock()
	for _, src := range s.o.From {
		s.join(ctx, src, true)
	}
	if !s.o.OnlyFrom {
		if find := s.x.c.Sources; find != nil {
			s.search(func() {
				for src := range find(ctx, s.root, s.o.single) {
					s.join(ctx, src, false)
				}
			})
		}
		if len(s.x.c.Fallback) > 0 {
			s.search(func() {
				timer := time.NewTimer(s.x.c.FallbackDelay)
				defer timer.Stop()
				select {
				case <-timer.C:
				case <-s.finished:
					return
				}
				for _, src := range s.x.c.Fallback {
					s.join(ctx, src, true)
				}
			})
		}
	}
	s.searchEnded()
}

// search runs a search for sources.
func (s *session) search(f func()) {
	s.mu.Lock()
	s.searches++
	s.mu.Unlock()
	s.group.Go(func() {
		f()
		s.searchEnded()
	})
}

// searchEnded records the end of a search.
func (s *session) searchEnded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.searches--
	s.checkStuck()
}

// join adds a source. Beyond MaxSources it waits until another one is dropped, or
// none has anything to do.
func (s *session) join(ctx context.Context, src Source, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	active := 0
	for _, w := range s.workers {
		if !w.gone {
			active++
		}
	}
	switch {
	case active < MaxSources:
		s.start(ctx, src, known)
	case len(s.waiting) < maxWaiting:
		s.waiting = append(s.waiting, func() bool { return s.start(ctx, src, known) })
	}
}

// startWaiting starts one of the waiting sources, and reports whether there was
// one. It's called with mu held.
func (s *session) startWaiting() bool {
	for len(s.waiting) > 0 {
		start := s.waiting[0]
		s.waiting = s.waiting[1:]
		if start() {
			return true
		}
	}
	return false
}

// start starts a source, unless there is one of that name. It's called with mu
// held.
func (s *session) start(ctx context.Context, src Source, known bool) bool {
	if s.over || slices.ContainsFunc(s.workers, func(w *worker) bool { return w.src.Name() == src.Name() }) {
		return false
	}
	w := &worker{s: s, src: src, known: known, window: startWindow, lastCame: time.Now()}
	_, streams := src.(Streamer)
	_, asks := src.(Answerer)
	w.noStream, w.noAnswer = !streams, !asks
	w.known = known || !asks // a source that can't be asked must show it
	w.accept = func(b block.Block) verdict { return s.accept(ctx, w, b) }
	own, stop := context.WithCancel(ctx)
	w.stop = stop
	s.workers = append(s.workers, w)
	s.group.Go(func() { w.run(own) })
	return true
}

// checkStuck ends the session if no source is left that could have the missing
// blocks. It's called with mu held.
func (s *session) checkStuck() {
	if s.over || s.searches > 0 && len(s.waiting) == 0 || len(s.f.wants) == 0 {
		return
	}
	for _, w := range s.workers {
		if !w.gone && (w.busy || s.hasWork(w)) {
			return
		}
	}
	var missing *want
	for _, q := range []*queue{&s.f.links, &s.f.leaves} {
		if missing == nil {
			missing = q.head
		}
	}
	if missing == nil {
		return // a source was asked for each
	}
	if s.startWaiting() || s.searches > 0 {
		return
	}
	err := fmt.Errorf("%d blocks are missing, among them %s: %w: %w", len(s.f.wants), missing.cid, ErrNoSource, block.ErrNotFound)
	for _, w := range s.workers {
		if w.err != nil {
			err = fmt.Errorf("%w; %s: %w", err, w.src.Name(), w.err)
		}
	}
	s.endLocked(err)
}

// hasWork reports whether there's something to do for a source.
func (s *session) hasWork(w *worker) bool {
	return s.streamTarget(w) != nil || !w.noAnswer && s.next(w) != nil
}

// run streams and converses as long as the session lasts.
func (w *worker) run(ctx context.Context) {
	s := w.s
	defer w.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for !s.over && !w.gone && (w.paused() || !s.hasWork(w)) {
			s.checkStuck()
			if s.over {
				return
			}
			s.changed.Wait()
		}
		if s.over || w.gone {
			s.checkStuck()
			return
		}
		w.busy = true
		w.lastCame = time.Now()
		if t := s.streamTarget(w); t != nil {
			w.stream(ctx, t)
		} else {
			w.converse(ctx)
		}
		w.busy = false
		s.changed.Broadcast()
	}
}

// dropSource drops the source from the session. It's called with the session's mu held.
func (w *worker) dropSource(err error) {
	if w.gone {
		return
	}
	w.gone, w.err = true, err
	w.s.x.c.Logger.Info("exchange: source dropped", "root", w.s.root, "source", w.src.Name(), "error", err)
	w.requeueAsked()
	w.stop()
	w.s.startWaiting()
	w.s.changed.Broadcast()
}

// fail counts an error, and drops the source after maxFailures.
func (w *worker) fail(err error) {
	if w.failures++; w.failures >= maxFailures {
		w.dropSource(err)
	} else {
		w.err = err
	}
}

// pause gives a busy source its pause. It's called with mu held.
func (w *worker) pause(b *BusyError) {
	if w.paused() && b.Wait <= maxPause {
		// Another question had the same answer.
		if until := time.Now().Add(max(b.Wait, MinPause)); until.After(w.until) {
			w.until = until
		}
		return
	}
	if w.pauses++; w.pauses > maxPauses || b.Wait > maxPause {
		w.dropSource(b)
		return
	}
	wait := b.Wait
	if wait == 0 {
		wait = MinPause << (w.pauses - 1)
	}
	w.until = time.Now().Add(wait)
	w.s.x.c.Logger.Debug("exchange: source paused", "root", w.s.root, "source", w.src.Name(), "pause", wait, "error", b)
}

// paused reports whether the source has a pause.
func (w *worker) paused() bool { return time.Now().Before(w.until) }

// requeueAsked puts back what the source was asked for.
func (w *worker) requeueAsked() {
	if w.asked == 0 {
		return
	}
	for _, t := range w.s.f.wants {
		if t.askedOf(w) {
			t.removeAsk(w)
			w.s.f.requeue(t, true)
		}
	}
	w.asked = 0
}

// count counts a block that was wanted.
func (w *worker) count(size int64) {
	w.blocks++
	w.bytes += size
	w.failures, w.pauses = 0, 0
	w.lastCame = time.Now()
}

// checkUnwanted counts an unwanted block, and fails if the source sent too many.
// It's called with mu held.
func (w *worker) checkUnwanted(v verdict, size int) error {
	if v != unwanted {
		return nil
	}
	rule := block.Internal(access.Key{})
	w.unwantedBytes += rule.UnwantedBytes(size)
	if rule.TooMuchUnwanted(w.unwantedBytes, w.bytes) {
		return fmt.Errorf("%w: %d bytes of blocks that it was not asked for", ErrMisbehaved, w.unwantedBytes)
	}
	return nil
}

// stalled reports whether the source sends nothing. It must be called regularly.
func (w *worker) stalled(now time.Time) bool {
	if h, ok := w.src.(ReadCounter); ok {
		if n := h.Reads(); n != w.reads {
			w.reads, w.lastRead = n, now
		}
	}
	if w.taking {
		return false
	}
	stall, silent := w.s.x.c.Stall, now.Sub(w.lastCame)
	return silent > stall && (now.Sub(w.lastRead) > stall || silent > stall+maxSlow)
}

// watchStalls drops sources that send nothing, and regularly wakes the others, so
// that they look for late blocks.
func (s *session) watchStalls() {
	tick := time.NewTicker(min(250*time.Millisecond, s.x.c.Stall/4))
	defer tick.Stop()
	for {
		select {
		case <-s.finished:
			return
		case <-tick.C:
		}
		// The time now, not with mu held: blocks wait for mu while the session
		// walks what is here, or runs Follow.
		now := time.Now()
		s.mu.Lock()
		for _, w := range s.workers {
			if !w.gone && w.busy && (w.streaming || w.probing || w.asked > 0) && w.stalled(now) {
				w.dropSource(fmt.Errorf("%w (%s)", ErrStalled, s.x.c.Stall))
			}
		}
		s.changed.Broadcast()
		s.mu.Unlock()
	}
}

// streamTarget returns the root that a source may stream now, or nil.
func (s *session) streamTarget(w *worker) *want {
	if w.noStream || !w.known || s.streams > 0 || s.o.Follow != nil || !s.o.Selection.IsAll() {
		return nil
	}
	if !w.noAnswer && (s.f.links.n > fewLinks || s.f.leaves.n > fewLeaves) {
		return nil
	}
	if t := s.f.links.first(w, true); t != nil || !w.noAnswer {
		return t
	}
	return s.f.leaves.first(w, true)
}

// stream has the source send the DAG below a block. It's called with mu held, and
// unlocks it meanwhile.
func (w *worker) stream(ctx context.Context, t *want) {
	s := w.s
	w.streaming = true
	s.streams++
	s.f.unqueue(t)
	t.asked = append(t.asked, question{w, time.Now()})
	w.asked++
	others, before := s.f.links.n, w.blocks
	var have []cid.Cid
	if block.Equal(t.cid, s.root) {
		have = s.have
	}
	s.mu.Unlock()
	err := w.receive(ctx, t.cid, have)
	s.mu.Lock()
	w.streaming = false
	s.streams--
	arrived := s.f.wants[key(t.cid)] != t
	if !arrived && t.askedOf(w) {
		t.removeAsk(w)
		w.asked--
		s.f.requeue(t, true)
	}
	var busy *BusyError
	switch {
	case s.over || w.gone:
	case errors.As(err, &busy):
		w.pause(busy)
	case errors.Is(err, ErrCannotStream):
		w.noStream = true
		if w.noAnswer {
			w.dropSource(err)
		}
	case errors.Is(err, errNothingNew):
		w.noStream = !w.noAnswer // the missing blocks are scattered
		if w.noAnswer && !arrived && w.blocks == before {
			w.fail(err) // it would send the same again
		}
	case errors.Is(err, block.ErrNotFound):
		t.lacking = append(t.lacking, w)
		w.err = err
	case errors.Is(err, ErrMisbehaved):
		w.dropSource(err)
	case err != nil:
		w.noStream = !w.noAnswer && !arrived
		w.fail(err)
	case !arrived:
		w.noStream = !w.noAnswer
		w.fail(fmt.Errorf("the stream did not contain its root %s", t.cid))
	case s.f.links.n > others:
		// It ended as if it were complete. Single questions will show what the
		// source lacks.
		w.noStream = !w.noAnswer
		if w.noAnswer {
			w.fail(errors.New("the stream ended before the DAG was complete"))
		}
	}
}

// errNothingNew says that a stream was ended because it brought nothing new.
var errNothingNew = errors.New("the stream brings nothing new")

// receive takes the blocks of a stream.
func (w *worker) receive(ctx context.Context, root cid.Cid, have []cid.Cid) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	st, err := w.src.(Streamer).Stream(ctx, root, have)
	if err != nil {
		return err
	}
	defer st.Close()
	if len(have) > 0 && !st.Honoured() {
		// The whole DAG would come, and most of it is here.
		return fmt.Errorf("%w without what is here", ErrCannotStream)
	}
	repeated := 0
	for b, err := range ahead(st.Blocks(), cancel) {
		if err != nil {
			return err
		}
		v := w.accept(b)
		if v == accepted {
			repeated = 0
			continue
		}
		w.s.mu.Lock()
		over := w.s.over || w.gone
		met := v == duplicate && w.s.f.queued() == 0 && w.s.walks == 0 // the rest is asked of others
		w.lastCame = time.Now()
		err := w.checkUnwanted(v, b.Size())
		w.s.mu.Unlock()
		if over || err != nil {
			return err
		}
		if v == duplicate {
			repeated += b.Size() + blockOverhead
		}
		if met || repeated > maxRepeated {
			return errNothingNew
		}
	}
	return nil
}

// readAhead is how many blocks a stream may be ahead of accept, so that receiving
// and hashing run beside it.
const readAhead = 4

// ahead ranges over a sequence on a goroutine of its own. When the caller stops, it
// calls stop, and waits for the goroutine.
func ahead(blocks iter.Seq2[block.Block, error], stop func()) iter.Seq2[block.Block, error] {
	type item struct {
		b   block.Block
		err error
	}
	return func(yield func(block.Block, error) bool) {
		items, done := make(chan item, readAhead), make(chan struct{})
		go func() {
			defer close(items)
			for b, err := range blocks {
				select {
				case items <- item{b, err}:
				case <-done:
					return
				}
			}
		}()
		defer func() {
			close(done)
			stop()
			for range items {
			}
		}()
		for i := range items {
			if !yield(i.b, i.err) {
				return
			}
		}
	}
}

// blockOverhead is what a duplicate counts besides its bytes: empty ones cost
// work, too.
const blockOverhead = 100
