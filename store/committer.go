package store

import (
	"encoding/binary"
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
	// check refuses what can't be done, before anything is changed. May be nil.
	check func(*committer) error
	// apply makes the change. An error of it is one of the disk: it undoes
	// everything back to the last flush.
	apply func(*committer) error
	// durable asks for the acknowledgement only when the change would survive
	// a crash.
	durable bool
	// frees says that the change gives space back, so that it's accepted also
	// when the disk is full.
	frees bool
	done  chan error
}

// An entry is a block that waits to be appended.
type entry struct {
	block block.Block
	// keep says that the block is likely to be kept alive: it came in a batch.
	keep bool
	// links is what its links are, where the putter found out already.
	links *links
	// borrowed says that the putter wants the bytes back when done is told.
	borrowed bool
	// done, where not nil, is told when the block can be read from its pack.
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
	looked lookedUp // the row that the index was last asked for
	kv     map[string][]byte
	infos  map[pack.ID]*packInfo // of all packs
	dirty  map[pack.ID]bool      // of which these changed
	moved  map[string]loc        // to be published when the group ends
	fresh  int                   // how many blocks readers find by the overlay
	record recordBuffer          // what the next record has to tell
	meta   meta
	// missing are packs that are not there: what lay in them is not to be
	// relied on when it is put again.
	missing map[pack.ID]bool
	// uncut are torn packs whose header doesn't say yet where they end.
	uncut map[pack.ID]bool
	gone  map[pack.ID]bool // packs that are removed once the flush is through

	writers  [kinds]*pack.Writer // the open packs; nil where none is
	unsynced [kinds]bool         // whether they hold bytes that were never synced
	sealing  []*sealing

	// Work that is due. The keys in the index say so; these lists are the part
	// of them that is known without looking, and scan that there is more.
	work [2]workList
	// stuck is what should be expanded and could not be read; stuckErr says
	// why, of the last one.
	stuck    map[node]bool
	stuckErr error

	hints  map[node]*links // links of blocks that came in this group
	events []Event         // to be sent when the group has ended well
	// keeperDue: something that was wanted came, or an alias holds a former
	// root. The keeper is told when it can see that.
	keeperDue bool
	// unflushed: Puts were answered for blocks that have not been flushed.
	// lostPuts: such were lost, and no Flush has told yet. A batch finds out
	// without them.
	unflushed, lostPuts bool
}

// Kinds of work.
const (
	workExpand   = 0
	workCollapse = 1
)

type workList struct {
	nodes []node
	scan  bool
}

// maxWorkList bounds a workList in memory; what goes beyond is found again in
// the index.
const maxWorkList = 64 << 10

// A lookedUp is a row as the index has it: who changes one has often just
// looked at it.
type lookedUp struct {
	mh  string
	row *row
}

// A sealing is a pack that is being sealed in the background. Until that's done
// its state is packTorn: not appended to any more, and not sealed.
type sealing struct {
	id  pack.ID
	end int64
	// synced is closed when the data are durable, which is all that a commit
	// waits for, or syncErr is set.
	synced  chan struct{}
	syncErr error
	// done is closed when the pack is sealed, and takes size bytes, or err is
	// set.
	done chan struct{}
	size int64
	err  error
}

// maxSealing is how many packs are sealed at a time.
const maxSealing = 2

// meta is what the index knows of the whole repository.
type meta struct {
	nextPack pack.ID // the id of the next pack
	seq      uint64  // of the last record
	epoch    uint64  // raised whenever a live block is lost; starts at 1
	removals uint64  // in memory only: how often bytes have left the store
	held     bool    // eviction is held
}

const metaKey = string(keyMeta) + "meta"

func (m meta) append(b []byte) []byte {
	for _, v := range []uint64{uint64(m.nextPack), m.seq, m.epoch} {
		b = binary.AppendUvarint(b, v)
	}
	if m.held {
		return append(b, 1)
	}
	return append(b, 0)
}

