package bitswap

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/cairn-ipfs/cairn/block"
)

// An asker is what a peer wants of us.
type asker struct {
	r       *remote
	writing atomic.Pointer[outbound] // what a message is being written to
	share   int                      // of the peer's memory for the next message; run's

	mu      sync.Mutex       // guards the following; taken after b.mu
	wants   map[string]*line // by CID
	queue   lines            // to be answered
	parked  lines            // for blocks that aren't here
	clock   int64            // counts calls of add
	credit  float64          // wants that may be added at once
	since   time.Time        // when that was so
	serving bool             // a goroutine is at work
	wake    chan struct{}    // for it
}

// A line of a peer's want list.
type line struct {
	a            *asker
	cid          cid.Cid
	kind         Want
	sendDontHave bool
	gone         bool   // cancelled
	added        int64  // when it was added last, as the asker counts
	in           *lines // the list it is in: queue, parked, or none
	prev, next   *line  // in that list
	// Parked lines for the same block, of any peer.
	prevSame, nextSame *line
}

// lines is a list of lines, each of which is in one at most: there may be very
// many of them.
type lines struct{ front, back *line }

func (ls *lines) insert(l, before *line) {
	l.in, l.next = ls, before
	if before != nil {
		l.prev, before.prev = before.prev, l
	} else {
		l.prev, ls.back = ls.back, l
	}
	if l.prev != nil {
		l.prev.next = l
	} else {
		ls.front = l
	}
}

func (ls *lines) remove(l *line) {
	if l.prev != nil {
		l.prev.next = l.next
	} else {
		ls.front = l.next
	}
	if l.next != nil {
		l.next.prev = l.prev
	} else {
		ls.back = l.prev
	}
	l.in, l.prev, l.next = nil, nil, nil
}

func (a *asker) init(r *remote) {
	a.r = r
	a.share = r.b.config.MessageSize + maxPayloadOverhead
	a.wake = make(chan struct{}, 1)
	a.credit = wantsAtOnce
	a.since = time.Now()
}

func (a *asker) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.wants)
}

// now returns a time for keepSince.
func (a *asker) now() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.clock
}

// keepSince forgets all wants but those added since: those of a list that says
// that it's all.
func (a *asker) keepSince(since int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.wants {
		if l.added <= since {
			a.remove(l)
		}
	}
}

// pace waits if the peer has added too many wants in too short a time, with n
// more.
func (a *asker) pace(ctx context.Context, n int) error {
	a.mu.Lock()
	now, rate := time.Now(), float64(a.r.b.config.WantRate)
	a.credit = min(wantsAtOnce, a.credit+now.Sub(a.since).Seconds()*rate) - float64(n)
	a.since = now
	wait := time.Duration(-a.credit / rate * float64(time.Second))
	a.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// earn lets the peer add n wants more, as it was given as much.
func (a *asker) earn(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.credit += float64(n)
}

// add takes in entries of a want list.
func (a *asker) add(entries []entry) {
	// Peers number their wants downwards, and some mix them up in a message.
	slices.SortStableFunc(entries, func(x, y entry) int { return cmp.Compare(y.priority, x.priority) })
	dropped := 0
	a.mu.Lock()
	if a.wants == nil {
		a.wants = make(map[string]*line)
	}
	a.clock++
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
			l.added = a.clock
			l.kind = min(l.kind, e.kind) // a block counts for more
			l.sendDontHave = l.sendDontHave || e.sendDontHave
			a.move(l, &a.queue)
		case a.room():
			l = &line{a: a, cid: e.cid, kind: e.kind, sendDontHave: e.sendDontHave, added: a.clock}
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
	has := len(a.wants)
	if has < a.r.b.config.MaxAsked && (has < spareAsked || a.r.b.asked.Load() < maxAskedInAll) {
		return true
	}
	oldest := a.parked.front
	if oldest == nil {
		return false
	}
	a.remove(oldest)
	return true
}

// move puts a line at the end of a list; nil takes it out of the one it is in.
// The lock is held.
func (a *asker) move(l *line, to *lines) {
	if l.in == to {
		return
	}
	if l.in != nil {
		if l.in == &a.parked {
			a.r.b.parked.remove(l)
		}
		l.in.remove(l)
	}
	if to != nil {
		to.insert(l, nil)
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
	l := a.queue.front
	if l != nil {
		a.move(l, nil)
	}
	return l
}

// back puts a line back to be answered first, unless it was cancelled or asked
// for again.
func (a *asker) back(l *line) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !l.gone && l.in == nil {
		a.queue.insert(l, a.queue.front)
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
	mu     sync.Mutex       // guards the following, and the lines' prevSame and nextSame; taken after an asker's
	byHash map[string]*line // the first of those for a block
}

func (w *waiting) add(l *line) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byHash == nil {
		w.byHash = make(map[string]*line)
	}
	k := key(l.cid)
	l.nextSame = w.byHash[k]
	if l.nextSame != nil {
		l.nextSame.prevSame = l
	}
	w.byHash[k] = l
}

func (w *waiting) remove(l *line) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case l.prevSame != nil:
		l.prevSame.nextSame = l.nextSame
	case l.nextSame != nil:
		w.byHash[key(l.cid)] = l.nextSame
	default:
		delete(w.byHash, key(l.cid))
	}
	if l.nextSame != nil {
		l.nextSame.prevSame = l.prevSame
	}
	l.prevSame, l.nextSame = nil, nil
}

// of returns the lines that wait for a block.
func (w *waiting) of(c cid.Cid) []*line {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*line
	for l := w.byHash[key(c)]; l != nil; l = l.nextSame {
		all = append(all, l)
	}
	return all
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
