package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cockroachdb/pebble/v2"
	"github.com/ipfs/go-cid"
)

// Missing lists what is not here of the DAG below root, as far as that can be
// told: what lies below a block that was never here is unknown. It comes depth-first, each
// block once. Parts of the DAG that are known to be whole are not walked again.
func (s *Store) Missing(ctx context.Context, root cid.Cid, sel Selection) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		if sel.IsAll() {
			s.awaitNotes(ctx, root)
		}
		w := &walk{ctx: ctx, s: s, sel: newSelector(sel), seen: map[node]bool{}, yield: func(n node) bool { return yield(n.cid(), nil) }}
		if err := w.run(root); err != nil {
			yield(cid.Undef, fmt.Errorf("store: missing below %s: %w", root, err))
		}
	}
}

// settlePatience is how long Whole waits until what was aliased of late has been
// looked at; then it looks for itself.
const settlePatience = 500 * time.Millisecond

// Whole tells whether all of the DAG below root is here. Of one that is live it
// is known, if nothing that's live is missing; else the DAG is walked, and in
// the first case that is done afterwards, for those who ask of its parts.
func (s *Store) Whole(ctx context.Context, root cid.Cid) (bool, error) {
	if s.isLive(root) && s.nothingWanted(ctx) {
		s.noteWhole(root)
		return true, nil
	}
	for _, err := range s.Missing(ctx, root, Selection{}) {
		return false, err
	}
	return true, nil
}

// noteWhole walks the DAG below root in the background, which notes what is whole.
func (s *Store) noteWhole(root cid.Cid) {
	done := make(chan struct{})
	if _, other := s.noting.LoadOrStore(root, done); other {
		return
	}
	noted := func() {
		s.noting.Delete(root)
		close(done)
	}
	if !s.background(func() {
		defer noted()
		w := &walk{ctx: s.ctx, s: s, seen: map[node]bool{}, yield: func(node) bool { return false }}
		_ = w.run(root) // who asks next will find out
	}) {
		noted()
	}
}

// awaitNotes waits for what noteWhole is doing, rather than do it twice.
func (s *Store) awaitNotes(ctx context.Context, root cid.Cid) {
	if done, ok := s.noting.Load(root); ok {
		select {
		case <-done.(chan struct{}):
		case <-ctx.Done():
		}
	}
}

func (s *Store) isLive(root cid.Cid) bool {
	targets, err := s.targets(root)
	if err != nil {
		return false
	}
	for _, n := range targets {
		r, err := s.lookup(n.mh)
		if err != nil {
			return false
		}
		if f, _ := r.find(n.codec); f.count == 0 {
			return false
		}
	}
	return true
}

// nothingWanted tells whether all that is live is here, if that's soon known.
func (s *Store) nothingWanted(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	if s.settle(ctx, workExpand) != nil {
		return false
	}
	snap, done, err := s.snapshot(ctx)
	if err != nil {
		return false
	}
	defer done()
	nothing := true
	err = scan(snap, string(keyWanted), "", func(_, _ []byte) bool {
		nothing = false
		return false
	})
	return nothing && err == nil
}

// Wanted lists what is live, selected, and not here, each block once. Where a
// large DAG has just been aliased it waits until its blocks have been looked at.
func (s *Store) Wanted(ctx context.Context) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		if err := s.wanted(ctx, func(n node) bool { return yield(n.cid(), nil) }); err != nil {
			yield(cid.Undef, fmt.Errorf("store: wanted: %w", err))
		}
	}
}

