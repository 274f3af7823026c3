package store

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/pack"
)

// An op is one change to the store, made by the committer.
type op struct {
	// check returns an error if the change can't be made. It runs before apply
	// and changes nothing. May be nil.
	check func(*committer) error
	// apply makes the change. Its errors are the disk's, and undo everything
	// back to the last flush.
	apply func(*committer) error
	// durable delays the answer until the change would survive a crash.
	durable bool
	// frees means that the change needs no space, so that it is made even when
	// the disk is full.
	frees bool
	done  chan error
}

// An entry is a block that waits to be appended.
type entry struct {
	block block.Block
	// keep means that the block will likely be kept alive: it came in a batch.
	keep bool
	// links are the block's, if they were extracted already.
	links *links
	// borrowed means that the caller uses the bytes again after done.
	borrowed bool
	// done, if not nil, gets nil or an error when the block can be read from its
	// pack.
	done chan error
}

// A committer makes all changes of a store, from one goroutine. It works on an
// overlay above the index, which flush writes there: after the bytes that it
// refers to are synced, in one batch.
type committer struct {
	s *Store

	// The overlay: what has changed since the last flush. A nil value is a
	// deletion.
	rows   map[string]*row
	last   lastRow
	kv     map[string][]byte
	infos  map[pack.ID]*packInfo // of all packs
	dirty  map[pack.ID]bool      // of which these changed
	moved  map[string]loc        // to be published when the group ends
	fresh  int                   // number of blocks that readers find by the overlay
	record recordBuffer          // what the next record will contain
	meta   meta
	// missing are packs that are not on disk: a block that lay in one is stored
	// again when it is put again.
	missing map[pack.ID]bool
	// uncut are torn packs whose header doesn't say yet where their data end.
	uncut map[pack.ID]bool
	gone  map[pack.ID]bool // packs that are removed once the flush is through

	writers  [kinds]*pack.Writer // the open packs; nil where none is
	unsynced [kinds]bool         // whether they hold bytes that were never synced
	sealing  []*sealing

	// work lists what is to be expanded and collapsed. The queues in the index
	// have all of it, and the lists a part.
	work [2]workList
	// stuck are nodes to be expanded whose blocks could not be read; stuckErr is
	// the error of the last one.
	stuck    map[node]bool
	stuckErr error

	knownLinks map[node]*links // links of blocks that came in this group
	events     []Event         // to be sent when the group has ended well
	// heldDue means that a wanted block came, or that an alias holds a former
	// root. When the group has ended, heldLoop is woken.
	heldDue bool
	// unflushed means that Put returned for blocks that have not been flushed;
	// lostPuts, that such blocks were lost and no Flush has returned that yet.
	// Blocks of batches don't count here.
	unflushed, lostPuts bool
}

// load reads meta and packs from the index, and forgets the overlay.
func (c *committer) load() error {
	old := c.meta
	c.rows, c.kv, c.last = map[string]*row{}, map[string][]byte{}, lastRow{}
	c.infos, c.dirty = map[pack.ID]*packInfo{}, map[pack.ID]bool{}
	c.moved, c.gone = map[string]loc{}, map[pack.ID]bool{}
	c.knownLinks = map[node]*links{}
	c.record = recordBuffer{}
	for i := range c.work {
		c.work[i] = workList{scan: true}
	}
	c.stuck = map[node]bool{}
	value, err := c.s.index.get(metaKey)
	if err != nil {
		return err
	}
	if value == nil {
		c.meta = meta{nextPack: 1, epoch: 1}
	} else if c.meta, err = parseMeta(value); err != nil {
		return err
	}
	// A record of a commit that failed may be on disk: don't use its number again.
	c.meta.seq = max(c.meta.seq, old.seq)
	c.meta.removals = old.removals + 1
	var perr error
	err = scan(c.s.index.db, string(keyPack), "", func(k, v []byte) bool {
		info, err := parsePackInfo(k, v)
		if err != nil {
			perr = err
			return false
		}
		c.infos[info.id] = info
		return true
	})
	return errors.Join(err, perr)
}

// run is the committer's goroutine.
func (c *committer) run() {
	defer close(c.s.committed)
	timer := time.NewTimer(idleFlush)
	defer timer.Stop()
	for {
		var ops []*op
		idle := !c.hasWork()
		if idle {
			if c.dirtyCount() > 0 {
				timer.Reset(idleFlush)
			}
			select {
			case o := <-c.s.ops:
				ops = append(ops, o)
			case <-c.s.wake:
			case <-timer.C:
				if c.dirtyCount() > 0 {
					c.group(nil, true)
				}
				continue
			case <-c.s.closing:
				c.group(c.drain(nil), true)
				c.shutdown()
				return
			}
		}
		select {
		case <-c.s.closing:
			c.group(c.drain(ops), true)
			c.shutdown()
			return
		default:
		}
		c.group(c.drain(ops), false)
		// Let the callers that got their answers go on first: there may be more
		// work here at once, and no other processor for them.
		runtime.Gosched()
	}
}

