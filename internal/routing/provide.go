package routing

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p-kad-dht/amino"
	"github.com/libp2p/go-libp2p-kad-dht/provider"
	"github.com/libp2p/go-libp2p-kad-dht/provider/keystore"
	"github.com/multiformats/go-multihash"
)

// A List yields the CIDs to announce, in any order; duplicates are allowed. An
// error is the last value yielded.
type List func(ctx context.Context) iter.Seq2[cid.Cid, error]

// Providing configures which CIDs are announced, and how often.
type Providing struct {
	// List yields the CIDs to announce besides those given to Provide. nil: none.
	List List
	// Interval is the time between two announcements of a CID. 0: 22 hours, since
	// peers keep records for 48.
	Interval time.Duration
}

func (p Providing) interval() time.Duration {
	if p.Interval <= 0 {
		return amino.DefaultReprovideInterval
	}
	return p.Interval
}

const (
	// sweepWorkers announce regions of the DHT. sweepPeriodic of them serve the
	// schedule only, sweepBurst of them new CIDs only.
	sweepWorkers  = 4
	sweepPeriodic = 2
	sweepBurst    = 1

	// refreshBatch is the number of CIDs of a list that are looked up in the
	// keystore at once. refreshBurst bounds the new ones that are announced ahead
	// of schedule: they wait in memory, 100 bytes each.
	refreshBatch = 1 << 10
	refreshBurst = 1 << 16

	// offlineAfter is the time without a network after which a sweep drops its
	// queue of new CIDs, and silently accepts no more: never. The keystore would
	// still have them, but nothing would announce them before their region's turn.
	offlineAfter = math.MaxInt64
)

// An announcer stores the CIDs to announce, and announces them.
type announcer struct {
	keys   *keystore.ResettableKeystore
	sweeps []*provider.SweepingProvider // that of the internet first
	list   List
	lock   chan struct{} // one slot: held to refresh the keystore, or to remove a key from it
}

func newAnnouncer(c *Config, tables []*table) (_ *announcer, err error) {
	a := &announcer{list: c.Providing.List, lock: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("routing: start announcing: %w", err), a.close())
		}
	}()
	if a.keys, err = keystore.NewResettableKeystore(newDatastore(c.State, "keys")); err != nil {
		return a, err
	}
	for _, t := range tables {
		sweep, err := provider.New(
			provider.WithHost(c.Host),
			provider.WithKeystore(a.keys),
			provider.WithDatastore(newDatastore(c.State, "sweep/"+t.source)),
			provider.WithRouter(t),
			provider.WithMessageSender(t.dht.MessageSender()),
			provider.WithSelfAddrs(t.dht.FilteredAddrs),
			provider.WithAddLocalRecord(func(h multihash.Multihash) error {
				return t.dht.Provide(context.Background(), cid.NewCidV1(cid.Raw, h), false)
			}),
			provider.WithReprovideInterval(c.Providing.interval()),
			provider.WithOfflineDelay(offlineAfter),
			provider.WithMaxWorkers(sweepWorkers),
			provider.WithDedicatedPeriodicWorkers(sweepPeriodic),
			provider.WithDedicatedBurstWorkers(sweepBurst),
			provider.WithDhtType(t.source))
		if err != nil {
			return a, err
		}
		a.sweeps = append(a.sweeps, sweep)
	}
	return a, nil
}

// close ends announcing. It ignores errors of reads that it interrupts.
func (a *announcer) close() error {
	var errs []error
	for _, s := range a.sweeps {
		errs = append(errs, ignoreCanceled(s.Close()))
	}
	if a.keys != nil {
		errs = append(errs, ignoreCanceled(a.keys.Close()))
	}
	return errors.Join(errs...)
}

