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

// A server keeps one peer's want list, and answers it.
type server struct {
	r       *remote
	writing atomic.Pointer[outbound] // the stream that a message is written to
	share   int                      // of the peer's memory for the next message; run's

	mu      sync.Mutex       // guards the following; taken after b.mu
	wants   map[string]*line // by CID
	queue   lines            // to be answered
	parked  lines            // for blocks that aren't here
	clock   int64            // counts calls of add
	credit  float64          // wants that the peer may add at once
	since   time.Time        // when that was so
	serving bool             // run runs
	wake    chan struct{}    // for run
}

// A line of a peer's want list.
type line struct {
	s            *server
	cid          cid.Cid
	kind         Want
	sendDontHave bool
	gone         bool   // cancelled or answered
	added        int64  // when it was added last, by the server's clock
	in           *lines // the list it is in: queue, parked, or none
	prev, next   *line  // in that list
	// Parked lines for the same block, of any peer.
	prevSame, nextSame *line
}

// lines is a list that is linked through its lines: a line is in one at most, and
// there may be very many.
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

func (s *server) init(r *remote) {
	s.r = r
	s.share = r.b.config.MessageSize + maxPayloadOverhead
	s.wake = make(chan struct{}, 1)
	s.credit = wantsAtOnce
	s.since = time.Now()
}

// now returns a time for keepSince.
func (s *server) now() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock
}

// keepSince forgets all wants but those added since: a full list replaces what
// the peer wanted before.
func (s *server) keepSince(since int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.wants {
		if l.added <= since {
			s.remove(l)
		}
	}
}

// pace takes credit for n wants, and waits until it is paid back. x/time/rate
// would do, but its limiter takes nothing back, as earn does.
func (s *server) pace(ctx context.Context, n int) error {
	s.mu.Lock()
	now, rate := time.Now(), float64(s.r.b.config.WantRate)
	s.credit = min(wantsAtOnce, s.credit+now.Sub(s.since).Seconds()*rate) - float64(n)
	s.since = now
	wait := time.Duration(-s.credit / rate * float64(time.Second))
	s.mu.Unlock()
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

// earn gives the peer credit for n more wants, after as many were answered.
func (s *server) earn(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.credit += float64(n)
}

// add takes in entries of a want list.
func (s *server) add(entries []entry) {
	// Peers number their wants downwards, and some mix them up in a message.
	slices.SortStableFunc(entries, func(x, y entry) int { return cmp.Compare(y.priority, x.priority) })
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wants == nil {
		s.wants = make(map[string]*line)
	}
	s.clock++
	for _, e := range entries {
		l := s.wants[e.cid.KeyString()]
		switch {
		case e.cancel:
			if l != nil {
				s.remove(l)
			}
		case block.IsIdentity(e.cid):
			// It carries its block.
		case l != nil:
			l.added = s.clock
			l.kind = min(l.kind, e.kind) // a block counts for more
			l.sendDontHave = l.sendDontHave || e.sendDontHave
			s.move(l, &s.queue)
		case s.makeRoom():
			l = &line{s: s, cid: e.cid, kind: e.kind, sendDontHave: e.sendDontHave, added: s.clock}
			s.wants[e.cid.KeyString()] = l
			s.r.b.asked.Add(1)
			s.move(l, &s.queue)
		}
	}
	s.serve()
}

// makeRoom reports whether one more want may be remembered. If there are too
// many, it drops the oldest one for a block that isn't here. The lock is held.
func (s *server) makeRoom() bool {
	has := len(s.wants)
	if has < s.r.b.config.MaxAsked && (has < spareAsked || s.r.b.asked.Load() < maxAskedInAll) {
		return true
	}
	oldest := s.parked.front
	if oldest == nil {
		return false
	}
	s.remove(oldest)
	return true
}

// move puts a line at the end of a list; nil takes it out of the one it is in.
// The lock is held.
func (s *server) move(l *line, to *lines) {
	if l.in == to {
		return
	}
	if l.in != nil {
		if l.in == &s.parked {
			s.r.b.parked.remove(l)
		}
		l.in.remove(l)
	}
	if to != nil {
		to.insert(l, nil)
		if to == &s.parked {
			s.r.b.parked.add(l)
		}
	}
}

// remove forgets a line. The lock is held.
func (s *server) remove(l *line) {
	if l.gone {
		return
	}
	s.move(l, nil)
	l.gone = true
	delete(s.wants, l.cid.KeyString())
	s.r.b.asked.Add(-1)
}

// clear forgets the want list.
func (s *server) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.wants {
		s.remove(l)
	}
}

// next takes the next line to answer.
func (s *server) next() *line {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.queue.front
	if l != nil {
		s.move(l, nil)
	}
	return l
}

// putBack queues a line to be answered first, unless it was cancelled or asked for
// again.
func (s *server) putBack(l *line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !l.gone && l.in == nil {
		s.queue.insert(l, s.queue.front)
	}
}

// park keeps a line until its block arrives.
func (s *server) park(l *line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !l.gone && l.in == nil {
		s.move(l, &s.parked)
	}
}

// unpark queues a parked line to be answered.
func (s *server) unpark(l *line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !l.gone && l.in == &s.parked {
		s.move(l, &s.queue)
		s.serve()
	}
}

// finish forgets a line that has its last answer, unless it was asked for again.
// It reports whether the line was still wanted.
func (s *server) finish(l *line) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.gone {
		return false
	}
	if l.in == nil {
		s.remove(l)
	}
	return true
}

// state returns what a line wants now, and whether it is still wanted.
func (s *server) state(l *line) (kind Want, sendDontHave, wanted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return l.kind, l.sendDontHave, !l.gone
}

// parkedLines are the parked lines of all peers.
type parkedLines struct {
	mu     sync.Mutex       // guards the following, and the lines' prevSame and nextSame; taken after a server's
	byHash map[string]*line // the first of those for a block
}

func (p *parkedLines) add(l *line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byHash == nil {
		p.byHash = make(map[string]*line)
	}
	k := key(l.cid)
	l.nextSame = p.byHash[k]
	if l.nextSame != nil {
		l.nextSame.prevSame = l
	}
	p.byHash[k] = l
}

func (p *parkedLines) remove(l *line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case l.prevSame != nil:
		l.prevSame.nextSame = l.nextSame
	case l.nextSame != nil:
		p.byHash[key(l.cid)] = l.nextSame
	default:
		delete(p.byHash, key(l.cid))
	}
	if l.nextSame != nil {
		l.nextSame.prevSame = l.prevSame
	}
	l.prevSame, l.nextSame = nil, nil
}

// waitingFor returns the lines that wait for a block.
func (p *parkedLines) waitingFor(c cid.Cid) []*line {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*line
	for l := p.byHash[key(c)]; l != nil; l = l.nextSame {
		all = append(all, l)
	}
	return all
}

// Have answers the peers that wait for blocks that have arrived. Blocks must have
// them already.
func (b *Bitswap) Have(cids ...cid.Cid) {
	b.arrived.Add(1) // before looking for waiting lines; see (*server).prepare
	for _, c := range cids {
		if !c.Defined() {
			continue
		}
		for _, l := range b.parked.waitingFor(c) {
			l.s.unpark(l)
		}
	}
}
