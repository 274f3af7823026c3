package store

import (
	"errors"
	"slices"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/pack"
)

// append writes a block to the open pack of that kind.
func (c *committer) append(kind int, b block.Block) (loc, error) {
	w, err := c.writer(kind)
	if err != nil {
		return loc{}, err
	}
	off, head, err := w.Append(b.CID(), b.Data())
	if err != nil {
		return loc{}, err
	}
	c.unsynced[kind] = true
	info := c.infos[w.ID()]
	info.end, info.size = w.End(), w.End()
	c.dirty[w.ID()] = true
	if w.End() >= c.s.o.PackSize || w.Appended() >= maxSections {
		if err := c.seal(kind); err != nil {
			return loc{}, err
		}
	}
	return loc{kind: locPack, size: b.Size(), pack: info.id, off: off, head: head, sum: b.Checksum()}, nil
}

// writer returns the open pack of a kind, or makes one. Its row is durable before
// its file exists, so a file without a row can be removed.
func (c *committer) writer(kind int) (*pack.Writer, error) {
	if w := c.writers[kind]; w != nil {
		return w, nil
	}
	for _, info := range c.infos {
		if info.kind == kind && info.state == packOpen {
			w, err := c.s.packs.Resume(info.id, info.end)
			if err == nil {
				c.writers[kind] = w
				return w, nil
			}
			info.state = packTorn
			c.dirty[info.id] = true
		}
	}
	info := &packInfo{id: c.meta.nextPack, kind: kind, state: packOpen, end: pack.Start, size: pack.Start}
	info.read = c.s.clock.Add(1)
	next := c.meta
	next.nextPack++
	b := c.s.index.db.NewBatch()
	// seq and epoch of the overlay aren't flushed yet, and must not be before
	// their changes are.
	stored, err := c.storedMeta()
	if err != nil {
		return nil, err
	}
	stored.nextPack = next.nextPack
	b.Set([]byte(metaKey), stored.append(nil), nil)
	b.Set([]byte(info.key()), info.append(nil), nil)
	if err := c.s.index.apply(b, true); err != nil {
		return nil, err
	}
	w, err := c.s.packs.Create(info.id)
	if err != nil {
		return nil, err
	}
	c.meta = next
	c.infos[info.id] = info
	c.writers[kind] = w
	if kind == kindLinks {
		if err := c.appendTable(w); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// A sealing is a pack that is being sealed in the background. Until it is done the
// pack's state is packTorn: no longer appended to, and not sealed.
type sealing struct {
	id  pack.ID
	end int64
	// synced is closed when the data are durable or syncErr is set. A commit
	// waits for no more.
	synced  chan struct{}
	syncErr error
	// done is closed when the pack is sealed and size is set, or err is.
	done chan struct{}
	size int64
	err  error
}

// maxSealing is the most packs that are sealed at a time.
const maxSealing = 2

// seal starts to seal the open pack of a kind in the background.
func (c *committer) seal(kind int) error {
	w := c.writers[kind]
	if w == nil {
		return nil
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for len(c.sealing) >= maxSealing {
		if <-c.sealing[0].done; c.sealing[0].syncErr != nil {
			return c.sealing[0].syncErr
		}
		c.collectSealings()
	}
	c.writers[kind], c.unsynced[kind] = nil, false
	c.infos[w.ID()].state = packTorn
	c.dirty[w.ID()] = true
	sl := &sealing{id: w.ID(), end: w.End(), synced: make(chan struct{}), done: make(chan struct{})}
	c.sealing = append(c.sealing, sl)
	go func() {
		defer close(sl.done)
		sl.syncErr = w.Sync()
		close(sl.synced)
		if sl.err = sl.syncErr; sl.err == nil {
			sl.size, sl.err = w.Seal(sl.end)
		}
	}()
	return nil
}

// collectSealings marks packs sealed whose sealing is done. A sealing that failed
// after its data were durable is tried again later, like those that a crash
// interrupted.
func (c *committer) collectSealings() {
	c.sealing = slices.DeleteFunc(c.sealing, func(sl *sealing) bool {
		select {
		case <-sl.done:
		default:
			return false
		}
		if sl.syncErr != nil {
			return false // the next flush returns it
		}
		if sl.err != nil {
			c.s.log.Warn("store: seal a pack", "pack", sl.id.Name(), "error", sl.err)
		} else if info := c.infos[sl.id]; info != nil {
			info.state, info.size = packSealed, sl.size
			c.dirty[sl.id] = true
		}
		return true
	})
}

// isSealing reports whether a pack is being sealed.
func (c *committer) isSealing(id pack.ID) bool {
	return slices.ContainsFunc(c.sealing, func(sl *sealing) bool { return sl.id == id })
}

// syncPacks makes durable what was appended.
func (c *committer) syncPacks() error {
	errs := make(chan error, kinds)
	n := 0
	for kind, w := range c.writers {
		if w == nil || !c.unsynced[kind] {
			continue
		}
		if err := w.Flush(); err != nil {
			return errors.Join(err, drainErrors(errs, n))
		}
		n++
		go func() { errs <- w.Sync() }()
	}
	if err := drainErrors(errs, n); err != nil {
		return err
	}
	c.unsynced = [kinds]bool{}
	for _, sl := range c.sealing {
		if <-sl.synced; sl.syncErr != nil {
			return sl.syncErr
		}
	}
	return nil
}

func drainErrors(errs chan error, n int) error {
	var err error
	for range n {
		err = errors.Join(err, <-errs)
	}
	return err
}

// cutTorn writes the end of torn packs into their headers, so that a rebuild
// ignores what follows their marks. If the disk has just failed, that may fail,
// too; then it is tried again before the store closes, and when it is opened.
func (c *committer) cutTorn() {
	for id := range c.uncut {
		info := c.infos[id]
		if info == nil || info.state != packTorn {
			delete(c.uncut, id)
			continue
		}
		size, err := c.s.packs.Size(id)
		if err == nil && size > info.end {
			err = c.s.packs.Cut(id, info.end)
		}
		if err != nil {
			c.s.log.Warn("store: cut a torn pack", "pack", id.Name(), "error", err)
			continue
		}
		delete(c.uncut, id)
	}
}
