package bitswap

import (
	"cmp"
	"container/list"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ipfs/go-cid"

	"github.com/cairn-ipfs/cairn/block"
)

// An asker is what a peer wants of us.
type asker struct {
	r       *remote
	writing atomic.Pointer[outbound] // what a message is being written to

	mu      sync.Mutex       // guards the following; taken after b.mu
	wants   map[string]*line // by CID
	queue   list.List        // of *line: to be answered
	parked  list.List        // of *line: for blocks that aren't here
	serving bool             // a goroutine is at work
	wake    chan struct{}    // for it
}

// A line of a peer's want list.
type line struct {
	a            *asker
	cid          cid.Cid
	kind         Want
	sendDontHave bool
	in           *list.List // the list it is in: queue, parked, or none
	e            *list.Element
	gone         bool // cancelled
}

func (a *asker) init(r *remote) {
	a.r = r
	a.wake = make(chan struct{}, 1)
}

func (a *asker) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.wants)
}

// add takes in a want list.
func (a *asker) add(entries []entry, full bool) {
	// Peers number their wants downwards, and some mix them up in a message.
	slices.SortStableFunc(entries, func(x, y entry) int { return cmp.Compare(y.priority, x.priority) })
	dropped := 0
	a.mu.Lock()
	if a.wants == nil {
		a.wants = make(map[string]*line)
	}
	if full {
		keep := make(map[string]bool, len(entries))
		for _, e := range entries {
			keep[e.cid.KeyString()] = !e.cancel
		}
		for k, l := range a.wants {
			if !keep[k] {
				a.remove(l)
			}
		}
	}
	for _, e := range entries {
		l := a.wants[e.cid.KeyString()]
		switch {
		case e.cancel:
			if l != nil {
				a.remove(l)
			}
		case block.IsIdentity(e.cid):
			// It carries its block.
		case l != nil:
			l.kind = min(l.kind, e.kind) // a block counts for more
			l.sendDontHave = l.sendDontHave || e.sendDontHave
			a.move(l, &a.queue)
		case a.room():
			l = &line{a: a, cid: e.cid, kind: e.kind, sendDontHave: e.sendDontHave}
			a.wants[e.cid.KeyString()] = l
			a.r.b.asked.Add(1)
			a.move(l, &a.queue)
		default:
			dropped++
		}
	}
	a.serve()
	a.mu.Unlock()
	if dropped > 0 {
		a.r.count(func(c *counters) *atomic.Int64 { return &c.dropped }, int64(dropped))
	}
}

// room tells whether one want more may be remembered; one for a block that
// isn't here makes way. The lock is held.
func (a *asker) room() bool {
	if len(a.wants) < a.r.b.config.MaxAsked && a.r.b.asked.Load() < maxAskedInAll {
		return true
	}
	oldest := a.parked.Front()
	if oldest == nil {
		return false
	}
	a.remove(oldest.Value.(*line))
	return true
}

// move puts a line at the end of a list; nil takes it out of the one it is in.
// The lock is held.
func (a *asker) move(l *line, to *list.List) {
	if l.in == to {
		return
	}
	if l.in != nil {
		l.in.Remove(l.e)
		if l.in == &a.parked {
			a.r.b.parked.remove(l)
		}
	}
	l.in = to
	if to != nil {
		l.e = to.PushBack(l)
		if to == &a.parked {
			a.r.b.parked.add(l)
		}
	}
}

// remove forgets a line. The lock is held.
func (a *asker) remove(l *line) {
	if l.gone {
		return
	}
	a.move(l, nil)
	l.gone = true
	delete(a.wants, l.cid.KeyString())
	a.r.b.asked.Add(-1)
}

// drop forgets all that the peer wants.
func (a *asker) drop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.wants {
		a.remove(l)
	}
}

// next takes the next line to answer.
func (a *asker) next() *line {
	a.mu.Lock()
	defer a.mu.Unlock()
	front := a.queue.Front()
	if front == nil {
		return nil
	}
	l := front.Value.(*line)
	a.move(l, nil)
	return l
}

// back puts a line back to be answered first, unless it was cancelled or asked
// for again.
func (a *asker) back(l *line) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !l.gone && l.in == nil {
		a.move(l, &a.queue)
		a.queue.MoveToFront(l.e)
	}
}

// park keeps a line until its block arrives.
func (a *asker) park(l *line) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !l.gone && l.in == nil {
		a.move(l, &a.parked)
	}
}

// unpark puts a parked line back to be answered.
func (a *asker) unpark(l *line) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !l.gone && l.in == &a.parked {
		a.move(l, &a.queue)
		a.serve()
	}
}

// answered forgets a line that was answered for good, unless it was asked for
// again, and tells whether it was still wanted.
func (a *asker) answered(l *line) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.gone {
		return false
	}
	if l.in == nil {
		a.remove(l)
	}
	return true
}

// look returns what a line wants now, and whether it wants anything.
func (a *asker) look(l *line) (kind Want, sendDontHave, wanted bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return l.kind, l.sendDontHave, !l.gone
}

// waiting are the parked lines of all peers.
type waiting struct {
	mu     sync.Mutex // guards the following; taken after an asker's
	byHash map[string]map[*line]struct{}
}

func (w *waiting) add(l *line) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := key(l.cid)
	lines := w.byHash[k]
	if lines == nil {
		if w.byHash == nil {
			w.byHash = make(map[string]map[*line]struct{})
		}
		lines = make(map[*line]struct{}, 1)
		w.byHash[k] = lines
	}
	lines[l] = struct{}{}
}

func (w *waiting) remove(l *line) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := key(l.cid)
	delete(w.byHash[k], l)
	if len(w.byHash[k]) == 0 {
		delete(w.byHash, k)
	}
}

// of returns the lines that wait for a block.
func (w *waiting) of(c cid.Cid) []*line {
	w.mu.Lock()
	defer w.mu.Unlock()
	waiting := w.byHash[key(c)]
	if len(waiting) == 0 {
		return nil
	}
	lines := make([]*line, 0, len(waiting))
	for l := range waiting {
		lines = append(lines, l)
	}
	return lines
}

// Have tells the peers that wait for blocks that these have arrived, by
// answering them. The blocks must be in Blocks already.
func (b *Bitswap) Have(cids ...cid.Cid) {
	b.arrived.Add(1) // before looking who waits; see (*asker).prepare
	for _, c := range cids {
		if !c.Defined() {
			continue
		}
		for _, l := range b.parked.of(c) {
			l.a.unpark(l)
		}
	}
}
