package cairn

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
	"github.com/cairn-ipfs/cairn/internal/exchange"
	"github.com/cairn-ipfs/cairn/internal/routing"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

// A ProvideStrategy says what a node announces by itself.
type ProvideStrategy string

const (
	// ProvideEntities announces the roots of aliases, and below them all files,
	// directories and shards of directories: what has a name, and not the
	// pieces that files consist of. Of other DAGs, each block.
	ProvideEntities ProvideStrategy = "entities"
	// ProvideRoots announces the roots of aliases.
	ProvideRoots ProvideStrategy = "roots"
	// ProvideAll announces every block that is here.
	ProvideAll ProvideStrategy = "all"
	// ProvideNone announces nothing by itself.
	ProvideNone ProvideStrategy = "none"
)

// ParseProvideStrategy reads a strategy by its name. Empty is ProvideEntities.
func ParseProvideStrategy(name string) (ProvideStrategy, error) {
	switch s := ProvideStrategy(name); s {
	case "":
		return ProvideEntities, nil
	case ProvideEntities, ProvideRoots, ProvideAll, ProvideNone:
		return s, nil
	}
	return "", fmt.Errorf("no strategy %q for what is announced; there are %q, %q, %q and %q",
		name, ProvideEntities, ProvideRoots, ProvideAll, ProvideNone)
}

// provideList lists what the node announces: what its strategy says, and what
// Provide was told.
func (n *Node) provideList() (routing.List, error) {
	strategy, err := ParseProvideStrategy(string(n.config.Providing))
	if err != nil {
		return nil, err
	}
	var own routing.List
	switch {
	case n.config.ProvideList != nil:
		own = n.config.ProvideList
	case strategy == ProvideEntities:
		own = n.entities
	case strategy == ProvideRoots:
		own = n.roots
	case strategy == ProvideAll:
		own = n.store.Blocks
	}
	return func(ctx context.Context) iter.Seq2[cid.Cid, error] {
		return func(yield func(cid.Cid, error) bool) {
			for c, err := range n.told(ctx) {
				if !yield(c, err) || err != nil {
					return
				}
			}
			if own == nil {
				return
			}
			for c, err := range own(ctx) {
				if !yield(c, err) || err != nil {
					return
				}
			}
		}
	}, nil
}

// provideSpace is the space of the store that remembers what Provide was told
// (toldKey and a multihash), and which roots of aliases were announced
// (doneKey and the alias, with the root's multihash).
const (
	provideSpace = "provide"
	toldKey      = "t"
	doneKey      = "d"
)

// told lists what Provide was told.
func (n *Node) told(ctx context.Context) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		for item, err := range n.store.Space(provideSpace).All(ctx, []byte(toldKey)) {
			if err != nil {
				yield(cid.Undef, err)
				return
			}
			if !yield(cid.NewCidV1(cid.Raw, multihash.Multihash(item.Key[len(toldKey):])), nil) {
				return
			}
		}
	}
}

// roots lists the roots of aliases.
func (n *Node) roots(ctx context.Context) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		for a, err := range n.store.Aliases(ctx, "") {
			if err == nil && isUnfinished(a.Name) {
				continue
			}
			if !yield(a.Root, err) {
				return
			}
		}
	}
}

// isUnfinished tells whether an alias is that of a DAG which is still coming.
func isUnfinished(alias string) bool { return strings.HasPrefix(alias, exchange.SyncPrefix) }

// Provide announces c now, and keeps it announced until Unprovide; also when
// the node is opened again. An error means that nobody took it yet, though it
// will be tried again; ErrNoRouting and ErrOffline, that it won't be.
func (n *Node) Provide(ctx context.Context, c cid.Cid) error {
	if err := block.CheckCID(c); err != nil {
		return fmt.Errorf("provide: %w", err)
	}
	net, err := n.online(ctx)
	if err != nil {
		return fmt.Errorf("provide %s: %w", c, err)
	}
	if !net.announces {
		return fmt.Errorf("provide %s: %w", c, ErrNoRouting)
	}
	if err := n.store.Space(provideSpace).Set(ctx, []byte(toldKey+string(c.Hash())), nil); err != nil {
		return fmt.Errorf("provide %s: %w", c, err)
	}
	return net.routing.Provide(ctx, c)
}

