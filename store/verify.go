package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/car"
	"github.com/cairn-ipfs/cairn/internal/pack"
	"github.com/ipfs/go-cid"
)

// VerifyOptions configure a verification. The index, its counts and queues, is
// always audited.
type VerifyOptions struct {
	// Data reads every block again and hashes it.
	Data bool `json:"data,omitempty"`
	// Repair corrects the index, and marks damaged blocks as lost, so that the
	// live ones are wanted.
	Repair bool `json:"repair,omitempty"`
	// Progress, if not nil, is called now and then with the bytes read and the
	// bytes to read.
	Progress func(done, total int64) `json:"-"`
}

// A Report is what a verification found.
type Report struct {
	Blocks int64 `json:"blocks"` // blocks that are here
	Bytes  int64 `json:"bytes"`  // bytes hashed
	// Damaged lists blocks whose bytes have gone bad, up to maxListed of them;
	// DamagedBlocks counts all.
	Damaged       []cid.Cid `json:"damaged"`
	DamagedBlocks int64     `json:"damagedBlocks"`
	// Wrong lists errors of the index, one sentence each, up to maxListed of
	// them; WrongFacts counts all.
	Wrong      []string `json:"wrong"`
	WrongFacts int64    `json:"wrongFacts"`
	Repaired   bool     `json:"repaired"`
}

// OK reports whether no damage and no error was found.
func (r *Report) OK() bool { return r.DamagedBlocks == 0 && r.WrongFacts == 0 }

// maxListed bounds what a Report lists.
const maxListed = 1000

func (r *Report) wrong(format string, args ...any) {
	r.WrongFacts++
	if len(r.Wrong) < maxListed {
		r.Wrong = append(r.Wrong, fmt.Sprintf(format, args...))
	}
}

func (r *Report) damaged(c cid.Cid) {
	r.DamagedBlocks++
	if len(r.Damaged) < maxListed {
		r.Damaged = append(r.Damaged, c)
	}
}

// Verify audits the index on a snapshot, in one sorted pass: it compares every
// count with the aliases, pins and stored links that it sums up, and the queues
// with the rows. With Data it also hashes every block. The store can be used
// meanwhile.
func (s *Store) Verify(ctx context.Context, o VerifyOptions) (*Report, error) {
	s.evicting.Lock()
	defer s.evicting.Unlock()
	rep := &Report{}
	if o.Data {
		if err := s.verifyData(ctx, o, rep); err != nil {
			return rep, fmt.Errorf("store: verify: %w", err)
		}
	}
	a := &audit{s: s, ctx: ctx, rep: rep}
	if err := a.run(); err != nil {
		return rep, fmt.Errorf("store: verify: %w", err)
	}
	if o.Repair && len(a.fixes) > 0 {
		if err := a.repair(); err != nil {
			return rep, fmt.Errorf("store: repair: %w", err)
		}
	}
	rep.Repaired = o.Repair && !rep.OK()
	return rep, nil
}

// verifyData hashes all blocks, pack by pack, then those in backings.
func (s *Store) verifyData(ctx context.Context, o VerifyOptions, rep *Report) error {
	packs, err := s.packsNow()
	if err != nil {
		return err
	}
	var done, total int64
	for _, v := range packs {
		total += v.liveBytes + v.cacheBytes
	}
	check := func(b checkResult) error {
		done += int64(b.loc.size + b.loc.head)
		rep.Bytes += int64(b.loc.size)
		if o.Progress != nil {
			o.Progress(done, max(done, total))
		}
		if b.err == nil {
			return nil
		}
		rep.damaged(b.cid)
		if !o.Repair {
			return nil
		}
		return s.do(&op{durable: true, frees: true, apply: func(c *committer) error { return c.markLost(string(b.cid.Hash()), b.loc) }})
	}
	for _, v := range packs {
		if err := s.checkPack(ctx, v, check); err != nil {
			return err
		}
	}
	return s.checkBackings(ctx, check)
}

func (s *Store) packsNow() (packs []packInfo, err error) {
	err = s.do(&op{durable: true, frees: true, apply: func(c *committer) error {
		for _, info := range c.infos {
			packs = append(packs, *info)
		}
		return nil
	}})
	slices.SortFunc(packs, func(a, b packInfo) int { return cmp.Compare(a.id, b.id) })
	return packs, err
}

// A checkResult is of a block that was read and hashed. If the block is damaged,
// err says how.
type checkResult struct {
	cid cid.Cid
	loc loc
	err error
}