func (s *Store) wanted(ctx context.Context, yield func(node) bool) error {
	// What is live and not expanded yet hides what is wanted below it.
	if err := s.settle(ctx, workExpand); err != nil {
		return err
	}
	snap, done, err := s.snapshot(ctx)
	if err != nil {
		return err
	}
	defer done()
	// What an alias doesn't select is live all the same, so that the list of
	// wanted blocks holds too much as soon as one alias has a selection. Then
	// the DAGs are walked.
	var roots []*aliasRow
	partial := false
	err = scanAliases(snap, "", func(a *aliasRow) bool {
		partial = partial || !a.Selection.IsAll()
		roots = append(roots, a)
		return ctx.Err() == nil
	})
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if !partial {
		return scan(snap, string(keyWanted), "", func(k, _ []byte) bool {
			n, perr := parseNode(k[1:])
			if perr != nil {
				err = perr
				return false
			}
			return yield(n) && ctx.Err() == nil
		})
	}
	told := map[node]bool{}
	stopped := false
	tell := func(n node) bool {
		if told[n] {
			return true
		}
		told[n] = true
		stopped = !yield(n)
		return !stopped
	}
	full := &walk{ctx: ctx, s: s, seen: map[node]bool{}, yield: tell}
	for _, a := range roots {
		w := full
		if !a.Selection.IsAll() {
			w = &walk{ctx: ctx, s: s, sel: newSelector(a.Selection), seen: map[node]bool{}, yield: tell}
		}
		if err := w.run(a.Root); err != nil || stopped {
			return err
		}
		// What is held in the meantime is live, too.
		if err := w.runNodes(a.heldTargets); err != nil || stopped {
			return err
		}
	}
	return s.wantedByPins(ctx, snap, full)
}

// wantedByPins walks what temporary pins hold.
func (s *Store) wantedByPins(ctx context.Context, snap *pebble.Snapshot, w *walk) error {
	var pins [][]node
	err := scan(snap, string(keyTempPin), "", func(_, v []byte) bool {
		d := decoder{p: v}
		pins = append(pins, d.nodes())
		return ctx.Err() == nil
	})
	for _, targets := range pins {
		if err == nil {
			err = w.runNodes(targets)
		}
	}
	return err
}

// A selector is a Selection ready to be asked.
type selector struct {
	skip      map[node]bool
	share, of uint64
}

func newSelector(sel Selection) *selector {
	if sel.IsAll() {
		return nil
	}
	x := &selector{skip: make(map[node]bool, len(sel.Skip)), share: uint64(sel.Share), of: uint64(sel.Of)}
	for _, c := range sel.Skip {
		x.skip[nodeOf(c)] = true
	}
	return x
}

// Selector returns a function that tells of a link whether it's selected, apart
// from what lies above it.
func (s Selection) Selector() func(cid.Cid) bool {
	x := newSelector(s)
	return func(c cid.Cid) bool { return x.selects(nodeOf(c)) }
}

func (x *selector) selects(n node) bool {
	if x == nil {
		return true
	}
	if x.skip[n] {
		return false
	}
	if x.of > 0 && n.codec == block.Raw {
		digest, err := block.Digest([]byte(n.mh))
		if err == nil && len(digest) >= 8 {
			return binary.BigEndian.Uint64(digest)%x.of == x.share-1
		}
	}
	return true
}

// A walk goes through DAGs depth-first and finds what is missing. On its way
// back up it notes which blocks are whole, so that the next walk can stop
// there.
type walk struct {
	ctx   context.Context
	s     *Store
	sel   *selector
	seen  map[node]bool // blocks with links, and missing ones; whether whole
	yield func(node) bool

	epoch    uint64
	removals uint64
	whole    []node // to be noted as whole
	stopped  bool
}

// maxWholeNotes is how many blocks are noted as whole at a time.
const maxWholeNotes = 4096

// step is one block that a walk is below.
type step struct {
	n     node
	links []node // still to be visited
	whole bool
	note  bool // it's expanded, so that a mark would hold
}

func (w *walk) run(root cid.Cid) error {
	if err := block.CheckCID(root); err != nil {
		return err
	}
	targets, err := w.s.targets(root)
	if err != nil {
		return err
	}
	return w.runNodes(targets)
}

