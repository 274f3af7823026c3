// Package announce decides what a node announces as a provider, and announces new
// roots without waiting for the next sweep over all that is announced.
//
// The key type is [Announcer]. [Announcer.List] lists all that is to be announced:
// what [Announcer.Keep] recorded, and what a [Strategy] finds below the store's
// aliases. It is computed from the store each time, so there is no second list that
// could differ. The router reads it once for each sweep.
//
// [Announcer.Run] announces the roots of new aliases without waiting for the sweep.
// It records for each alias the root that was announced. An alias without a current
// record has a root to announce, also after a crash, or time without a network.
//
// The rows lie in a space of the store:
//
//	t <multihash>   recorded by Keep
//	d <alias>       the multihash of the root that was announced
//
// An Announcer is safe for concurrent use. Its only goroutines are those of Run,
// which waits for them. It neither schedules sweeps nor talks to peers: package
// routing does.
package announce

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/routing"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// space is the space of the store that holds the rows; keptKey and announcedKey
// begin their keys.
const (
	space        = "provide"
	keptKey      = "t"
	announcedKey = "d"
)

const (
	// minPause and maxPause bound the pause after a failure: it doubles each time.
	minPause = time.Second
	maxPause = 10 * time.Minute
	// maxRoots is how many new roots are announced one by one, each awaited. More
	// are left to the sweep.
	maxRoots = 64
	// maxChanged is how many changed aliases are remembered. Beyond it all aliases
	// are compared.
	maxChanged = 1024
)

// A Strategy says what is announced below aliases.
type Strategy string

// The strategies.
const (
	Entities Strategy = "entities" // roots, files, directories and shards; of other DAGs all blocks
	Roots    Strategy = "roots"    // roots of aliases
	All      Strategy = "all"      // all blocks
	None     Strategy = "none"     // nothing
)

// ParseStrategy returns the strategy of that name. Empty is Entities.
func ParseStrategy(name string) (Strategy, error) {
	switch s := Strategy(name); s {
	case "":
		return Entities, nil
	case Entities, Roots, All, None:
		return s, nil
	}
	return "", fmt.Errorf("no strategy %q for what is announced; there are %q, %q, %q and %q", name, Entities, Roots, All, None)
}

// A Router announces, as a [routing.Router] does.
type Router interface {
	// Provide announces c now.
	Provide(ctx context.Context, c cid.Cid) error
	// Add announces a list soon, without waiting for it.
	Add(ctx context.Context, list routing.List) error
}

var _ Router = (*routing.Router)(nil)

// A Config says what is announced. Store has to be set.
type Config struct {
	Store *store.Store
	// Strategy is for what lies below aliases. Empty: Entities.
	Strategy Strategy
	// Own, if not nil, is listed in place of what the strategy finds.
	Own routing.List
	// SkipPrefix begins the names of aliases that are not announced: those of DAGs
	// that are still incomplete. Empty: none.
	SkipPrefix string
	// Logger may be nil.
	Logger *slog.Logger
}

// An Announcer lists what is to be announced, and announces new roots. Make one
// with New.
type Announcer struct {
	store      *store.Store
	strategy   Strategy
	own        routing.List
	skipPrefix string
	log        *slog.Logger
	wake       chan struct{}

	mu      sync.Mutex      // guards the following
	changed map[string]bool // names of aliases
	rescan  bool            // any alias may have changed
	fetched []cid.Cid       // roots without an alias
}

// New returns an announcer. Errors: a strategy that does not exist.
func New(c Config) (*Announcer, error) {
	strategy, err := ParseStrategy(string(c.Strategy))
	if err != nil {
		return nil, err
	}
	log := c.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Announcer{
		store: c.Store, strategy: strategy, own: c.Own, skipPrefix: c.SkipPrefix, log: log,
		wake: make(chan struct{}, 1), changed: make(map[string]bool), rescan: true,
	}, nil
}

// Keep records that c is to be announced until Drop, also after a restart.
func (a *Announcer) Keep(ctx context.Context, c cid.Cid) error {
	return a.store.Space(space).Set(ctx, []byte(keptKey+string(c.Hash())), nil)
}

// Drop removes what Keep recorded of c.
func (a *Announcer) Drop(ctx context.Context, c cid.Cid) error {
	return a.store.Space(space).Unset(ctx, []byte(keptKey+string(c.Hash())))
}

// Fetched has Run announce a root once that no alias keeps. The sweep does not
// repeat it.
func (a *Announcer) Fetched(root cid.Cid) {
	a.wakeAfter(func() {
		if len(a.fetched) < maxRoots {
			a.fetched = append(a.fetched, root)
		}
	})
}