// Unprovide ends announcing c, unless the strategy has it announced again.
// Others forget it within 48 hours.
func (n *Node) Unprovide(ctx context.Context, c cid.Cid) error {
	net, err := n.online(ctx)
	if err != nil {
		return fmt.Errorf("unprovide %s: %w", c, err)
	}
	if err := n.store.Space(provideSpace).Unset(ctx, []byte(toldKey+string(c.Hash()))); err != nil {
		return fmt.Errorf("unprovide %s: %w", c, err)
	}
	return net.routing.Unprovide(ctx, c)
}

// ProvideStats are how announcing goes, in the internet's DHT if there is one.
type ProvideStats struct {
	// Strategy is empty if the node has a list of its own.
	Strategy ProvideStrategy
	// Records is how many CIDs are kept announced. -1: not known just now.
	Records int64
	// Online tells whether peers of the DHT can be reached.
	Online bool
	// Pending are CIDs that are to be announced at once, Late the regions of the
	// DHT whose turn has passed.
	Pending, Late int64
	// Regions is into how many parts of the DHT the CIDs fall: each is one
	// visit. Visited is how many had theirs within the last interval.
	Regions, Visited int64
	// SweepBegan is when the sweep under way began, Next when the next region
	// is due. Zero: nothing is due.
	SweepBegan, Next time.Time
	// SweepTakes is how long a whole sweep takes, going by what was visited
	// within the last interval. Zero: not known.
	SweepTakes time.Duration
	// Interval is how long it may take, 22 hours, and Fits tells whether it
	// does. While SweepTakes is not known, it's false, unless there's nothing
	// to announce.
	Interval time.Duration
	Fits     bool
	// Announced and Failed count CIDs since the network started.
	Announced, Failed int64
}

// ProvideStats says how announcing goes. Errors: ErrNoRouting, ErrOffline.
func (n *Node) ProvideStats(ctx context.Context) (ProvideStats, error) {
	net, err := n.online(ctx)
	if err != nil {
		return ProvideStats{}, err
	}
	s, err := net.routing.Stats(ctx)
	if err != nil {
		return ProvideStats{}, err
	}
	out := ProvideStats{
		Records: s.Records, Online: s.Online, Pending: s.Pending, Late: s.Late, Regions: s.Regions, Visited: s.Visited,
		SweepBegan: s.SweepBegan, Next: s.Next, SweepTakes: s.SweepTakes, Interval: s.Interval, Fits: s.Fits,
		Announced: s.Announced, Failed: s.Failed,
	}
	if n.config.ProvideList == nil {
		out.Strategy, err = ParseProvideStrategy(string(n.config.Providing))
	}
	return out, err
}

const (
	// announceAgain and announceSeldom bound the pause after nobody could be
	// told: it doubles each time.
	announceAgain  = time.Second
	announceSeldom = 10 * time.Minute
	// maxAnnounced is how many new roots are announced one by one, and waited
	// for; where there are more, the sweep takes them.
	maxAnnounced = 64
	// maxChanged is how many changed aliases are remembered; beyond it, all are
	// looked at.
	maxChanged = 1024
)

// An announcer announces the roots of new aliases soon after they are set. What
// was announced is noted by alias, so that what happens while the network is
// down, or just before a crash, is made up for.
type announcer struct {
	node   *Node
	router *routing.Router
	log    *slog.Logger
	wake   chan struct{}

	mu      sync.Mutex      // guards the following
	changed map[string]bool // names of aliases
	rescan  bool            // all aliases may have changed
	fetched []cid.Cid       // roots that came as a cache
}

// startAnnouncing starts the announcer, if there's something for it to do.
func (n *Node) startAnnouncing(ctx context.Context, net *online) {
	if !net.announces || len(n.config.Listen) == 0 || n.config.Providing == ProvideNone || n.config.ProvideList != nil {
		return
	}
	a := &announcer{
		node: n, router: net.routing, log: net.log, wake: make(chan struct{}, 1), changed: make(map[string]bool), rescan: true,
	}
	net.announcer = a
	events := n.store.Events(ctx)
	net.running.Go(func() {
		for e := range events {
			if e.Lost > 0 || (e.Kind == store.EventAlias || e.Kind == store.EventUnalias) && !isUnfinished(e.Name) {
				a.note(func() { a.add(e.Name, e.Lost > 0) })
			}
		}
	})
	a.note(func() {})
	net.running.Go(func() { a.run(ctx) })
}