func (w *walk) runNodes(roots []node) error {
	if err := w.s.begin(w.ctx); err != nil {
		return err
	}
	err := w.s.do(&op{frees: true, apply: func(c *committer) error {
		w.epoch, w.removals = c.meta.epoch, c.meta.removals
		return nil
	}})
	w.s.end()
	if err != nil {
		return err
	}
	for _, root := range roots {
		if err := w.below(root); err != nil {
			return err
		}
		if w.stopped {
			break
		}
	}
	return w.noteWhole()
}

// below walks one DAG without recursion, for DAGs are as deep as they like.
func (w *walk) below(root node) error {
	stack := []step{{links: []node{root}}}
	for {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		top := &stack[len(stack)-1]
		if len(top.links) == 0 {
			done := *top
			stack = stack[:len(stack)-1]
			if len(stack) == 0 {
				return nil
			}
			w.seen[done.n] = done.whole
			if !done.whole {
				stack[len(stack)-1].whole = false
			} else if done.note {
				w.whole = append(w.whole, done.n)
				if len(w.whole) >= maxWholeNotes {
					if err := w.noteWhole(); err != nil {
						return err
					}
				}
			}
			continue
		}
		n := top.links[0]
		top.links = top.links[1:]
		next, whole, err := w.visit(n)
		if err != nil {
			return err
		}
		if w.stopped {
			return nil
		}
		if !whole {
			top.whole = false
		}
		if next != nil {
			stack = append(stack, *next)
		}
	}
}