// Run announces the roots of new aliases, and what lies below them, until ctx
// ends. What fails is tried again. With Config.Own or the strategy None it only
// waits for ctx.
func (a *Announcer) Run(ctx context.Context, r Router) {
	if a.own != nil || a.strategy == None {
		<-ctx.Done()
		return
	}
	var running sync.WaitGroup
	defer running.Wait()
	events := a.store.Events(ctx)
	running.Go(func() {
		for e, err := range events {
			if err != nil {
				return
			}
			if e.Lost > 0 || (e.Kind == store.EventAlias || e.Kind == store.EventUnalias) && !a.skips(e.Name) {
				a.wakeAfter(func() { a.addChanged(e.Name, e.Lost > 0) })
			}
		}
	})
	a.wakeAfter(func() {})
	pause := minPause
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		}
		err := a.announce(ctx, r)
		if err == nil {
			pause = minPause
			continue
		}
		if ctx.Err() != nil {
			return
		}
		a.log.Debug("announcing new roots", "error", err, "retry", pause)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		pause = min(2*pause, maxPause)
		a.wakeAfter(func() {})
	}
}

// wakeAfter calls f with mu held, and then wakes Run.
func (a *Announcer) wakeAfter(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// addChanged records that an alias changed. The caller holds mu.
func (a *Announcer) addChanged(name string, rescan bool) {
	if a.rescan = a.rescan || rescan || len(a.changed) == maxChanged; a.rescan {
		clear(a.changed)
		return
	}
	a.changed[name] = true
}

// skips reports whether an alias is not announced.
func (a *Announcer) skips(alias string) bool {
	return a.skipPrefix != "" && strings.HasPrefix(alias, a.skipPrefix)
}

// announce announces all that is due. After an error the rest is still due.
func (a *Announcer) announce(ctx context.Context, r Router) (err error) {
	a.mu.Lock()
	fetched, changed, rescan := a.fetched, a.changed, a.rescan
	a.fetched, a.changed, a.rescan = nil, make(map[string]bool), false
	a.mu.Unlock()
	defer func() {
		if err == nil {
			return
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.fetched = append(fetched, a.fetched...)
		a.fetched = a.fetched[:min(len(a.fetched), maxRoots)] // Fetched may have added some
		for name := range changed {
			a.addChanged(name, rescan)
		}
		a.rescan = a.rescan || rescan
	}()
	for len(fetched) > 0 {
		if err := r.Provide(ctx, fetched[0]); err != nil {
			return err
		}
		fetched = fetched[1:]
	}
	var due []store.Alias
	if rescan {
		due, err = a.scan(ctx)
	}
	for name := range changed {
		if err == nil {
			due, err = a.appendIfDue(ctx, due, name)
		}
	}
	if err != nil {
		return err
	}
	if len(due) > maxRoots {
		return a.addBelow(ctx, r, due)
	}
	for i, alias := range due {
		if err := r.Provide(ctx, alias.Root); err != nil {
			return err
		}
		if err := a.addBelow(ctx, r, due[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

// scan returns all aliases whose root is to be announced, and removes the records
// of aliases that are gone.
func (a *Announcer) scan(ctx context.Context) (due []store.Alias, err error) {
	rows := a.store.Space(space)
	for item, err := range rows.All(ctx, []byte(announcedKey)) {
		if err == nil {
			due, err = a.appendIfDue(ctx, due, string(item.Key[len(announcedKey):]))
		}
		if err != nil {
			return nil, err
		}
	}
	for alias, err := range a.store.Aliases(ctx, "") {
		if err != nil {
			return nil, err
		}
		_, recorded, err := rows.Get(ctx, []byte(announcedKey+alias.Name))
		if err != nil {
			return nil, err
		}
		if !recorded && !a.skips(alias.Name) {
			due = append(due, alias)
		}
	}
	return due, nil
}

// appendIfDue appends an alias if the root recorded for it is another. It removes
// the record if the alias is gone.
func (a *Announcer) appendIfDue(ctx context.Context, due []store.Alias, name string) ([]store.Alias, error) {
	rows, key := a.store.Space(space), []byte(announcedKey+name)
	root, recorded, err := rows.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	alias, err := a.store.GetAlias(ctx, name)
	switch {
	case errors.Is(err, store.ErrNoAlias) && recorded:
		return due, rows.Unset(ctx, key)
	case errors.Is(err, store.ErrNoAlias):
		return due, nil
	case err != nil:
		return nil, err
	case string(root) != string(alias.Root.Hash()):
		due = append(due, alias)
	}
	return due, nil
}

// addBelow gives the router the roots of aliases and what lies below them, to be
// announced soon, and records that.
func (a *Announcer) addBelow(ctx context.Context, r Router, due []store.Alias) error {
	roots := make([]cid.Cid, len(due))
	for i, alias := range due {
		roots[i] = alias.Root
	}
	err := r.Add(ctx, func(ctx context.Context) iter.Seq2[cid.Cid, error] {
		switch a.strategy {
		case Roots:
			return all(roots)
		case All:
			return a.blocksBelow(ctx, roots)
		}
		return a.entitiesBelow(ctx, roots)
	})
	if errors.Is(err, block.ErrTooLarge) {
		// Trying again would not help: the DAG stays as large.
		a.log.Warn("announcing what lies below a root: stopped at the limit", "error", err)
		err = nil
	}
	if err != nil {
		return err
	}
	b := a.store.Batch()
	for _, alias := range due {
		b.Set(space, []byte(announcedKey+alias.Name), alias.Root.Hash())
	}
	return b.Commit(ctx)
}
