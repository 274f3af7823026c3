package cairn

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/routing"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

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
		for e, err := range events {
			if err != nil {
				return
			}
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
		a.fetched = a.fetched[:min(len(a.fetched), maxAnnounced)] // some came meanwhile
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
	if errors.Is(err, block.ErrTooLarge) {
		// Another time it would be no smaller; what came before the bound is told.
		a.log.Warn("announcing what lies below a root: not all of it", "error", err)
		err = nil
	}
	if err != nil {
		return err
	}
	b := a.node.store.Batch()
	for _, alias := range fresh {
		b.Set(provideSpace, []byte(doneKey+alias.Name), alias.Root.Hash())
	}
	return b.Commit(ctx)
}