func parseMeta(p []byte) (meta, error) {
	d := decoder{p: p}
	m := meta{nextPack: pack.ID(d.uvarint()), seq: d.uvarint(), epoch: d.uvarint(), held: d.byte() == 1}
	if d.fail || m.nextPack == 0 || m.epoch == 0 {
		return meta{}, fmt.Errorf("index: meta %x: %w", p, block.ErrMalformed)
	}
	return m, nil
}

// load reads meta and packs from the index, and forgets the overlay.
func (c *committer) load() error {
	old := c.meta
	c.rows, c.kv, c.looked = map[string]*row{}, map[string][]byte{}, lookedUp{}
	c.infos, c.dirty = map[pack.ID]*packInfo{}, map[pack.ID]bool{}
	c.moved, c.gone = map[string]loc{}, map[pack.ID]bool{}
	c.hints = map[node]*links{}
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
	// A record of a commit that failed may be on disk: its number is taken.
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
				c.shut()
				return
			}
		}
		select {
		case <-c.s.closing:
			c.group(c.drain(ops), true)
			c.shut()
			return
		default:
		}
		c.group(c.drain(ops), false)
		// Those who got their answers go on first: there may be more to do here
		// at once, and no other processor for them.
		runtime.Gosched()
	}
}

// drain takes what else is waiting.
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

