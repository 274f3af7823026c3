package exchange

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/access"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// A session gets one DAG.
type session struct {
	x        *Exchange
	root     cid.Cid
	o        Options
	selects  func(cid.Cid) bool
	pinned   bool // it keeps what comes under its own alias
	have     []cid.Cid
	group    sync.WaitGroup // of all goroutines but commits
	commits  sync.WaitGroup
	finished chan struct{} // closed when over is set
	aliased  chan struct{} // closed when the own alias is durable, or aliasErr set
	aliasErr error

	mu      sync.Mutex // guards the following
	changed *sync.Cond // on mu: there may be something to do
	f       frontier
	// seen are the blocks with links that the walk has passed.
	seen        map[string]struct{}
	batch       *store.Batch
	batchBytes  int64
	batchBlocks int
	batchSince  time.Time
	batchFull   int64 // how many bytes are enough for a commit
	committing  bool
	workers     []*worker
	waiting     []func() bool // start the sources that have no place yet
	streams     int           // DAGs being streamed
	searches    int           // for sources, under way
	walks       int           // for missing blocks, under way
	over        bool
	err         error
	counts      Progress
	rate        rate
}

const (
	// commitBytes, commitBlocks and commitEvery bound what has to be fetched
	// again after a crash, and what is left to commit at the end. The first
	// commit has firstBytes, as most DAGs are small. Each further one may have
	// twice as many, as large ones are faster.
	commitBytes  = 64 << 20
	firstBytes   = 4 << 20
	commitBlocks = 2 << 10
	commitEvery  = 2 * time.Second
)

func (x *Exchange) newSession(root cid.Cid, o Options) (*session, error) {
	if err := block.CheckCID(root); err != nil {
		return nil, err
	}
	s := &session{
		x: x, root: root, o: o, selects: store.Internal(access.Key{}).Selects(o.Selection), pinned: o.Alias != "" || !o.NoPin,
		finished: make(chan struct{}), aliased: make(chan struct{}),
		f: newFrontier(), seen: map[string]struct{}{}, batch: x.c.Store.Batch(), batchSince: time.Now(), batchFull: firstBytes,
	}
	s.changed = sync.NewCond(&s.mu)
	return s, nil
}

// run gets the DAG.
func (s *session) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { s.end(context.Cause(ctx)) })
	err := s.prepare(ctx)
	if err == nil && !s.isOver() {
		s.findSources(ctx)
		s.group.Go(s.watchStalls)
	}
	if err == nil {
		<-s.finished
		s.mu.Lock()
		err = s.err
		s.mu.Unlock()
	}
	stop()
	s.end(err)
	cancel()
	s.group.Wait()
	s.commits.Wait()
	if err == nil {
		err = s.complete(context.WithoutCancel(ctx))
	} else {
		s.salvage(context.WithoutCancel(ctx))
	}
	return err
}

// prepare finds out what is missing, and sets the alias that keeps what comes.
func (s *session) prepare(ctx context.Context) error {
	if s.pinned {
		// It's durable before the first block is; asking doesn't wait for it.
		s.commits.Go(func() {
			defer close(s.aliased)
			o := store.AliasOptions{Selection: s.o.Selection}
			s.aliasErr = s.x.c.Store.SetAlias(context.WithoutCancel(ctx), SyncName(s.root), s.root, o)
			if s.aliasErr != nil {
				s.end(s.aliasErr)
			}
		})
	}
	for _, c := range s.o.Have {
		if len(s.have) < maxHave && s.whole(ctx, c) {
			s.have = append(s.have, c)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	missing, err := s.missing(ctx, []cid.Cid{s.root})
	if errors.Is(err, errEnded) {
		err = s.err
	}
	if err != nil {
		return err
	}
	s.f.add(missing, true)
	if len(s.f.wants) == 0 {
		s.endLocked(nil)
	}
	return nil
}

// maxHave is how many DAGs a stream may leave out (docs/spec/have.md).
const maxHave = 16

// whole reports whether all of a DAG is here.
func (s *session) whole(ctx context.Context, root cid.Cid) bool {
	for range s.x.c.Store.Missing(ctx, root, store.Selection{}) {
		return false
	}
	return true
}

func (s *session) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// end ends the session, unless it has ended.
func (s *session) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked(err)
}

func (s *session) endLocked(err error) {
	if s.over {
		return
	}
	s.over, s.err = true, err
	close(s.finished)
	s.changed.Broadcast()
}

// missing returns the blocks of DAGs that aren't here, depth-first. It's called
// with mu held, and unlocks it while it reads a block: there may be very many.
func (s *session) missing(ctx context.Context, roots []cid.Cid) (missing []cid.Cid, err error) {
	s.walks++
	read := false
	defer func() {
		s.walks--
		if read {
			missing, err = s.stillMissing(ctx, missing, err)
			s.changed.Broadcast()
		}
	}()
	stack := [][]cid.Cid{roots}
	for len(stack) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if s.over {
			return nil, errEnded
		}
		top := &stack[len(stack)-1]
		if len(*top) == 0 {
			stack = stack[:len(stack)-1]
			continue
		}
		c := (*top)[0]
		*top = (*top)[1:]
		if !s.selects(c) {
			continue
		}
		k := key(c)
		if _, ok := s.seen[k]; ok || s.f.wants[k] != nil {
			continue
		}
		here := store.Present
		var err error
		if !block.IsIdentity(c) {
			if here, err = s.batch.Presence(ctx, c); err != nil {
				return nil, err
			}
		}
		if here == store.Whole && s.o.Follow != nil {
			here = store.Present // Follow decides where the DAG goes on
		}
		if here == store.Present && !isLeaf(c) {
			s.seen[k] = struct{}{} // before the read, so that no other walk reads it
			read = true
			s.mu.Unlock()
			b, err := s.x.c.Store.Get(ctx, c)
			s.mu.Lock()
			if err == nil {
				links, err := s.follow(b, internal.Extract(s.x.c.Store, b))
				if err != nil {
					return nil, err
				}
				stack = append(stack, links)
				continue
			}
			delete(s.seen, k)
			if !errors.Is(err, block.ErrNotFound) && !errors.Is(err, block.ErrDamaged) {
				return nil, err
			}
			here = store.Absent
		}
		switch {
		case here == store.Absent:
			missing = append(missing, c)
		case !isLeaf(c):
			s.seen[k] = struct{}{}
		}
	}
	return missing, nil
}

