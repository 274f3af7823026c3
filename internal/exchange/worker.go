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

// A worker is what a session does with one source.
type worker struct {
	s   *session
	src Source
	// known: the source is taken to have the root, or has said so.
	known bool

	// stop ends what the source is at.
	stop context.CancelFunc
	// accept takes in a block that came. It isn't ended by stop: what came just
	// when the source was given up is as good, and a block that can't be put
	// ends the session.
	accept func(block.Block) verdict

	// The rest is guarded by the session's mu.
	gone      bool
	err       error // why it's gone
	busy      bool  // it asks, or streams
	streaming bool
	probing   bool // it was asked whether it has the root
	taking    bool // what it sent is being taken in
	noStream  bool // it can't send DAGs, or not those that help
	noAsk     bool
	failures  int
	pauses    int       // given since a block came
	until     time.Time // the end of the last one
	blocks    int64
	bytes     int64
	badBytes  int64 // of blocks that nobody wanted, with what they cost besides
	lastCame  time.Time
	reads     int64 // by its ReadCounter
	lastRead  time.Time

	// Of its conversation.
	asked   int       // wants it was asked for, and that are open
	window  int       // how many there may be
	latency average   // in seconds, from asking to the block
	cancels []cid.Cid // what came from others meanwhile
}

const (
	// maxFailures is after how many errors a source is given up.
	maxFailures = 3
	// maxPauses is how many pauses in a row a busy source gets, and maxPause how
	// long one may be; a source that needs more is dropped.
	maxPauses = 5
	maxPause  = time.Minute
	// startWindow is how many blocks a source is asked for at first; each one
	// that comes adds one, up to maxWindow, which is what today's bitswap
	// servers keep of a peer's wants (1,024), less a reserve.
	startWindow = 16
	maxWindow   = 1000
	// maxAnswers is how many answers may be under way from a source. Today's
	// bitswap servers put blocks into one until it has answerSize bytes, send
	// each on a stream of its own, which stays open for a round trip, and lose
	// those for which their host's limit leaves no stream; 128 to a peer is
	// the least that go-libp2p gives.
	maxAnswers = 96
	answerSize = 16 << 10
	// minAhead and maxAhead bound the bytes that a source is asked for ahead
	// of what came: enough for its rate times its latency.
	minAhead = 4 << 20
	maxAhead = 32 << 20
	// maxAgain is how much of what is here already a stream may send in a row,
	// until it's seen to have nothing new.
	maxAgain = 1 << 20
	// fewLinks and fewLeaves: with no more than so many blocks left to ask
	// for, it's worth it to stream what lies below them.
	fewLinks  = 8
	fewLeaves = 64
	// lateFactor and minLate say when a block is late, in terms of how long
	// others took.
	lateFactor = 4
	minLate    = time.Second
	// maxSlow is how much longer than Stall a block may take as long as
	// something comes: one of 2 MiB at 12 kB/s, which is as slow as bitswap's
	// messages may be.
	maxSlow = 3 * time.Minute
)

// MinPause is the shortest pause of a busy source. A source that doesn't say how
// long it needs gets this pause first, and twice the last one each further time.
const MinPause = time.Second