// note takes note of work to do.
func (a *announcer) note(what func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	what()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// add notes that an alias changed. It's called with mu held.
func (a *announcer) add(name string, rescan bool) {
	if a.rescan = a.rescan || rescan || len(a.changed) == maxChanged; a.rescan {
		clear(a.changed)
		return
	}
	a.changed[name] = true
}

// cameAsCache has a root announced that no alias stands for.
func (a *announcer) cameAsCache(root cid.Cid) {
	a.note(func() {
		if len(a.fetched) < maxAnnounced {
			a.fetched = append(a.fetched, root)
		}
	})
}

func (a *announcer) run(ctx context.Context) {
	pause := announceAgain
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		}
		err := a.announce(ctx)
		if err == nil {
			pause = announceAgain
			continue
		}
		if ctx.Err() != nil {
			return
		}
		a.log.Debug("announcing new roots", "error", err, "again", pause)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		pause = min(2*pause, announceSeldom)
		a.note(func() {})
	}
}

// announce announces what there is to announce. What fails is there to be tried
// again.
func (a *announcer) announce(ctx context.Context) (err error) {
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
		for name := range changed {
			a.add(name, rescan)
		}
		a.rescan = a.rescan || rescan
	}()
	for len(fetched) > 0 {
		if err := a.router.Provide(ctx, fetched[0]); err != nil {
			return err
		}
		fetched = fetched[1:]
	}
	var fresh []store.Alias
	if rescan {
		fresh, err = a.scan(ctx)
	}
	for name := range changed {
		if err == nil {
			fresh, err = a.check(ctx, fresh, name)
		}
	}
	if err != nil {
		return err
	}
	if len(fresh) > maxAnnounced {
		return a.addBelow(ctx, fresh)
	}
	for i, alias := range fresh {
		if err := a.router.Provide(ctx, alias.Root); err != nil {
			return err
		}
		if err := a.addBelow(ctx, fresh[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

// scan returns the aliases that weren't announced as they are, and forgets the
// notes of those that are gone.
func (a *announcer) scan(ctx context.Context) (fresh []store.Alias, err error) {
	done := a.node.store.Space(provideSpace)
	for item, err := range done.All(ctx, []byte(doneKey)) {
		if err == nil {
			fresh, err = a.check(ctx, fresh, string(item.Key[len(doneKey):]))
		}
		if err != nil {
			return nil, err
		}
	}
	for alias, err := range a.node.store.Aliases(ctx, "") {
		if err != nil {
			return nil, err
		}
		_, known, err := done.Get(ctx, []byte(doneKey+alias.Name))
		if err != nil {
			return nil, err
		}
		if !known && !isUnfinished(alias.Name) {
			fresh = append(fresh, alias)
		}
	}
	return fresh, nil
}

// check adds an alias to the fresh ones, if it isn't noted as it is, and forgets
// the note if it's gone.
func (a *announcer) check(ctx context.Context, fresh []store.Alias, name string) ([]store.Alias, error) {
	done, key := a.node.store.Space(provideSpace), []byte(doneKey+name)
	root, known, err := done.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	alias, err := a.node.store.Resolve(ctx, name)
	switch {
	case errors.Is(err, store.ErrNoAlias) && known:
		return fresh, done.Unset(ctx, key)
	case errors.Is(err, store.ErrNoAlias):
		return fresh, nil
	case err != nil:
		return nil, err
	case string(root) != string(alias.Root.Hash()):
		fresh = append(fresh, alias)
	}
	return fresh, nil
}

// addBelow leaves the roots of aliases, and what lies below them, to the sweep,
// to be announced soon, and notes that they were announced.
func (a *announcer) addBelow(ctx context.Context, fresh []store.Alias) error {
	roots := make([]cid.Cid, len(fresh))
	for i, alias := range fresh {
		roots[i] = alias.Root
	}
	err := a.router.Add(ctx, func(ctx context.Context) iter.Seq2[cid.Cid, error] {
		switch a.node.config.Providing {
		case ProvideRoots:
			return func(yield func(cid.Cid, error) bool) {
				for _, root := range roots {
					if !yield(root, nil) {
						return
					}
				}
			}
		case ProvideAll:
			return a.node.blocksOf(ctx, roots)
		}
		return a.node.entitiesOf(ctx, roots)
	})
	if err != nil {
		return err
	}
	b := a.node.store.Batch()
	for _, alias := range fresh {
		b.Set(provideSpace, []byte(doneKey+alias.Name), alias.Root.Hash())
	}
	return b.Commit(ctx)
}