// drain takes further ops that wait.
func (c *committer) drain(ops []*op) []*op {
	for len(ops) < maxGroup {
		select {
		case o := <-c.s.ops:
			ops = append(ops, o)
		default:
			return ops
		}
	}
	return ops
}

// maxGroup bounds how many ops share one flush.
const maxGroup = 1024

// group appends the blocks that were put before the ops, makes the changes of
// the ops, does a step of the work that is due, and flushes if an op needs it.
func (c *committer) group(ops []*op, mustFlush bool) {
	c.collectSealings()
	// The ops were taken first, so blocks put before one of them are in incoming.
	entries := c.s.takeIncoming()
	cached := slices.ContainsFunc(entries, func(e entry) bool { return !e.keep })
	if err := c.s.index.err(); err != nil {
		c.lostPuts = c.lostPuts || cached
		c.s.unpublish(entries)
		finish(ops, entries, err)
		return
	}
	full := c.s.diskFull()
	if full != nil {
		if len(entries) > 0 {
			c.s.unpublish(entries)
			c.s.setFailure(full)
		}
		c.lostPuts = c.lostPuts || cached
		finish(nil, entries, full)
		entries, cached = nil, false
	}
	c.unflushed = c.unflushed || cached

	var err error
	for i := range entries {
		if err = c.put(&entries[i]); err != nil {
			break
		}
	}
	var waiting []*op
	durable := mustFlush
	for i, o := range ops {
		if err != nil {
			waiting = append(waiting, ops[i:]...)
			break
		}
		if full != nil && !o.frees {
			o.done <- full
			continue
		}
		if o.check != nil {
			if refused := o.check(c); refused != nil {
				o.done <- refused
				continue
			}
		}
		waiting = append(waiting, o)
		err = o.apply(c)
		durable = durable || o.durable
	}
	if err == nil {
		err = c.step(len(ops) > 0 || len(entries) > 0)
	}
	if err == nil {
		err = c.publish()
	}
	if err == nil && (durable || c.dirtyCount() > maxDirty) {
		err = c.flush(durable)
	}
	if err != nil {
		err = c.rollback(err)
		c.events = nil
	}
	for _, e := range c.events {
		c.s.events.Send(e)
	}
	c.events = c.events[:0]
	if c.heldDue {
		c.heldDue = false
		c.s.wakeHeld()
	}
	c.s.epoch.Store(c.meta.epoch)
	c.s.protect.endGroup()
	clear(c.knownLinks)
	finish(waiting, entries, err)
}

func (c *committer) emit(e Event) { c.events = append(c.events, e) }

func finish(ops []*op, entries []entry, err error) {
	for _, e := range entries {
		if e.done != nil {
			e.done <- err
		}
	}
	for _, o := range ops {
		o.done <- err
	}
}

func (c *committer) dirtyCount() int { return len(c.rows) + len(c.kv) + c.fresh }

func (c *committer) hasWork() bool {
	if c.s.index.err() != nil {
		return false
	}
	for i := range c.work {
		if i == workCollapse && len(c.stuck) > 0 {
			continue // waits until all is expanded
		}
		if len(c.work[i].nodes) > 0 || c.work[i].scan {
			return true
		}
	}
	return false
}

// get reads a key that isn't a row's.
func (c *committer) get(key string) ([]byte, error) {
	if v, ok := c.kv[key]; ok {
		return v, nil
	}
	return c.s.index.get(key)
}

func (c *committer) set(key string, value []byte) { c.kv[key] = value }

func (c *committer) unset(key string) { c.kv[key] = nil }

// put appends a block, unless it is here already.
func (c *committer) put(e *entry) error {
	n := nodeOf(e.block.CID())
	r, err := c.row(n.mh)
	if err != nil {
		return err
	}
	if e.links != nil {
		c.knownLinks[n] = e.links
	}
	if r.present() && !(r.loc.kind == locPack && c.missing[r.loc.pack]) {
		c.moved[n.mh] = r.loc // readers look there from now on
		if _, known := r.find(n.codec); known {
			return nil
		}
		return c.change(n.mh, func(r *row) { r.ref(n.codec) })
	}
	kind := kindCache
	if e.keep || r.live() {
		kind = kindLeaves
		if n.codec != block.Raw && (e.links == nil || len(e.links.nodes) > 0) {
			kind = kindLinks
		}
	}
	l, err := c.append(kind, e.block)
	if err != nil {
		return err
	}
	c.changeRow(n.mh, r, func(r *row) {
		r.loc = l
		r.ref(n.codec)
	})
	return nil
}

