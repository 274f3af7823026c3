package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/events"
	"github.com/cairn-ipfs/cairn/internal/pack"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/ipfs/go-cid"
)

// A Store holds blocks. Make one with Open; close it with Close.
type Store struct {
	o    Options
	fs   vfs.FS
	dir  string
	log  *slog.Logger
	lock io.Closer

	index  *index
	packs  *pack.Dir
	events *events.Hub[Event]

	ops            chan *op
	wake           chan struct{} // something was put; holds one
	heldWake       chan struct{} // a wanted block came; holds one
	evictWake      chan struct{} // the packs are over their target; holds one
	closing        chan struct{}
	committed      chan struct{} // the committer has ended
	unreportedLoss error         // the loss that no Flush returned; set before committed is closed
	closeOnce      sync.Once
	closeErr       error

	// readers counts the calls between begin and end; Close waits for them. A
	// lock would not do, for readers nest: an iteration may read in its body.
	readers atomic.Int64
	closed  atomic.Bool
	idle    chan struct{} // the last reader has ended; holds one

	bg      sync.Mutex // guards bgEnded, and wg against growing once it is set
	bgEnded bool
	wg      sync.WaitGroup // background goroutines
	ctx     context.Context
	cancel  context.CancelFunc

	mu sync.RWMutex // guards the following fields
	// fresh says where blocks lie that the index doesn't know, or knows at
	// another place.
	fresh         map[string]freshBlock
	incoming      []entry
	incomingBytes int
	generation    uint64     // counts how often incoming was taken
	room          *sync.Cond // on mu: incoming was taken, or the store closes

	protect protectedSet
	recency recencySet
	marking sync.Map     // of cid.Cid to chan struct{}: DAGs that markWholeSoon walks
	clock   atomic.Int64 // ticks with each read, to order packs by their last
	// failures counts the returns to the last flush.
	failures  atomic.Uint64
	lastCause atomic.Pointer[error] // of the last failure
	puts      atomic.Uint64         // blocks put; evictions rest while it grows
	pins      atomic.Uint64         // the id of the last temporary pin
	epoch     atomic.Uint64         // the committer's loss epoch
	full      atomic.Bool

	evicting sync.Mutex // held by Evict, Verify and Backup
	usageNow atomic.Pointer[usage]
}

// Open opens the repository at dir, or makes one if there is none. Without dir
// the store is in memory, and gone when it is closed. Errors: ErrLocked, with
// the name of the process that has it open; ErrFormat; ErrIndexLost, after
// which Rebuild helps.
func Open(ctx context.Context, dir string, o Options) (*Store, error) {
	s, err := open(ctx, dir, o)
	if err != nil {
		return nil, fmt.Errorf("store: open %s: %w", dir, err)
	}
	return s, nil
}

func open(ctx context.Context, dir string, o Options) (_ *Store, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	s := &Store{o: o, fs: o.fs, dir: dir, log: o.Logger}
	if s.fs == nil {
		s.fs = vfs.Default
		if dir == "" {
			s.fs = vfs.NewMem()
		}
	}
	if dir == "" {
		s.dir = "cairn"
	}
	r, err := openRepository(s.fs, s.dir, o.Program)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	s.dir = r.dir
	return s, s.start(r)
}