// Provide announces c now, and keeps it announced until Unprovide, or until a
// Refresh whose list lacks it. It stores c durably before it announces it: if
// every DHT fails, Provide returns an error, and the sweep tries again.
func (r *Router) Provide(ctx context.Context, c cid.Cid) error {
	what := "provide " + c.String()
	if !c.Defined() {
		return errors.New("routing: provide: no CID")
	}
	if r.announcer == nil {
		return fmt.Errorf("routing: %s: %w", what, ErrNoSource)
	}
	if !r.hold() {
		return fmt.Errorf("routing: %s: %w", what, ErrClosed)
	}
	defer r.running.Done()
	if _, err := r.announcer.keys.Put(ctx, c.Hash()); err != nil {
		return fmt.Errorf("routing: %s: %w", what, err)
	}
	for _, s := range r.announcer.sweeps {
		if err := s.AddToSchedule(c.Hash()); err != nil {
			return fmt.Errorf("routing: %s: %w", what, err)
		}
	}
	var tasks []task[struct{}]
	for _, t := range r.tables {
		tasks = append(tasks, task[struct{}]{t.source, func(ctx context.Context, _ func(struct{}) bool) error {
			return t.provide(ctx, c)
		}})
	}
	return r.runAll(ctx, what, tasks)
}

// Unprovide stops announcing c. Peers drop their records within 48 hours.
func (r *Router) Unprovide(ctx context.Context, c cid.Cid) error {
	if r.announcer == nil {
		return nil
	}
	if !r.hold() {
		return fmt.Errorf("routing: unprovide %s: %w", c, ErrClosed)
	}
	defer r.running.Done()
	// A Refresh in progress would add it again.
	select {
	case r.announcer.lock <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("routing: unprovide %s: %w", c, ctx.Err())
	}
	err := r.announcer.keys.Delete(ctx, c.Hash())
	<-r.announcer.lock
	if err != nil {
		return fmt.Errorf("routing: unprovide %s: %w", c, err)
	}
	for _, s := range r.announcer.sweeps {
		if err := s.StopProviding(c.Hash()); err != nil {
			return fmt.Errorf("routing: unprovide %s: %w", c, err)
		}
	}
	return nil
}

// Refresh brings the keystore in line with the list of the Config: new CIDs are
// announced soon, CIDs that are no longer listed are not announced again. If the
// list ends with an error, none is removed.
func (r *Router) Refresh(ctx context.Context) error {
	a := r.announcer
	if a == nil || a.list == nil {
		return nil
	}
	return r.runUntilClose(ctx, "refresh the CIDs to announce", func(ctx context.Context) error {
		select {
		case a.lock <- struct{}{}:
			defer func() { <-a.lock }()
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := a.addNew(ctx, a.list); err != nil {
			return err
		}
		if err := a.reset(ctx); err != nil {
			return err
		}
		for _, s := range a.sweeps {
			if err := s.RefreshSchedule(); err != nil {
				return err
			}
		}
		return nil
	})
}

// Add announces the CIDs of the list that are not announced yet soon, and keeps
// them announced until a Refresh whose list lacks them.
func (r *Router) Add(ctx context.Context, list List) error {
	const what = "add CIDs to announce"
	if r.announcer == nil {
		return fmt.Errorf("routing: %s: %w", what, ErrNoSource)
	}
	return r.runUntilClose(ctx, what, func(ctx context.Context) error { return r.announcer.addNew(ctx, list) })
}

// runUntilClose runs do with a context that also ends when the router closes.
func (r *Router) runUntilClose(ctx context.Context, what string, do func(context.Context) error) error {
	if !r.hold() {
		return fmt.Errorf("routing: %s: %w", what, ErrClosed)
	}
	defer r.running.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)()
	if err := do(ctx); err != nil {
		return fmt.Errorf("routing: %s: %w", what, err)
	}
	return nil
}

// addNew adds the CIDs of the list that are new to the keystore, and queues them
// for announcing.
func (a *announcer) addNew(ctx context.Context, list List) error {
	waiting := make([]int64, len(a.sweeps))
	for i, s := range a.sweeps {
		stats, err := s.Stats(ctx)
		if err != nil {
			return err
		}
		waiting[i] = stats.Queues.PendingKeyProvides
	}
	flush := func(keys []multihash.Multihash) error {
		added, err := a.keys.Put(ctx, keys...)
		if err != nil {
			return err
		}
		for i, s := range a.sweeps {
			if waiting[i] < refreshBurst {
				err = errors.Join(err, s.ProvideOnce(added...))
			}
			waiting[i] += int64(len(added))
		}
		return err
	}
	var keys []multihash.Multihash
	for c, err := range list(ctx) {
		if err != nil {
			return err
		}
		if keys = append(keys, c.Hash()); len(keys) == refreshBatch {
			if err := flush(keys); err != nil {
				return err
			}
			keys = nil
		}
	}
	if len(keys) == 0 {
		return ctx.Err()
	}
	return flush(keys)
}