// publish shows readers where blocks lie now.
func (c *committer) publish() error {
	for _, w := range c.writers {
		if w != nil {
			if err := w.Flush(); err != nil {
				return err
			}
		}
	}
	if len(c.moved) == 0 {
		return nil
	}
	c.s.mu.Lock()
	for mh, l := range c.moved {
		if f := c.s.fresh[mh]; f.inMemory && f.generation == c.s.generation {
			continue // put again since; the next group publishes it
		}
		c.s.fresh[mh] = freshBlock{loc: l}
	}
	c.s.mu.Unlock()
	c.fresh += len(c.moved)
	clear(c.moved)
	return nil
}

// flush makes the overlay part of the index: it syncs the packs, then applies
// one batch. Without sync a crash may lose the batch and all batches after it,
// but never a part of one.
func (c *committer) flush(sync bool) error {
	if err := c.appendRecord(); err != nil {
		return err
	}
	if err := c.syncPacks(); err != nil {
		return err
	}
	b := c.s.index.db.NewBatch()
	var buf []byte
	for mh, r := range c.rows {
		if r.empty() {
			b.Delete([]byte(rowKey(mh)), nil)
			continue
		}
		buf = r.append(buf[:0])
		b.Set([]byte(rowKey(mh)), buf, nil)
	}
	for k, v := range c.kv {
		if v == nil {
			b.Delete([]byte(k), nil)
		} else {
			b.Set([]byte(k), v, nil)
		}
	}
	for id := range c.dirty {
		if info := c.infos[id]; info != nil {
			info.read = c.s.lastRead(*info)
			buf = info.append(buf[:0])
			b.Set([]byte(info.key()), buf, nil)
		}
	}
	for id := range c.gone {
		b.Delete([]byte((&packInfo{id: id}).key()), nil)
	}
	b.Set([]byte(metaKey), c.meta.append(nil), nil)
	if err := c.s.index.apply(b, sync || len(c.gone) > 0); err != nil {
		return err
	}
	clear(c.rows)
	c.last = lastRow{}
	clear(c.kv)
	clear(c.dirty)
	clear(c.gone)
	c.fresh, c.unflushed = 0, false
	c.s.dropPublished()
	c.s.updateUsage(c.usage())
	return nil
}

// rollback goes back to the last flush after an error of the disk. What was
// acknowledged by then is there; what came later is lost, and its callers get an
// error. Packs that were appended to since are abandoned at the mark that the
// index knows: a failed sync says nothing about which bytes were written, and a
// second sync may succeed without them.
func (c *committer) rollback(cause error) error {
	c.s.log.Error("store: writing failed, going back to the last commit", "error", cause)
	c.s.setFailure(cause)
	c.lostPuts = c.lostPuts || c.unflushed
	c.unflushed = false
	for kind, w := range c.writers {
		if w != nil {
			w.Close()
			c.writers[kind] = nil
		}
	}
	c.unsynced = [kinds]bool{}
	for _, sl := range c.sealing {
		<-sl.done
	}
	sealed := c.sealing
	c.sealing = nil
	c.fresh = 0
	c.s.resetFresh()
	if err := c.s.index.err(); err != nil {
		return err
	}
	if err := c.load(); err != nil {
		c.s.index.fail(err)
		return errors.Join(cause, err)
	}
	for _, info := range c.infos {
		if info.state != packOpen {
			continue
		}
		// A pack with nothing behind its mark can stay open, unless it is empty:
		// then its creation may have failed.
		if size, err := c.s.packs.Size(info.id); err == nil && size == info.end && size > pack.Start && !slices.ContainsFunc(sealed, func(sl *sealing) bool { return sl.id == info.id }) {
			continue
		}
		info.state = packTorn
		c.dirty[info.id] = true
		c.uncut[info.id] = true
	}
	c.cutTorn()
	return fmt.Errorf("store: commit: %w", cause)
}

// reportLoss returns ErrBatchLost, once, if blocks of Put were lost.
func (c *committer) reportLoss() error {
	if !c.lostPuts {
		return nil
	}
	c.lostPuts = false
	return fmt.Errorf("%w: %w; put them again", ErrBatchLost, c.s.failure())
}

// shutdown closes the packs, flushes, and answers later ops with ErrClosed.
func (c *committer) shutdown() {
	for kind, w := range c.writers {
		if w == nil {
			continue
		}
		if err := w.Close(); err != nil {
			c.s.log.Warn("store: close pack", "error", err)
		}
		c.writers[kind] = nil
	}
	for _, sl := range c.sealing {
		<-sl.done
	}
	if c.collectSealings(); len(c.dirty) > 0 && c.s.index.err() == nil {
		if err := c.flush(true); err != nil {
			c.s.log.Warn("store: close", "error", err)
		}
	}
	c.cutTorn()
	c.s.unreportedLoss = c.reportLoss()
	for {
		select {
		case o := <-c.s.ops:
			o.done <- ErrClosed
		default:
			entries := c.s.takeIncoming()
			c.s.unpublish(entries)
			finish(nil, entries, ErrClosed)
			return
		}
	}
}
