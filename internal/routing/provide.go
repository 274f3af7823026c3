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

// A List lists what is to be announced, in any order, some of it more than once
// if need be. After an error it ends.
type List func(ctx context.Context) iter.Seq2[cid.Cid, error]

// Providing says what is announced, and how often.
type Providing struct {
	// List is what is announced besides what Provide is told. nil: nothing.
	List List
	// Interval is how often everything is announced again. 0: 22 hours, as
	// records are kept for 48.
	Interval time.Duration
}

func (p Providing) interval() time.Duration {
	if p.Interval <= 0 {
		return amino.DefaultReprovideInterval
	}
	return p.Interval
}

const (
	// sweepWorkers announce regions of the DHT; sweepPeriodic and sweepBurst
	// are how many of them are for the schedule and for what is new.
	sweepWorkers  = 4
	sweepPeriodic = 2
	sweepBurst    = 1

	// refreshBatch is how many CIDs of a list are looked up at once in the
	// keystore. refreshBurst is how many new ones are to be announced at a time
	// without waiting for their turn: they wait in memory, 100 bytes each.
	refreshBatch = 1 << 10
	refreshBurst = 1 << 16

	// offlineAfter is when a sweep forgets what it was to announce at once, and
	// takes no more of it without a word, as it has no network: never. What it
	// forgot is in the keystore, so nobody would have it announced before its
	// region's turn.
	offlineAfter = math.MaxInt64
)

// An announcer keeps what is announced, and announces it.
type announcer struct {
	keys   *keystore.ResettableKeystore
	sweeps []*provider.SweepingProvider // the internet's first
	list   List
	turn   chan struct{} // held while the keystore is refreshed, or a key is taken from it
}

func newAnnouncer(c *Config, tables []*table) (_ *announcer, err error) {
	a := &announcer{list: c.Providing.List, turn: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("routing: start announcing: %w", err), a.close())
		}
	}()
	if a.keys, err = keystore.NewResettableKeystore(newDatastore(c.Datastore, "keys")); err != nil {
		return a, err
	}
	for _, t := range tables {
		sweep, err := provider.New(
			provider.WithHost(c.Host),
			provider.WithKeystore(a.keys),
			provider.WithDatastore(newDatastore(c.Datastore, "sweep/"+t.source)),
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

// close ends announcing. What was being read meanwhile says that it was
// interrupted, which is no failure.
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
// Refresh that doesn't list it. What is to be announced is durable when it
// returns; an error from then on means that no DHT took it yet, and the sweep
// will try again.
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
	var runs []run[struct{}]
	for _, t := range r.tables {
		runs = append(runs, run[struct{}]{t.source, func(ctx context.Context, _ func(struct{}) bool) error {
			return t.provide(ctx, c)
		}})
	}
	return r.all(ctx, what, runs)
}

// Unprovide ends announcing c. Peers forget it within 48 hours.
func (r *Router) Unprovide(ctx context.Context, c cid.Cid) error {
	if r.announcer == nil {
		return nil
	}
	if !r.hold() {
		return fmt.Errorf("routing: unprovide %s: %w", c, ErrClosed)
	}
	defer r.running.Done()
	// A Refresh that is under way would bring it back.
	select {
	case r.announcer.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("routing: unprovide %s: %w", c, ctx.Err())
	}
	err := r.announcer.keys.Delete(ctx, c.Hash())
	<-r.announcer.turn
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

// Refresh makes the list of the Config what is announced: what is new there is
// announced soon, what is not there any more is not. If the list ends with an
// error, nothing is taken away.
func (r *Router) Refresh(ctx context.Context) error {
	a := r.announcer
	if a == nil || a.list == nil {
		return nil
	}
	return r.during(ctx, "refresh what is announced", func(ctx context.Context) error {
		select {
		case a.turn <- struct{}{}:
			defer func() { <-a.turn }()
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

// Add announces soon what the list has and what is not announced yet, until a
// Refresh that doesn't list it.
func (r *Router) Add(ctx context.Context, list List) error {
	const what = "add to what is announced"
	if r.announcer == nil {
		return fmt.Errorf("routing: %s: %w", what, ErrNoSource)
	}
	return r.during(ctx, what, func(ctx context.Context) error { return r.announcer.addNew(ctx, list) })
}

// during does something that ends with the router, too.
func (r *Router) during(ctx context.Context, what string, do func(context.Context) error) error {
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

// addNew adds what the list has and the keystore doesn't, and has it announced.
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

// reset leaves in the keystore what the list has, and what is added meanwhile.
func (a *announcer) reset(ctx context.Context) error {
	// The keystore's worker hangs for good if a reset is cancelled before it
	// has begun, that is before it takes the first key. So it has a context of
	// its own.
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
	// A list that is cut short must not take anything away: keys stays open, and
	// the reset ends with its context.
	abort := func(err error) error {
		if !begun {
			if ended, rerr := send(nothing); ended {
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

// nothing is the CID of no bytes at all.
var nothing = cid.NewCidV1(cid.Raw, multihash.Multihash{multihash.IDENTITY, 0})

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// refreshNowAndThen refreshes at the start and once in each interval.
func (r *Router) refreshNowAndThen() {
	ticker := time.NewTicker(r.config.Providing.interval())
	defer ticker.Stop()
	for {
		if err := r.Refresh(r.ctx); err != nil && r.ctx.Err() == nil {
			r.log.Warn("routing: what is announced is not up to date", "err", err)
		}
		select {
		case <-r.ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Stats are how announcing goes.
type Stats struct {
	// Records is how many CIDs are kept announced. -1: not known just now.
	Records int64
	// Online tells whether peers of the DHT can be reached.
	Online bool
	// Pending are CIDs that are to be announced at once, and Late the regions
	// whose turn has passed.
	Pending, Late int64
	// Regions is into how many parts of the DHT the CIDs fall: each is one
	// visit. Visited is how many had theirs within the last interval.
	Regions, Visited int64
	// SweepBegan is when the sweep under way began, and Next when the next
	// region is due. Zero: nothing is due.
	SweepBegan, Next time.Time
	// SweepTakes is how long a whole sweep takes, going by the regions visited
	// within the last interval. 0: there were none yet.
	SweepTakes time.Duration
	// Interval is how long it may take, and Fits tells whether that is enough.
	// It is not known while SweepTakes is 0, and false then, except if there's
	// nothing to announce.
	Interval time.Duration
	Fits     bool
	// Announced and Failed count CIDs since the start.
	Announced, Failed int64
}

// Stats says how announcing goes, in the DHT of the internet if there is one.
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
		// The workers for what is new have no part in it.
		out.SweepTakes = each * time.Duration(out.Regions) / (sweepWorkers - sweepBurst)
	}
	out.Fits = out.Records == 0 || out.SweepTakes > 0 && out.SweepTakes <= out.Interval
	return out, nil
}