// errEnded says that a session is over.
var errEnded = errors.New("session is over")

// stillMissing returns the missing blocks that haven't come during the walk. It's
// called with mu held.
func (s *session) stillMissing(ctx context.Context, missing []cid.Cid, err error) ([]cid.Cid, error) {
	still := missing[:0]
	for _, c := range missing {
		if err != nil {
			break
		}
		if _, seen := s.seen[key(c)]; seen {
			continue
		}
		var here store.Presence
		if here, err = s.batch.Presence(ctx, c); here == store.Absent {
			still = append(still, c)
		}
	}
	return still, err
}

// internal is what package store offers within this module.
var internal = store.Internal(access.Key{})

// follow returns the links to go on with below a block. A block that can't be
// decoded has none, as in the store.
func (s *session) follow(b block.Block, x interface{ Links() ([]cid.Cid, error) }) ([]cid.Cid, error) {
	links, err := x.Links()
	if err != nil && !errors.Is(err, block.ErrMalformed) && !errors.Is(err, block.ErrUnknownCodec) {
		return nil, err
	}
	if s.o.Follow == nil {
		return links, nil
	}
	return s.o.Follow(b, links)
}

// A verdict is what a session makes of a block.
type verdict int

const (
	accepted verdict = iota
	duplicate
	unwanted
)

// accept takes a block that came from a source.
func (s *session) accept(ctx context.Context, from *worker, b block.Block) verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return duplicate
	}
	w := s.f.wants[key(b.CID())]
	if w == nil {
		return s.classifyUnwanted(ctx, b)
	}
	extracted := internal.Extract(s.x.c.Store, b) // once, for the frontier and the store
	links, err := s.follow(b, extracted)
	if err == nil {
		err = internal.PutExtracted(ctx, s.batch, extracted)
	}
	var missing []cid.Cid
	if err == nil {
		s.f.remove(w)
		if !w.leaf {
			s.seen[key(w.cid)] = struct{}{}
		}
		for _, a := range w.asked {
			a.worker.answered(w, a, a.worker == from)
		}
		w.asked = nil
		from.taking = true
		missing, err = s.missing(ctx, links)
		from.taking, from.lastCame = false, time.Now()
	}
	if err != nil {
		s.endLocked(fmt.Errorf("%s: %w", b.CID(), err))
		return duplicate
	}
	// A stream sends the blocks below this one next, so they go to the front.
	// Below a block that was taken from the back, they go to the back.
	s.f.add(missing, from.streaming || s.streams == 0)
	s.x.c.Arrived(b.CID())
	size := int64(b.Size())
	from.count(size)
	s.counts.Blocks++
	s.counts.Bytes += size
	s.rate.add(time.Now(), size)
	s.commitIfDue(ctx, size)
	if len(s.f.wants) == 0 && s.walks == 0 {
		s.endLocked(nil)
	}
	if len(missing) > 0 {
		s.changed.Broadcast()
	}
	return accepted
}

// classifyUnwanted returns whether a block that isn't wanted is a duplicate, and
// counts those.
func (s *session) classifyUnwanted(ctx context.Context, b block.Block) verdict {
	if has, err := s.x.c.Store.Has(ctx, b.CID()); err != nil || !has {
		return unwanted
	}
	s.counts.Duplicates++
	s.counts.DuplicateBytes += int64(b.Size())
	return duplicate
}