// start opens packs and index of a locked repository, and starts the store's
// goroutines.
func (s *Store) start(r *repository) (err error) {
	s.lock = r
	s.events = newHub()
	s.ops = make(chan *op)
	s.wake, s.heldWake, s.evictWake = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
	s.idle = make(chan struct{}, 1)
	s.closing, s.committed = make(chan struct{}), make(chan struct{})
	s.fresh = map[string]freshBlock{}
	s.room = sync.NewCond(&s.mu)
	s.protect.counts = map[uint64]int32{}
	for _, name := range []string{packsDir, indexDir} {
		if err = makeDir(s.fs, r.path(name)); err != nil {
			return err
		}
	}
	if s.packs, err = pack.OpenDir(s.fs, r.path(packsDir)); err != nil {
		return err
	}
	ids, err := s.packs.List()
	if err != nil {
		return err
	}
	fs := vfs.OnDiskFull(s.fs, func() { s.full.Store(true) })
	if s.index, err = openIndex(fs, r.path(indexDir), s.o, len(ids) == 0); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.index.close(false)
		}
	}()
	c := &committer{s: s, missing: map[pack.ID]bool{}, uncut: map[pack.ID]bool{}}
	if err = c.load(); err != nil {
		return err
	}
	if err = c.reconcilePacks(ids); err != nil {
		return err
	}
	if err = c.dropTempPins(); err != nil {
		return err
	}
	if err = c.relearn(); err != nil {
		return err
	}
	s.updateUsage(c.usage())
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.epoch.Store(c.meta.epoch)
	go c.run()
	s.wakeHeld() // a DAG may have become whole just before the last Close
	s.background(s.heldLoop)
	s.background(s.evictLoop)
	if s.o.ScrubRate > 0 {
		s.background(s.scrub)
	}
	return nil
}

// reconcilePacks compares the packs on disk with those that the index knows. A
// file that the index doesn't know was about to be removed, or was just made. A
// pack whose id the index never gave out means that the index is too old.
func (c *committer) reconcilePacks(ids []pack.ID) error {
	there := map[pack.ID]bool{}
	for _, id := range ids {
		there[id] = true
		if c.infos[id] != nil {
			continue
		}
		if id >= c.meta.nextPack {
			return fmt.Errorf("%w: there is pack %s, which it does not know", ErrIndexLost, id.Name())
		}
		c.s.packs.Remove(id)
	}
	latest := int64(0)
	for _, info := range c.infos {
		latest = max(latest, info.read)
		if !there[info.id] {
			c.missing[info.id] = true
		}
		if !there[info.id] && info.end > pack.Start {
			c.s.log.Error("store: a pack is missing; its blocks are lost unless they can be fetched again", "pack", info.id.Name())
		}
		size, err := c.s.packs.Size(info.id)
		if info.state == packOpen && (err != nil || size != info.end || size == pack.Start) {
			info.state = packTorn
			c.dirty[info.id] = true
		}
		if info.state == packTorn && err == nil && size > info.end {
			// What follows the mark was never acknowledged. A rebuild must
			// not take it for acknowledged data.
			if err := c.s.packs.Cut(info.id, info.end); err != nil {
				return err
			}
		}
	}
	c.s.clock.Store(latest)
	return nil
}

// Close ends all background work, makes durable what was put, and closes the
// repository. Temporary pins are gone. Close returns ErrBatchLost if blocks that
// were put are lost and no Flush has returned it. It waits for readers. It may
// be called again, and then returns the same.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		s.cancel()
		close(s.closing)
		s.mu.Lock()
		s.room.Broadcast()
		s.mu.Unlock()
		<-s.committed
		s.bg.Lock()
		s.bgEnded = true
		s.bg.Unlock()
		s.wg.Wait()
		if s.index.err() == nil {
			s.closed.Store(true)
			for s.readers.Load() > 0 {
				<-s.idle
			}
		}
		s.events.Close(ErrClosed)
		errs := []error{s.unreportedLoss}
		if s.index.err() != nil {
			errs = append(errs, s.index.err())
		}
		errs = append(errs, s.index.close(true), s.packs.Close(), s.lock.Close())
		if err := errors.Join(errs...); err != nil {
			s.closeErr = fmt.Errorf("store: close: %w", err)
		}
	})
	return s.closeErr
}

// begin starts a read, which end ends.
func (s *Store) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.readers.Add(1)
	if s.closed.Load() {
		s.end()
		return ErrClosed
	}
	return nil
}

func (s *Store) end() {
	if s.readers.Add(-1) == 0 && s.closed.Load() {
		signal(s.idle)
	}
}

