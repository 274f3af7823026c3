package store

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
)

// heldPause is how long heldLoop waits after an error before it tries again.
const heldPause = 10 * time.Second

// heldLoop releases the former roots that aliases hold, once the new ones are
// whole.
func (s *Store) heldLoop() {
	blockers := map[string]blocker{}
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.heldWake:
		}
		if err := s.releaseHeld(blockers); err != nil && s.ctx.Err() == nil {
			s.log.Warn("store: release held roots", "error", err)
			if errors.Is(err, ErrFailed) || s.wait(heldPause) != nil {
				return
			}
			s.wakeHeld() // no other event may come
		}
	}
}

func (s *Store) wakeHeld() { signal(s.heldWake) }

// A blocker is a block that an alias, as it was then, lacks.
type blocker struct {
	alias Alias
	n     node
}

// releaseHeld releases the former roots of aliases whose DAG is whole. Blockers
// has, for each alias, one block that its DAG lacks, so that the DAG isn't walked
// again before that block comes or the alias changes.
func (s *Store) releaseHeld(blockers map[string]blocker) error {
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
			if err := c.addCounts(now.heldTargets, -1); err != nil {
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