// commitIfDue commits what came, in the background, from time to time.
func (s *session) commitIfDue(ctx context.Context, size int64) {
	s.batchBytes += size
	s.batchBlocks++
	if !s.pinned || s.committing || s.batchBytes < s.batchFull && s.batchBlocks < commitBlocks && time.Since(s.batchSince) < commitEvery {
		return
	}
	full := s.batch
	s.batch, s.batchBytes, s.batchBlocks, s.batchSince = s.x.c.Store.Batch(), 0, 0, time.Now()
	s.batchFull = min(2*s.batchFull, commitBytes)
	s.committing = true
	s.commits.Go(func() {
		<-s.aliased
		err := full.Commit(context.WithoutCancel(ctx))
		s.mu.Lock()
		defer s.mu.Unlock()
		s.committing = false
		if err != nil {
			s.endLocked(err)
		}
	})
}

// complete commits the rest, checks that the DAG is whole, and sets the alias. After
// an error, what came stays.
func (s *session) complete(ctx context.Context) error {
	if !s.pinned {
		s.batch.Discard()
		return nil
	}
	if s.aliasErr != nil {
		return s.aliasErr
	}
	if err := s.batch.Commit(ctx); err != nil {
		return err
	}
	if err := s.checkWhole(ctx); err != nil {
		return err
	}
	if s.o.Alias == "" {
		return nil
	}
	err := s.setAlias(ctx, true)
	if errors.Is(err, store.ErrNoAlias) {
		err = s.setAlias(ctx, false) // another session for the root removed it
	}
	return err
}

// setAlias sets the caller's alias, and removes the session's own if there is one.
func (s *session) setAlias(ctx context.Context, own bool) error {
	b := s.x.c.Store.Batch()
	b.Alias(s.o.Alias, s.root, store.AliasOptions{Selection: s.o.Selection})
	if own {
		b.RemoveAlias(SyncName(s.root))
	}
	return b.Commit(ctx)
}

// checkWhole checks that no block was lost during the session.
func (s *session) checkWhole(ctx context.Context) error {
	if s.o.Follow != nil {
		return nil
	}
	if s.o.Selection.IsAll() {
		if whole, err := s.x.c.Store.Whole(ctx, s.root); whole || err != nil {
			return err
		}
	}
	for c, err := range s.x.c.Store.Missing(ctx, s.root, s.o.Selection) {
		if err == nil {
			err = fmt.Errorf("%s: %w: it was lost during the sync; run it again", c, block.ErrNotFound)
		}
		return err
	}
	return nil
}

// salvage commits what came before the session failed.
func (s *session) salvage(ctx context.Context) {
	if !s.pinned {
		s.batch.Discard()
		return
	}
	err := s.batch.Commit(ctx)
	if errors.Is(err, store.ErrBatchLost) || errors.Is(err, store.ErrDiskFull) {
		// Some of the blocks may be there, and the alias keeps them alive.
		err = s.x.c.Store.Flush(ctx)
	}
	if err != nil {
		s.x.c.Logger.Warn("exchange: committing what came", "root", s.root, "error", err)
	}
}

// progress returns how far the session has come.
func (s *session) progress() Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.counts
	p.Wanted = len(s.f.wants)
	p.Rate = s.rate.now(time.Now())
	p.Left = s.timeLeft(p)
	for _, w := range s.workers {
		p.Sources = append(p.Sources, SourceProgress{Source: w.src, Name: w.src.Name(), Blocks: w.blocks, Bytes: w.bytes, Err: w.err})
	}
	return p
}

// timeLeft estimates the time left, once only leaves are wanted.
func (s *session) timeLeft(p Progress) time.Duration {
	if s.f.linkWants > 0 || p.Rate <= 0 || p.Blocks == 0 {
		return 0
	}
	size := float64(p.Bytes) / float64(p.Blocks)
	return time.Duration(float64(p.Wanted) * size / p.Rate * float64(time.Second))
}

// A rate counts bytes over the last seconds.
type rate struct {
	since time.Time
	bytes int64
	last  float64
}

// rateSpan is the time over which bytes are counted for one figure.
const rateSpan = time.Second

func (r *rate) add(now time.Time, n int64) {
	if r.since.IsZero() {
		r.since = now
	}
	r.roll(now)
	r.bytes += n
}

func (r *rate) roll(now time.Time) {
	if d := now.Sub(r.since); d >= rateSpan {
		fresh := float64(r.bytes) / d.Seconds()
		if r.last == 0 {
			r.last = fresh
		}
		r.last = (r.last + fresh) / 2
		r.since, r.bytes = now, 0
	}
}

func (r *rate) now(now time.Time) float64 {
	if r.since.IsZero() {
		return 0
	}
	r.roll(now)
	if r.last > 0 {
		return r.last
	}
	if d := now.Sub(r.since); d > 0 {
		return float64(r.bytes) / d.Seconds()
	}
	return 0
}