// visit looks at one block: it's whole, or not, or there is something below it
// to look at.
func (w *walk) visit(n node) (next *step, whole bool, err error) {
	if !w.sel.selects(n) {
		return nil, false, nil
	}
	if whole, ok := w.seen[n]; ok {
		return nil, whole, nil
	}
	r, err := w.s.lookup(n.mh)
	if err != nil {
		return nil, false, err
	}
	f, _ := r.find(n.codec)
	if !r.present() {
		w.seen[n] = false
		w.stopped = !w.yield(n)
		if f.flags&refHasLinks == 0 || w.stopped {
			return nil, false, nil
		}
		// It was here once: what is below it is known.
		links, err := w.s.linksOf(w.ctx, n, f)
		if err != nil {
			return nil, false, nil
		}
		return &step{n: n, links: links}, false, nil
	}
	if n.codec == block.Raw || f.expanded() && (f.flags&refHasLinks == 0 || f.whole == w.epoch && w.sel == nil) {
		return nil, true, nil
	}
	links, err := w.s.linksOf(w.ctx, n, f)
	if errors.Is(err, block.ErrDamaged) || errors.Is(err, block.ErrNotFound) {
		w.seen[n] = false
		w.stopped = !w.yield(n)
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	if len(links) == 0 {
		return nil, true, nil
	}
	// A shared block may be met again before it's done: not while walking
	// down a DAG. That it's whole is told when it's done.
	return &step{n: n, links: links, whole: true, note: f.expanded()}, true, nil
}

// Presence says what is here of a DAG, as far as can be told without a walk.
type Presence int

const (
	// Absent: the root is not here.
	Absent Presence = iota
	// Present: the root is here; what is below it may not be.
	Present
	// Whole: all of it is here. It's said of blocks without links, and of DAGs
	// that Missing has found whole since the last loss.
	Whole
)

// Look tells what is here of the DAG below c, at the cost of one question to
// the index. What is here stays until the batch ends, as with Has; but what
// lies below a block that nothing keeps alive may go.
func (b *Batch) Look(ctx context.Context, c cid.Cid) (Presence, error) {
	if err := ctx.Err(); err != nil {
		return Absent, fmt.Errorf("store: look at %s: %w", c, err)
	}
	if err := b.keep(c); err != nil {
		return Absent, fmt.Errorf("store: look at %s: %w", c, err)
	}
	n := nodeOf(c)
	if b.s.protect.isDoomed(n.mh) {
		return Absent, nil // there for readers still, and about to go
	}
	r, err := b.s.lookup(n.mh)
	if err != nil {
		return Absent, fmt.Errorf("store: look at %s: %w", c, err)
	}
	f, _ := r.find(n.codec)
	switch {
	case !r.present():
		return Absent, nil
	case n.codec == block.Raw, f.expanded() && f.flags&refHasLinks == 0 && f.flags&(refUnknown|refUndecodable) == 0:
		return Whole, nil
	case f.expanded() && f.count > 0 && f.whole != 0 && f.whole == b.s.epoch.Load():
		return Whole, nil
	}
	return Present, nil
}

// lookup returns what is known of a multihash, in the index and above it.
func (s *Store) lookup(mh string) (*row, error) {
	if err := s.begin(context.Background()); err != nil {
		return nil, err
	}
	defer s.end()
	s.mu.RLock()
	f, ok := s.fresh[mh]
	s.mu.RUnlock()
	r, err := s.index.row(mh)
	if err != nil {
		return nil, err
	}
	if ok {
		if r.loc = f.loc; f.inMemory {
			r.loc = loc{kind: locPack, size: f.block.Size()}
		}
	}
	return r, nil
}

// linksOf returns the links of a block: those it was expanded with, or else
// what is in its bytes.
func (s *Store) linksOf(ctx context.Context, n node, f ref) ([]node, error) {
	if f.flags&refHasLinks != 0 {
		value, err := s.index.get(n.key(keyLinks))
		if err != nil {
			return nil, err
		}
		if value != nil {
			return parseLinks(n, value)
		}
		// Collapsed meanwhile.
	}
	b, err := s.get(ctx, n.cid(), nil)
	if err != nil {
		return nil, err
	}
	return s.extract(b).nodes, nil
}

// noteWhole has the committer mark blocks as whole, unless any block has left
// the store since the walk began.
func (w *walk) noteWhole() error {
	nodes := w.whole
	w.whole = nil
	if len(nodes) == 0 {
		return nil
	}
	return w.s.do(&op{frees: true, apply: func(c *committer) error {
		if c.meta.epoch != w.epoch || c.meta.removals != w.removals {
			return nil
		}
		for _, n := range nodes {
			r, err := c.row(n.mh)
			if err != nil {
				return err
			}
			f, ok := r.find(n.codec)
			if !ok || !f.expanded() || f.whole == w.epoch || f.count == 0 {
				continue
			}
			if err := c.change(n.mh, func(r *row) { r.ref(n.codec).whole = w.epoch }); err != nil {
				return err
			}
		}
		return nil
	}})
}

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

// keepPause is how long the keeper waits after an error before it looks again.
const keepPause = 10 * time.Second

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
		a, err := s.Resolve(s.ctx, name)
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

// reverseWalk finds out which blocks lead to some other.
type reverseWalk struct {
	ctx   context.Context
	s     *Store
	r     pebble.Reader
	leads map[node]bool
}

// from tells whether the blocks that are sought can be reached from n. All
// answers on the way are remembered.
func (w *reverseWalk) from(root node) (bool, error) {
	stack := []step{{links: []node{root}}}
	for {
		if err := w.ctx.Err(); err != nil {
			return false, err
		}
		top := &stack[len(stack)-1]
		if len(top.links) == 0 {
			done := *top
			stack = stack[:len(stack)-1]
			if len(stack) == 0 {
				return w.leads[root], nil
			}
			w.leads[done.n] = done.whole
			if done.whole {
				stack[len(stack)-1].whole = true
			}
			continue
		}
		n := top.links[0]
		top.links = top.links[1:]
		if leads, ok := w.leads[n]; ok {
			top.whole = top.whole || leads
			continue
		}
		if n.codec == block.Raw {
			continue
		}
		value, err := getFrom(w.r, n.key(keyLinks))
		if err != nil {
			return false, err
		}
		if value == nil {
			w.leads[n] = false
			continue
		}
		links, err := parseLinks(n, value)
		if err != nil {
			return false, err
		}
		stack = append(stack, step{n: n, links: links})
	}
}