// reset removes all keys from the keystore but those of the list and those that
// are added meanwhile.
func (a *announcer) reset(ctx context.Context) error {
	// The keystore's worker hangs forever if a reset is cancelled before it takes
	// its first key. So the reset has a context of its own.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	keys := make(chan cid.Cid)
	done := make(chan error, 1)
	go func() {
		done <- a.keys.ResetCids(running, keys)
	}()
	send := func(c cid.Cid) (ended bool, err error) {
		select {
		case keys <- c:
			return false, nil
		case err := <-done:
			return true, err
		}
	}
	begun := false
	// A list that is cut short must not remove keys: the channel stays open, and
	// the reset ends with its context.
	abort := func(err error) error {
		if !begun {
			if ended, rerr := send(emptyCID); ended {
				return errors.Join(err, rerr)
			}
		}
		stop()
		return errors.Join(err, ignoreCanceled(<-done))
	}
	for c, err := range a.list(ctx) {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return abort(err)
		}
		if ended, err := send(c); ended {
			return err
		}
		begun = true
	}
	if err := ctx.Err(); err != nil {
		return abort(err)
	}
	close(keys)
	return <-done
}

// emptyCID is the identity CID of no bytes.
var emptyCID = cid.NewCidV1(cid.Raw, multihash.Multihash{multihash.IDENTITY, 0})

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// refreshPeriodically refreshes at the start and once in each interval.
func (r *Router) refreshPeriodically() {
	ticker := time.NewTicker(r.config.Providing.interval())
	defer ticker.Stop()
	for {
		if err := r.Refresh(r.ctx); err != nil && r.ctx.Err() == nil {
			r.log.Warn("routing: cannot refresh the CIDs to announce", "err", err)
		}
		select {
		case <-r.ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Stats describe the progress of announcing.
type Stats struct {
	// Records counts the CIDs that are kept announced. -1: not known just now.
	Records int64
	// Online reports whether peers of the DHT can be reached.
	Online bool
	// Pending counts the CIDs queued for announcing now, Late the regions whose
	// turn has passed.
	Pending, Late int64
	// Regions counts the parts of the DHT that the CIDs fall into: the sweep
	// visits each once. Visited counts those visited within the last interval.
	Regions, Visited int64
	// SweepBegan is when the current sweep began, Next when the next region is
	// due. Zero: nothing is due.
	SweepBegan, Next time.Time
	// SweepTakes estimates the time of a whole sweep from the regions visited
	// within the last interval. 0: none was visited yet.
	SweepTakes time.Duration
	// Interval is the time that a sweep may take. Fits reports whether a sweep
	// takes no longer. It is false while SweepTakes is 0, unless there is nothing
	// to announce.
	Interval time.Duration
	Fits     bool
	// Announced and Failed count CIDs since the start.
	Announced, Failed int64
}

// Stats returns the progress of announcing: in the DHT of the internet if there
// is one, else in that of the local network.
func (r *Router) Stats(ctx context.Context) (Stats, error) {
	if r.announcer == nil {
		return Stats{}, fmt.Errorf("routing: stats: %w", ErrNoSource)
	}
	s, err := r.announcer.sweeps[0].Stats(ctx)
	if err != nil {
		return Stats{}, fmt.Errorf("routing: stats: %w", err)
	}
	out := Stats{
		Records:    s.Schedule.Keys,
		Online:     s.Connectivity.Status == "online",
		Pending:    s.Queues.PendingKeyProvides,
		Late:       s.Queues.PendingRegionReprovides,
		Regions:    s.Schedule.Regions,
		Visited:    s.Operations.Past.RegionReprovidedLastCycle,
		SweepBegan: s.Timing.CycleStart,
		Next:       s.Schedule.NextReprovideAt,
		Interval:   r.config.Providing.interval(),
		Announced:  s.Operations.Past.KeysProvided,
		Failed:     s.Operations.Past.KeysFailed,
	}
	if out.Visited > 0 {
		each := s.Operations.Past.RegionReprovideDuration
		// The workers for new CIDs don't sweep.
		out.SweepTakes = each * time.Duration(out.Regions) / (sweepWorkers - sweepBurst)
	}
	out.Fits = out.Records == 0 || out.SweepTakes > 0 && out.SweepTakes <= out.Interval
	return out, nil
}