// group makes the changes of ops, after appending what was put before them,
// does a step of the work that is due, and flushes if any op asks for it.
func (c *committer) group(ops []*op, mustFlush bool) {
	c.reap()
	// The ops were taken first: whatever was put before one of them is in
	// incoming by now.
	entries := c.s.takeIncoming()
	cached := slices.ContainsFunc(entries, func(e entry) bool { return !e.keep })
	if err := c.s.index.err(); err != nil {
		c.lostPuts = c.lostPuts || cached
		c.s.forget(entries)
		finish(ops, entries, err)
		return
	}
	full := c.s.diskFull()
	if full != nil {
		if len(entries) > 0 {
			c.s.forget(entries)
			c.s.noteFailure(full)
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
		c.s.events.send(e)
	}
	c.events = c.events[:0]
	if c.keeperDue {
		c.keeperDue = false
		c.s.keeperSoon()
	}
	c.s.epoch.Store(c.meta.epoch)
	c.s.protect.groupOver()
	clear(c.hints)
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
func (c *committer) unset(key string)             { c.kv[key] = nil }

// row returns what is known of a multihash; an empty row where nothing is. It
// may be changed only through change.
func (c *committer) row(mh string) (*row, error) {
	if r, ok := c.rows[mh]; ok {
		return r, nil
	}
	if c.looked.row != nil && c.looked.mh == mh {
		return c.looked.row, nil
	}
	value, err := c.s.index.get(rowKey(mh))
	if err != nil {
		return nil, err
	}
	r := &row{}
	if value != nil {
		if r, err = parseRow(value); err != nil {
			return nil, err
		}
	}
	c.looked = lookedUp{mh, r}
	return r, nil
}

// change changes a row, and with it whatever follows from the row alone: the
// counts of its pack, what is wanted, and what work is due.
func (c *committer) change(mh string, f func(*row)) error {
	r, err := c.row(mh)
	if err == nil {
		c.changeRow(mh, r, f)
	}
	return err
}

// changeRow is change for who has the row already, from row.
func (c *committer) changeRow(mh string, r *row, f func(*row)) {
	oldLoc, oldLive := r.loc, r.live()
	var buf [4]ref
	oldRefs := append(buf[:0], r.refs...)
	oldPresent := r.present()

	f(r)
	for i := range r.refs {
		settleLeaf(r, &r.refs[i])
	}
	c.rows[mh] = r

	live := r.live()
	if oldLoc.kind == locPack && (oldLoc != r.loc || oldLive != live) {
		c.count(oldLoc, oldLive, -1)
	}
	if r.loc.kind == locPack && (oldLoc != r.loc || oldLive != live) {
		c.count(r.loc, live, 1)
	}
	if oldLoc != r.loc {
		c.moved[mh] = r.loc
		if r.loc.kind == locNone {
			c.meta.removals++
		}
	}
	for _, f := range r.refs {
		old := ref{codec: f.codec}
		for _, o := range oldRefs {
			if o.codec == f.codec {
				old = o
			}
		}
		c.due(node{mh, f.codec}, dueOf(old, oldPresent), dueOf(f, r.present()))
	}
}

// settleLeaf expands and collapses a ref whose codec has no links: there is
// nothing to count.
func settleLeaf(r *row, f *ref) {
	if f.codec != block.Raw {
		return
	}
	if f.count == 0 {
		f.flags, f.version = 0, 0
	} else if r.present() {
		f.flags = refExpanded
	}
}

// What is due with a node, as a set: see keyWanted and the like.
const (
	dueWanted = 1 << iota
	dueExpand
	dueCollapse
	dueFlagged
)

// dueOf derives from a ref what is due. This is the one place that says so.
func dueOf(f ref, present bool) int {
	due := 0
	if f.count > 0 && !present {
		due |= dueWanted
	}
	if f.count > 0 && present && !f.expanded() {
		due |= dueExpand
	}
	if f.count == 0 && f.expanded() {
		due |= dueCollapse
	}
	if f.flags&(refUnknown|refUndecodable) != 0 {
		due |= dueFlagged
	}
	return due
}

// due writes to the index what has become due or ceased to be.
func (c *committer) due(n node, before, after int) {
	if before == after {
		return
	}
	for _, k := range []struct {
		bit    int
		prefix byte
	}{{dueWanted, keyWanted}, {dueExpand, keyExpand}, {dueCollapse, keyCollapse}} {
		switch {
		case before&k.bit == after&k.bit:
		case after&k.bit != 0:
			c.set(n.key(k.prefix), []byte{})
		default:
			c.unset(n.key(k.prefix))
		}
	}
	switch {
	case before&dueFlagged == after&dueFlagged:
	case after&dueFlagged != 0:
		c.set(n.flaggedKey(), []byte{})
	default:
		c.unset(n.flaggedKey())
	}
	if after&^before&dueExpand != 0 {
		c.work[workExpand].add(n)
	}
	if after&^before&dueCollapse != 0 {
		c.work[workCollapse].add(n)
	}
	if before&^after&dueWanted != 0 {
		c.keeperDue = true
	}
}

func (w *workList) add(n node) {
	if len(w.nodes) < maxWorkList {
		w.nodes = append(w.nodes, n)
	} else {
		w.scan = true
	}
}

// count adds a block to the counts of its pack, or takes it away.
func (c *committer) count(l loc, live bool, n int64) {
	info := c.infos[l.pack]
	if info == nil {
		return // a row of a pack that is missing; Verify speaks of it
	}
	info.count(live, n, l.section())
	c.dirty[l.pack] = true
}

// put appends a block, unless it's here already.
func (c *committer) put(e *entry) error {
	n := nodeOf(e.block.CID())
	r, err := c.row(n.mh)
	if err != nil {
		return err
	}
	if e.links != nil {
		c.hints[n] = e.links
	}
	if r.present() && !(r.loc.kind == locPack && c.missing[r.loc.pack]) {
		c.moved[n.mh] = r.loc // where a reader shall look from now on
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

// writer returns the open pack of a kind. It makes one where there is none:
// its row is durable before its file, so that a file without a row is rubbish.
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
	// seq, epoch and pins of the overlay aren't flushed yet, and may not be
	// before their changes are.
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

func (c *committer) storedMeta() (meta, error) {
	value, err := c.s.index.get(metaKey)
	if err != nil || value == nil {
		return meta{nextPack: 1, epoch: 1}, err
	}
	return parseMeta(value)
}

// seal begins to seal the open pack of a kind in the background.
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
		c.reap()
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

// reap takes note of the sealings that are done. One that failed after its data
// were durable is tried again later, like those that a crash left behind.
func (c *committer) reap() {
	c.sealing = slices.DeleteFunc(c.sealing, func(sl *sealing) bool {
		select {
		case <-sl.done:
		default:
			return false
		}
		if sl.syncErr != nil {
			return false // for the next flush to find
		}
		if sl.err != nil {
			c.s.log.Warn("store: a pack can't be sealed", "pack", sl.id.Name(), "error", sl.err)
		} else if info := c.infos[sl.id]; info != nil {
			info.state, info.size = packSealed, sl.size
			c.dirty[sl.id] = true
		}
		return true
	})
}

// isSealing tells whether a pack is being sealed.
func (c *committer) isSealing(id pack.ID) bool {
	return slices.ContainsFunc(c.sealing, func(sl *sealing) bool { return sl.id == id })
}

// publish shows readers where blocks lie from now on.
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
			continue // put again since; the next group sees to it
		}
		c.s.fresh[mh] = freshBlock{loc: l}
	}
	c.s.mu.Unlock()
	c.fresh += len(c.moved)
	clear(c.moved)
	return nil
}

// flush makes the overlay part of the index: it syncs the packs, then applies
// one batch. Without sync the batch may be lost in a crash, together with
// whatever is applied after it, but never in part.
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
	c.looked = lookedUp{}
	clear(c.kv)
	clear(c.dirty)
	clear(c.gone)
	c.fresh, c.unflushed = 0, false
	c.s.flushed()
	c.s.noteSpace(c.usage())
	return nil
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

// rollback goes back to the last flush after an error of the disk: whatever
// was acknowledged by then is there, whatever came later is gone, and those
// who wait for it are told. Packs that were appended to since are abandoned at
// the mark that the index knows, for a failed sync says nothing about which
// bytes were written, and a later one may say that all is well.
func (c *committer) rollback(cause error) error {
	c.s.log.Error("store: writing failed, going back to the last commit", "error", cause)
	c.s.noteFailure(cause)
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
	c.s.forgetFresh()
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
		// Where nothing was written behind the mark it can go on, unless it's
		// empty: then it may have failed to come into being.
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

// cutTorn sees to it that a rebuild doesn't take for acknowledged what follows
// the mark of a torn pack. A disk that has just failed may refuse; then it is
// tried again before the store closes, and when it is opened.
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

// tellLoss returns ErrBatchLost if what was put is gone and nobody was told.
func (c *committer) tellLoss() error {
	if !c.lostPuts {
		return nil
	}
	c.lostPuts = false
	return fmt.Errorf("%w: %w; put them again", ErrBatchLost, c.s.failure())
}

// shut ends the committer's work in good order.
func (c *committer) shut() {
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
	if c.reap(); len(c.dirty) > 0 && c.s.index.err() == nil {
		if err := c.flush(true); err != nil {
			c.s.log.Warn("store: close", "error", err)
		}
	}
	c.cutTorn()
	c.s.untold = c.tellLoss()
	// Whoever asks from now on is told so.
	for {
		select {
		case o := <-c.s.ops:
			o.done <- ErrClosed
		default:
			entries := c.s.takeIncoming()
			c.s.forget(entries)
			finish(nil, entries, ErrClosed)
			return
		}
	}
}

// usage sums up the packs.
func (c *committer) usage() usage {
	var u usage
	for _, info := range c.infos {
		if c.gone[info.id] {
			continue
		}
		u.packs++
		u.disk += info.size
		u.liveBlocks += info.liveBlocks
		u.liveBytes += info.liveBytes
		u.cacheBlocks += info.cacheBlocks
		u.cacheBytes += info.cacheBytes
		u.deadBytes += info.end - pack.Start - info.liveBytes - info.cacheBytes
		if info.state == packTorn && !c.isSealing(info.id) {
			u.torn++
		}
	}
	return u
}

// usage is how the packs' space is used.
type usage struct {
	packs                   int
	disk                    int64
	liveBlocks, liveBytes   int64
	cacheBlocks, cacheBytes int64
	deadBytes               int64
	torn                    int // packs that wait to be sealed
}