// findSources begins to ask all that are known, and to look for more.
func (s *session) findSources(ctx context.Context) {
	// One that fails at once isn't the last.
	s.mu.Lock()
	s.finding++
	s.mu.Unlock()
	for _, src := range s.o.From {
		s.join(ctx, src, true)
	}
	if !s.o.OnlyFrom {
		if find := s.x.c.Sources; find != nil {
			s.look(func() {
				for src := range find(ctx, s.root, s.o.single) {
					s.join(ctx, src, false)
				}
			})
		}
		if len(s.x.c.Fallback) > 0 {
			s.look(func() {
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
	s.found()
}

// look runs what looks for sources.
func (s *session) look(f func()) {
	s.mu.Lock()
	s.finding++
	s.mu.Unlock()
	s.group.Go(func() {
		f()
		s.found()
	})
}

// found takes note that one who looked for sources is done.
func (s *session) found() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finding--
	s.checkStuck()
}

// join adds a source, unless it's there already. Where there are as many as may
// be, it has its turn when one of them is given up, or none has anything to do.
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
		s.begins(ctx, src, known)
	case len(s.waiting) < maxWaiting:
		s.waiting = append(s.waiting, func() bool { return s.begins(ctx, src, known) })
	}
}

// admit adds one of the sources that wait, if there's one. It's called with mu
// held.
func (s *session) admit() bool {
	for len(s.waiting) > 0 {
		begins := s.waiting[0]
		s.waiting = s.waiting[1:]
		if begins() {
			return true
		}
	}
	return false
}

// begins begins to ask a source, unless it's there already. It's called with mu
// held.
func (s *session) begins(ctx context.Context, src Source, known bool) bool {
	if s.over || slices.ContainsFunc(s.workers, func(w *worker) bool { return w.src.Name() == src.Name() }) {
		return false
	}
	w := &worker{s: s, src: src, known: known, window: startWindow, lastCame: time.Now()}
	_, streams := src.(Streamer)
	_, asks := src.(Asker)
	w.noStream, w.noAsk = !streams, !asks
	w.known = known || !asks // who can't be asked has to show it
	w.accept = func(b block.Block) verdict { return s.accept(ctx, w, b) }
	own, stop := context.WithCancel(ctx)
	w.stop = stop
	s.workers = append(s.workers, w)
	s.group.Go(func() { w.run(own) })
	return true
}

// checkStuck ends the session if there's nobody left who could have what is
// missing. It's called with mu held.
func (s *session) checkStuck() {
	if s.over || s.finding > 0 && len(s.waiting) == 0 || len(s.f.wants) == 0 {
		return
	}
	for _, w := range s.workers {
		if !w.gone && (w.busy || s.workFor(w)) {
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
		return // all is asked for
	}
	if s.admit() || s.finding > 0 {
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

// workFor tells whether there's something to do for a source.
func (s *session) workFor(w *worker) bool {
	return s.streamTarget(w) != nil || !w.noAsk && s.next(w) != nil
}

// run does what there is to do with the source.
func (w *worker) run(ctx context.Context) {
	s := w.s
	defer w.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for !s.over && !w.gone && (w.resting() || !s.workFor(w)) {
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

// leave takes note that a source is not to be asked any more. It's called with
// the session's mu held.
func (w *worker) leave(err error) {
	if w.gone {
		return
	}
	w.gone, w.err = true, err
	w.s.x.c.Logger.Info("exchange: a source is given up", "root", w.s.root, "source", w.src.Name(), "error", err)
	w.takeBack()
	w.stop()
	w.s.admit()
	w.s.changed.Broadcast()
}

// fail takes note of an error, of which there may be a few.
func (w *worker) fail(err error) {
	if w.failures++; w.failures >= maxFailures {
		w.leave(err)
	} else {
		w.err = err
	}
}

// rest gives the source the pause that it asks for. It's called with mu held.
func (w *worker) rest(b *BusyError) {
	if w.resting() && b.Wait <= maxPause {
		// It has answered several questions so.
		if until := time.Now().Add(max(b.Wait, MinPause)); until.After(w.until) {
			w.until = until
		}
		return
	}
	if w.pauses++; w.pauses > maxPauses || b.Wait > maxPause {
		w.leave(b)
		return
	}
	wait := b.Wait
	if wait == 0 {
		wait = MinPause << (w.pauses - 1)
	}
	w.until = time.Now().Add(wait)
	w.s.x.c.Logger.Debug("exchange: a source is given a pause", "root", w.s.root, "source", w.src.Name(), "pause", wait, "error", b)
}

// resting tells whether the source has a pause.
func (w *worker) resting() bool { return time.Now().Before(w.until) }

// takeBack gives to others what the source was asked for.
func (w *worker) takeBack() {
	if w.asked == 0 {
		return
	}
	for _, t := range w.s.f.wants {
		if t.askedOf(w) {
			t.forget(w)
			w.s.f.again(t, true)
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

// judge looks at what the session said of a block, and gives the source up if
// it sends too much of what nobody wanted. It's called with mu held.
func (w *worker) judge(v verdict, size int) error {
	if v != unwanted {
		return nil
	}
	rule := block.Internal(access.Key{})
	w.badBytes += rule.UnwantedBytes(size)
	if rule.TooMuchUnwanted(w.badBytes, w.bytes) {
		return fmt.Errorf("%w: %d bytes of them", ErrLied, w.badBytes)
	}
	return nil
}

// stalled tells whether the source sends nothing, and keeps account of when
// something came.
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

// watchStalls wakes those who wait from time to time, so that they look for
// what is late, and gives up sources that send nothing.
func (s *session) watchStalls() {
	tick := time.NewTicker(min(250*time.Millisecond, s.x.c.Stall/4))
	defer tick.Stop()
	for {
		select {
		case <-s.finished:
			return
		case <-tick.C:
		}
		// Not the time that the session itself takes, to look through what is
		// here or to Follow: what comes meanwhile waits for it, too.
		now := time.Now()
		s.mu.Lock()
		for _, w := range s.workers {
			if !w.gone && w.busy && (w.streaming || w.probing || w.asked > 0) && w.stalled(now) {
				w.leave(fmt.Errorf("%w (%s)", ErrStalled, s.x.c.Stall))
			}
		}
		s.changed.Broadcast()
		s.mu.Unlock()
	}
}

// streamTarget is what a source may stream now.
func (s *session) streamTarget(w *worker) *want {
	if w.noStream || !w.known || s.streams > 0 || s.o.Follow != nil || !s.o.Selection.IsAll() {
		return nil
	}
	if !w.noAsk && (s.f.links.n > fewLinks || s.f.leaves.n > fewLeaves) {
		return nil
	}
	if t := s.f.links.first(w, true); t != nil || !w.noAsk {
		return t
	}
	return s.f.leaves.first(w, true)
}

// stream has the source send the DAG below a block. It's called with mu held,
// and lets go of it while it waits.
func (w *worker) stream(ctx context.Context, t *want) {
	s := w.s
	w.streaming = true
	s.streams++
	s.f.unqueue(t)
	t.asked = append(t.asked, asking{w, time.Now()})
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
		t.forget(w)
		w.asked--
		s.f.again(t, true)
	}
	var busy *BusyError
	switch {
	case s.over || w.gone:
	case errors.As(err, &busy):
		w.rest(busy)
	case errors.Is(err, ErrCannotStream):
		w.noStream = true
		if w.noAsk {
			w.leave(err)
		}
	case errors.Is(err, errEnough):
		w.noStream = !w.noAsk // what is left is scattered
		if w.noAsk && !arrived && w.blocks == before {
			w.fail(err) // it would send the same again
		}
	case errors.Is(err, block.ErrNotFound):
		t.lacking = append(t.lacking, w)
		w.err = err
	case errors.Is(err, ErrLied):
		w.leave(err)
	case err != nil:
		w.noStream = !w.noAsk && !arrived
		w.fail(err)
	case !arrived:
		w.noStream = !w.noAsk
		w.fail(fmt.Errorf("a DAG was sent without its root %s", t.cid))
	case s.f.links.n > others:
		// It ended as if that were all. What is missing, single questions
		// show.
		w.noStream = !w.noAsk
		if w.noAsk {
			w.fail(errors.New("a DAG ended before it was whole"))
		}
	}
}

// errEnough says that a stream was ended because it brought nothing new.
var errEnough = errors.New("the stream brings nothing new")

// receive takes in what a source streams.
func (w *worker) receive(ctx context.Context, root cid.Cid, have []cid.Cid) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	st, err := w.src.(Streamer).Stream(ctx, root, have)
	if err != nil {
		return err
	}
	defer st.Close()
	if len(have) > 0 && !st.Honoured() {
		// All of it would come, and most of that is here.
		return fmt.Errorf("%w without what is here", ErrCannotStream)
	}
	again := 0
	for b, err := range ahead(st.Blocks(), cancel) {
		if err != nil {
			return err
		}
		v := w.accept(b)
		if v == accepted {
			again = 0
			continue
		}
		w.s.mu.Lock()
		over := w.s.over || w.gone
		met := v == duplicate && w.s.f.queued() == 0 && w.s.looking == 0 // all that's left is asked of others
		w.lastCame = time.Now()
		err := w.judge(v, b.Size())
		w.s.mu.Unlock()
		if over || err != nil {
			return err
		}
		if v == duplicate {
			again += b.Size() + blockOverhead
		}
		if met || again > maxAgain {
			return errEnough
		}
	}
	return nil
}

// readAhead is how many blocks a stream may be ahead of what takes them in, so
// that receiving and hashing go on beside it.
const readAhead = 4

// ahead ranges over a sequence on a goroutine of its own. When the caller stops,
// it is told to stop, and waited for.
func ahead(blocks iter.Seq2[block.Block, error], tell func()) iter.Seq2[block.Block, error] {
	type item struct {
		b   block.Block
		err error
	}
	return func(yield func(block.Block, error) bool) {
		items, stop := make(chan item, readAhead), make(chan struct{})
		go func() {
			defer close(items)
			for b, err := range blocks {
				select {
				case items <- item{b, err}:
				case <-stop:
					return
				}
			}
		}()
		defer func() {
			close(stop)
			tell()
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

// blockOverhead is what a block costs besides its bytes, roughly.
const blockOverhead = 100