// snapshot returns the index as it is now, until done is called.
func (s *Store) snapshot(ctx context.Context) (snap *pebble.Snapshot, done func(), err error) {
	if err := s.begin(ctx); err != nil {
		return nil, nil, err
	}
	snap = s.index.db.NewSnapshot()
	return snap, func() {
		s.index.drop(snap)
		s.end()
	}, nil
}

// background runs f in a goroutine that Close waits for. After Close it returns
// false and runs nothing.
func (s *Store) background(f func()) bool {
	s.bg.Lock()
	defer s.bg.Unlock()
	if s.bgEnded {
		return false
	}
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		f()
	}()
	return true
}

// do passes an op to the committer and waits for its end.
func (s *Store) do(o *op) error {
	o.done = make(chan error, 1)
	select {
	case s.ops <- o:
	case <-s.closing:
		return ErrClosed
	}
	select {
	case err := <-o.done:
		return err
	case <-s.committed:
	}
	select {
	case err := <-o.done:
		return err
	default:
		return ErrClosed
	}
}

// Put stores blocks as a cache: they can be read when it returns, and are kept
// while there is space, or for as long as something keeps them alive. To have
// them acknowledged, use a Batch, or Flush, which returns an error if the disk
// failed meanwhile. Put doesn't wait for the disk unless too many bytes wait to
// be written.
func (s *Store) Put(ctx context.Context, blocks ...block.Block) error {
	for _, b := range blocks {
		if block.IsIdentity(b.CID()) {
			continue
		}
		err := s.roomForCache()
		if err == nil {
			err = s.enqueue(ctx, entry{block: b})
		}
		if err != nil {
			return fmt.Errorf("store: put %s: %w", b.CID(), err)
		}
	}
	return nil
}

// roomForCache returns ErrDiskFull while the disk is known to be full.
func (s *Store) roomForCache() error {
	if !s.full.Load() {
		return nil
	}
	return s.diskFull()
}

// enqueue adds a block to those that wait to be appended. From then on it can be
// read, and the committer answers its entry's done.
func (s *Store) enqueue(ctx context.Context, e entry) error {
	if err := storable(e.block); err != nil {
		return err
	}
	if err := s.index.err(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.incomingBytes >= maxIncoming {
		stop := context.AfterFunc(ctx, func() {
			s.mu.Lock()
			s.room.Broadcast()
			s.mu.Unlock()
		})
		for s.incomingBytes >= maxIncoming && ctx.Err() == nil && !s.isClosing() {
			s.room.Wait()
		}
		stop()
	}
	if err := ctx.Err(); err != nil {
		s.mu.Unlock()
		return err
	}
	if s.isClosing() {
		s.mu.Unlock()
		return ErrClosed
	}
	mh := string(e.block.CID().Hash())
	if f, ok := s.fresh[mh]; !ok || f.loc.kind == locNone {
		s.fresh[mh] = s.inMemory(e)
	}
	s.incoming = append(s.incoming, e)
	s.incomingBytes += e.block.Size() + entryOverhead
	s.puts.Add(1)
	s.mu.Unlock()
	signal(s.wake)
	return nil
}

// inMemory returns what readers find of a block that waits to be appended. It is
// called with mu held.
func (s *Store) inMemory(e entry) freshBlock {
	return freshBlock{inMemory: true, generation: s.generation, block: e.block, borrowed: e.borrowed}
}

// storable returns an error for a block that can't be stored.
func storable(b block.Block) error {
	if !b.CID().Defined() {
		return fmt.Errorf("%w: the zero Block", block.ErrMalformed)
	}
	if b.CID().Prefix().Codec == codecRecord {
		return fmt.Errorf("%w: codec 0x%x is the store's own", block.ErrMalformed, codecRecord)
	}
	return nil
}

// entryOverhead is about the memory in bytes that a waiting block takes besides
// its data.
const entryOverhead = 256

func (s *Store) isClosing() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// takeIncoming takes all blocks that wait to be appended.
func (s *Store) takeIncoming() []entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries := s.incoming
	s.incoming, s.incomingBytes = nil, 0
	s.generation++
	s.room.Broadcast()
	return entries
}

