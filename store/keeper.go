package store

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
)

// keepPause is how long the keeper waits after an error before it looks again.
const keepPause = 10 * time.Second

// keep watches over aliases that hold a former root: once the new one is
// whole, the former is let go.
func (s *Store) keep() {
	blockers := map[string]blocker{}
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.keeper:
		}
		if err := s.letGo(blockers); err != nil && s.ctx.Err() == nil {
			s.log.Warn("store: looking for what held aliases miss", "error", err)
			if errors.Is(err, ErrFailed) || s.wait(keepPause) != nil {
				return
			}
			s.keeperSoon() // nothing else may come to tell that it's time
		}
	}
}

func (s *Store) keeperSoon() { signal(s.keeper) }

// A blocker is a block that an alias, as it was then, misses.
type blocker struct {
	alias Alias
	n     node
}

// letGo lets go what aliases hold that have become whole. Blockers remembers
// for each alias one block that it misses, so that it's not walked again
// before that one has come, or the alias was changed.
func (s *Store) letGo(blockers map[string]blocker) error {
	snap, done, err := s.snapshot(s.ctx)
	if err != nil {
		return err
	}
	head := heldKey("")
	var names []string
	err = scan(snap, head, "", func(k, _ []byte) bool {
		names = append(names, string(k[len(head):]))
		return true
	})
	done()
	if err != nil {
		return err
	}
	maps.DeleteFunc(blockers, func(name string, _ blocker) bool { return !slices.Contains(names, name) })
	for _, name := range names {
		a, err := s.GetAlias(s.ctx, name)
		if errors.Is(err, ErrNoAlias) {
			continue
		}
		if err != nil {
			return err
		}
		if b, ok := blockers[name]; ok && b.alias.wantsSame(a) {
			if r, err := s.lookup(b.n.mh); err != nil || !r.present() {
				continue
			}
		}
		delete(blockers, name)
		missing := false
		for c, err := range s.Missing(s.ctx, a.Root, a.Selection) {
			if err != nil {
				return err
			}
			missing, blockers[name] = true, blocker{a, nodeOf(c)}
			break
		}
		if missing {
			continue
		}
		err = s.do(&op{durable: true, frees: true, apply: func(c *committer) error {
			now, err := c.alias(name)
			if err != nil || now == nil || !now.Held.Defined() || !now.wantsSame(a) {
				return err
			}
			if err := c.referAll(now.heldTargets, -1); err != nil {
				return err
			}
			now.Held, now.heldTargets = cid.Undef, nil
			c.writeAlias(now)
			c.emit(Event{Kind: EventWhole, Name: name, CID: a.Root})
			return nil
		}})
		if err != nil {
			return err
		}
	}
	return nil
}
