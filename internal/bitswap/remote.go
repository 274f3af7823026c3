package bitswap

import (
	"container/heap"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cairn-ipfs/cairn/block"
)

const (
	// maxUnwanted and maxUnwantedShare: a peer may send this many bytes that
	// nobody asked for, or this part of those that somebody did.
	maxUnwanted      = 4 << 20
	maxUnwantedShare = 100

	// unwantedOverhead is added to an unwanted block's size: empty ones cost
	// work, too.
	unwantedOverhead = 64

	// maxLate is the most cancelled wants for which a block may still come
	// that are remembered: several times what can be under way.
	maxLate = 8 << 10

	// lateTime is for how long it may still come: longer than one block takes at
	// the slowest.
	lateTime = 5 * time.Minute
)

// A remote is one peer: what is asked of it, what it asks, and what was
// exchanged.
type remote struct {
	b  *Bitswap
	id peer.ID

	counts  counters
	memory  *budget      // bytes of blocks coming in
	sending *budget      // bytes of answers
	readers *budget      // streams being read
	inbound atomic.Int32 // streams
	heard   atomic.Int64 // reads that brought something
	ask     asker

	holders int // guarded by b.mu

	mu          sync.Mutex // guards the following
	err         error      // why the peer isn't spoken with any more
	talks       map[*Conversation]struct{}
	wants       map[string]*want // by multihash
	held        heldBack         // of wants: those to be sent
	outstanding int              // wants sent and not answered, and cancels not sent
	cancels     map[string]cid.Cid
	late        lateSet
	seq         uint32
	sender      *sender // while there are conversations
}

// A want is a block, or the news of one, that conversations want of the peer.
type want struct {
	cid          cid.Cid // as the peer is asked
	kind         Want
	sendDontHave bool
	priority     int
	seq          uint32
	index        int // in the heap, or -1
	sent         int // how many times it was sent and may be answered
	counted      bool
	asks         []ask
}

// An ask is the part that one conversation has in a want.
type ask struct {
	talk         *Conversation
	cid          cid.Cid // as the conversation calls the block
	kind         Want
	sendDontHave bool
}

func newRemote(b *Bitswap, p peer.ID) *remote {
	r := &remote{
		b:       b,
		id:      p,
		memory:  newBudget(maxPeerMemory),
		sending: newBudget(maxPeerAnswers),
		readers: newBudget(peerReaders),
		talks:   make(map[*Conversation]struct{}),
		wants:   make(map[string]*want),
		cancels: make(map[string]cid.Cid),
	}
	r.ask.init(r)
	return r
}

// refused returns why the peer isn't listened to any more, or nil.
func (r *remote) refused() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// expecting tells whether a block may be on its way that was asked for.
func (r *remote) expecting() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.late.expire(time.Now())
	return len(r.wants) > 0 || r.late.order.Len() > 0
}

// add takes a conversation's wants. Those of blocks that need not be asked for
// are answered at once.
func (r *remote) add(c *Conversation, kind Want, sendDontHave bool, priority int, cids []cid.Cid) error {
	wake := false
	r.mu.Lock()
	defer func() {
		s := r.sender
		r.mu.Unlock()
		if wake && s != nil {
			s.wake()
		}
	}()
	if c.ended() {
		return c.reason()
	}
	if len(c.wants)+len(cids) > maxWants {
		return fmt.Errorf("%w (%d, and %d open; the limit is %d)", ErrTooMany, len(cids), len(c.wants), maxWants)
	}
	for _, id := range cids {
		if b, ok := here(id); ok {
			c.put(Reply{Kind: Block, CID: id, Block: b})
			continue
		}
		k := key(id)
		w := r.wants[k]
		if w == nil {
			w = &want{cid: id, kind: kind, sendDontHave: sendDontHave, priority: priority, seq: r.seq, index: -1}
			r.seq++
			r.wants[k] = w
			if _, pending := r.cancels[k]; pending {
				delete(r.cancels, k)
				r.outstanding--
			}
		}
		if a := (ask{c, id, kind, sendDontHave}); !slices.Contains(w.asks, a) {
			w.asks = append(w.asks, a)
		}
		c.wants[w] = struct{}{}
		stronger := kind == WantBlock && w.kind == WantHave || sendDontHave && !w.sendDontHave
		if stronger {
			w.kind = min(w.kind, kind)
			w.sendDontHave = w.sendDontHave || sendDontHave
		}
		if w.index < 0 && (w.sent == 0 || stronger) {
			heap.Push(&r.held, w)
			wake = true
		}
	}
	return nil
}

// here returns a block that need not be asked for: one that its CID carries,
// or the empty one, which boxo's server doesn't give away.
func here(c cid.Cid) (block.Block, bool) {
	if b, ok := block.Inlined(c); ok {
		return b, true
	}
	if b, err := block.Verify(c, nil); err == nil {
		return b, true
	}
	return block.Block{}, false
}

// withdraw takes a conversation's asks for the CIDs back.
func (r *remote) withdraw(c *Conversation, cids []cid.Cid) {
	r.mu.Lock()
	for _, id := range cids {
		if w := r.wants[key(id)]; w != nil {
			r.unask(w, func(a ask) bool { return a.talk == c && a.cid == id })
		}
	}
	s := r.sender
	r.mu.Unlock()
	if s != nil {
		s.wake()
	}
}