// checkPack hashes the blocks of one pack and calls report for each. It returns
// errors of report and of the context, and temporary errors of reading.
func (s *Store) checkPack(ctx context.Context, v packInfo, report func(checkResult) error) error {
	if v.liveBlocks+v.cacheBlocks == 0 {
		return nil
	}
	entries, err := s.entries(ctx, v.id)
	if err != nil {
		if entries, err = s.rowsOf(ctx, v.id); err != nil {
			return err
		}
	}
	seen, err := s.checkEntries(ctx, v.id, entries, report)
	if err == nil && seen < v.liveBlocks+v.cacheBlocks {
		// The pack's own index is incomplete, or blocks were removed meanwhile.
		had := make(map[string]bool, len(entries))
		for _, e := range entries {
			had[string(e.Hash)] = true
		}
		if entries, err = s.rowsOf(ctx, v.id); err != nil {
			return err
		}
		entries = slices.DeleteFunc(entries, func(e car.IndexEntry) bool { return had[string(e.Hash)] })
		_, err = s.checkEntries(ctx, v.id, entries, report)
	}
	return err
}

func (s *Store) checkEntries(ctx context.Context, id pack.ID, entries []car.IndexEntry, report func(checkResult) error) (seen int64, err error) {
	slices.SortFunc(entries, func(a, b car.IndexEntry) int { return cmp.Compare(a.Offset, b.Offset) })
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return seen, err
		}
		r, err := s.lookup(string(e.Hash))
		if err != nil {
			return seen, err
		}
		if r.loc.kind != locPack || r.loc.pack != id || r.loc.off != int64(e.Offset) || len(r.refs) == 0 {
			continue
		}
		seen++
		if err := s.checkBlock(ctx, string(e.Hash), r, report); err != nil {
			return seen, err
		}
	}
	return seen, nil
}

// checkBlock hashes one block.
func (s *Store) checkBlock(ctx context.Context, mh string, r *row, report func(checkResult) error) error {
	c := node{mh, r.refs[0].codec}.cid()
	b, err := s.readAt(ctx, c, r.loc, nil)
	if err == nil {
		_, err = block.Verify(c, b.Data())
	}
	if errors.Is(err, pack.ErrGone) {
		if now, lerr := s.lookup(mh); lerr != nil || now.loc != r.loc {
			return lerr // it was moved, and read for that
		}
		err = fmt.Errorf("%w: its pack is missing", block.ErrDamaged)
	}
	if err != nil && !errors.Is(err, block.ErrDamaged) && !errors.Is(err, block.ErrHashMismatch) {
		if errors.Is(err, context.Canceled) || r.loc.kind == locBacking {
			return err
		}
		err = fmt.Errorf("%w: %w", block.ErrDamaged, err)
	}
	return report(checkResult{cid: c, loc: r.loc, err: err})
}

// checkBackings hashes the blocks in backings.
func (s *Store) checkBackings(ctx context.Context, report func(checkResult) error) error {
	if len(s.o.Backings) == 0 {
		return nil
	}
	snap, done, err := s.snapshot(ctx)
	if err != nil {
		return err
	}
	defer done()
	var cerr error
	err = scanRows(snap, "", func(mh string, r *row) bool {
		if cerr = ctx.Err(); cerr != nil {
			return false
		}
		if r.loc.kind == locBacking && len(r.refs) > 0 {
			cerr = s.checkBlock(ctx, mh, r, report)
		}
		return cerr == nil
	})
	return errors.Join(err, cerr)
}

// scrub hashes all blocks again and again, at Options.ScrubRate.
func (s *Store) scrub() {
	for {
		packs, err := s.packsNow()
		if s.ctx.Err() != nil || errors.Is(err, ErrClosed) || errors.Is(err, ErrFailed) {
			return
		}
		if err != nil {
			s.log.Warn("store: scrub", "error", err)
		}
		start := time.Now()
		var bytes int64
		pace := func(n int64) error {
			bytes += n
			due := time.Duration(float64(bytes) / float64(s.o.ScrubRate) * float64(time.Second))
			return s.wait(due - time.Since(start))
		}
		for _, v := range packs {
			err := s.checkPack(s.ctx, v, func(b checkResult) error {
				if b.err != nil {
					err := s.do(&op{durable: true, frees: true, apply: func(c *committer) error { return c.markLost(string(b.cid.Hash()), b.loc) }})
					if err != nil {
						return err
					}
				}
				return pace(int64(b.loc.size))
			})
			if s.ctx.Err() != nil || errors.Is(err, ErrClosed) {
				return
			}
			if err != nil {
				s.log.Warn("store: scrub", "pack", v.id.Name(), "error", err)
			}
		}
		// Rest, or a small store would be read without pause.
		if s.wait(scrubPause) != nil {
			return
		}
	}
}

// scrubPause is how long the scrubber rests when it has read everything.
const scrubPause = time.Minute

// wait waits, or returns an error when the store closes.
func (s *Store) wait(d time.Duration) error {
	if d <= 0 {
		return s.ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}