// unpublish hides from readers what enqueue showed them.
func (s *Store) unpublish(entries []entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		mh := string(e.block.CID().Hash())
		if s.fresh[mh].inMemory {
			delete(s.fresh, mh)
		}
	}
}

// dropPublished forgets where published blocks lie: the index knows now.
func (s *Store) dropPublished() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for mh, f := range s.fresh {
		if !f.inMemory {
			delete(s.fresh, mh)
		}
	}
}

// resetFresh drops what was published, and all blocks in memory that are not in
// incoming: they are lost.
func (s *Store) resetFresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.fresh)
	for _, e := range s.incoming {
		s.fresh[string(e.block.CID().Hash())] = s.inMemory(e)
	}
}

// Flush makes durable all that was put before. If the disk has failed since the
// last Flush and blocks that were put are lost, it returns ErrBatchLost, once.
func (s *Store) Flush(ctx context.Context) error {
	err := s.flush(ctx, func(c *committer) error {
		return c.reportLoss()
	})
	if err != nil {
		return fmt.Errorf("store: flush: %w", err)
	}
	return nil
}

// flush makes everything durable, unless check returns an error.
func (s *Store) flush(ctx context.Context, check func(*committer) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.do(&op{check: check, apply: func(*committer) error { return nil }, durable: true, frees: true})
}

// setFailure records that the store went back to the last flush, for batches.
func (s *Store) setFailure(cause error) {
	s.lastCause.Store(&cause)
	s.failures.Add(1)
}

// failure returns why the store went back to the last flush.
func (s *Store) failure() error {
	if cause := s.lastCause.Load(); cause != nil {
		return *cause
	}
	return errors.New("the disk failed")
}

// Delete removes blocks from the store. If one of them is live, or protected by
// a Batch, it removes none and returns ErrLive. Deleting a block that isn't here
// is no error.
func (s *Store) Delete(ctx context.Context, cids ...cid.Cid) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("store: delete: %w", err)
	}
	err := s.delete(cids)
	for errors.Is(err, errBusy) {
		if err = s.settle(ctx, workExpand); err == nil {
			err = s.delete(cids)
		}
	}
	if err != nil {
		return fmt.Errorf("store: delete: %w", err)
	}
	return nil
}

// errBusy: which blocks are live is unknown until more links have been counted.
var errBusy = errors.New("links are being counted")

func (s *Store) delete(cids []cid.Cid) error {
	return s.do(&op{
		durable: true, frees: true,
		check: func(c *committer) error {
			if c.expanding() {
				return errBusy
			}
			for _, k := range cids {
				mh := string(k.Hash())
				r, err := c.row(mh)
				if err != nil {
					return err
				}
				if r.present() && (r.live() || !s.protect.doom(mh)) {
					return fmt.Errorf("%s: %w", k, ErrLive)
				}
			}
			return nil
		},
		apply: func(c *committer) error {
			for _, k := range cids {
				if block.IsIdentity(k) {
					continue
				}
				if err := c.change(string(k.Hash()), func(r *row) { r.loc = loc{} }); err != nil {
					return err
				}
			}
			return nil
		},
	})
}

// diskFull returns ErrDiskFull, with the figures, while there is less free space
// than the reserve.
func (s *Store) diskFull() error {
	if s.o.Reserve < 0 {
		return nil
	}
	du, err := s.fs.GetDiskUsage(s.dir)
	if err != nil {
		return nil // not every file system knows; a write would fail
	}
	if du.AvailBytes < uint64(s.o.Reserve) {
		s.full.Store(true)
		return fmt.Errorf("%w: %d bytes are free at %s, %d are kept in reserve", ErrDiskFull, du.AvailBytes, s.dir, s.o.Reserve)
	}
	s.full.Store(false)
	return nil
}

// Dir is the repository's folder; empty for a store in memory.
func (s *Store) Dir() string {
	if s.fs != vfs.Default {
		return ""
	}
	return s.dir
}