// unask removes asks of a want; with the last one the peer's server is told
// to forget it. It returns those removed. The lock is held.
func (r *remote) unask(w *want, which func(ask) bool) []ask {
	var gone []ask
	kept := w.asks[:0]
	for _, a := range w.asks {
		if which(a) {
			gone = append(gone, a)
		} else {
			kept = append(kept, a)
		}
	}
	clear(w.asks[len(kept):])
	w.asks = kept
	for _, a := range gone {
		if !asks(w, a.talk) {
			delete(a.talk.wants, w)
		}
	}
	if len(w.asks) == 0 {
		r.remove(w, w.sent)
		if w.counted {
			// It stays counted until the cancel is on its way.
			r.cancels[key(w.cid)] = w.cid
			r.outstanding++
		}
	}
	return gone
}

func asks(w *want, c *Conversation) bool {
	for _, a := range w.asks {
		if a.talk == c {
			return true
		}
	}
	return false
}

// remove removes a want, for which as many blocks may still come. The lock is
// held.
func (r *remote) remove(w *want, late int) {
	k := key(w.cid)
	delete(r.wants, k)
	if w.index >= 0 {
		heap.Remove(&r.held, w.index)
	}
	if w.counted {
		r.outstanding--
	}
	for range late {
		r.late.add(k, time.Now())
	}
}

// received hands a block that came from the peer to those who asked for it.
func (r *remote) received(b block.Block) error {
	k := key(b.CID())
	r.mu.Lock()
	w := r.wants[k]
	if w == nil {
		late := r.late.take(k)
		r.mu.Unlock()
		if !late {
			return r.unwanted(b.Size())
		}
		r.count(func(c *counters) *atomic.Int64 { return &c.lateBlocks }, 1)
		r.count(func(c *counters) *atomic.Int64 { return &c.lateBytes }, int64(b.Size()))
		return nil
	}
	r.remove(w, w.sent-1)
	for _, a := range w.asks {
		delete(a.talk.wants, w)
	}
	var s *sender
	if r.held.Len() > 0 {
		s = r.sender
	}
	r.mu.Unlock()
	if s != nil {
		s.wake()
	}
	r.count(func(c *counters) *atomic.Int64 { return &c.blocksIn }, 1)
	r.count(func(c *counters) *atomic.Int64 { return &c.bytesIn }, int64(b.Size()))
	if r.b.config.Received != nil {
		r.b.config.Received(r.id, b.Size())
	}
	for _, a := range w.asks {
		named, err := b.WithCID(a.cid)
		if err != nil {
			return err // the multihash is the key, so this can't be
		}
		a.talk.deliver(Reply{Kind: Block, CID: a.cid, Block: named})
	}
	return nil
}

// heardOf hands a HAVE or DONT_HAVE to those who asked for it.
func (r *remote) heardOf(c cid.Cid, have bool) {
	r.mu.Lock()
	w := r.wants[key(c)]
	if w == nil {
		r.mu.Unlock()
		return
	}
	kind := DontHave
	told := func(a ask) bool { return a.sendDontHave }
	if have {
		kind = Have
		told = func(a ask) bool { return a.kind == WantHave }
	}
	if have && w.kind == WantHave && w.counted {
		// The peer's server has forgotten the want with this answer.
		w.sent--
		w.counted = false
		r.outstanding--
	}
	gone := r.unask(w, told)
	s := r.sender
	r.mu.Unlock()
	if s != nil {
		s.wake()
	}
	for _, a := range gone {
		a.talk.deliver(Reply{Kind: kind, CID: a.cid})
	}
}

// unwanted counts a block that nobody asked for; it fails when there were too
// many bytes of them.
func (r *remote) unwanted(n int) error {
	r.count(func(c *counters) *atomic.Int64 { return &c.unwantedBlocks }, 1)
	r.count(func(c *counters) *atomic.Int64 { return &c.unwantedBytes }, int64(n+unwantedOverhead))
	bad, good := r.counts.unwantedBytes.Load(), r.counts.bytesIn.Load()
	if bad <= max(maxUnwanted, good/maxUnwantedShare) {
		return nil
	}
	err := fmt.Errorf("%w: %d bytes that nobody asked for", ErrMisbehaved, bad)
	r.shun(err)
	return err
}

// violated notes that the peer broke the protocol, and ends what is going on
// with it. It may be tried again: a stream may have been cut badly.
func (r *remote) violated(err error) {
	r.count(func(c *counters) *atomic.Int64 { return &c.violations }, 1)
	r.b.log.Warn("bitswap: peer broke the protocol", "peer", r.id, "error", err)
	r.fail(fmt.Errorf("%w: %w", ErrMisbehaved, err))
}

// shun ends what is going on with the peer, until it is disconnected.
func (r *remote) shun(err error) {
	r.mu.Lock()
	if r.err == nil {
		r.err = err
	}
	r.mu.Unlock()
	r.ask.drop()
	r.fail(err)
}

// fail ends all conversations with an error, and forgets what they want.
func (r *remote) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failLocked(err)
}

// failLocked is fail with the lock held.
func (r *remote) failLocked(err error) {
	for c := range r.talks {
		clear(c.wants)
		c.end(fmt.Errorf("bitswap: peer %s: %w", r.id, err))
	}
	clear(r.talks)
	for _, w := range r.wants {
		if w.sent > 0 {
			r.late.add(key(w.cid), time.Now())
		}
	}
	clear(r.wants)
	clear(r.cancels)
	r.held = nil
	r.outstanding = 0
	if s := r.sender; s != nil {
		r.sender = nil
		r.b.host.ConnManager().Unprotect(r.id, protectTag)
		s.wake()
	}
}
