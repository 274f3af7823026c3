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
	"github.com/cairn-ipfs/cairn/internal/access"
)

// A remote is one peer: our wants of it, its wants of us, and its conversations.
type remote struct {
	b  *Bitswap
	id peer.ID

	wantedBytes   atomic.Int64 // of blocks that came and were asked for
	unwantedBytes atomic.Int64 // of other blocks

	memory  *budget      // bytes of blocks coming in
	sending *budget      // bytes of answers
	readers *budget      // streams being read
	inbound atomic.Int32 // streams
	reads   atomic.Int64 // reads that returned bytes
	server  server

	holders int // guarded by b.mu

	mu          sync.Mutex // guards the following
	err         error      // why the peer is ignored
	talks       map[*Conversation]struct{}
	wants       map[string]*want // by multihash
	queue       wantQueue        // of wants: those to be sent
	outstanding int              // wants sent and not answered, and cancels not sent
	cancels     map[string]cid.Cid
	late        lateSet
	seq         uint32
	sender      *sender // while there are conversations
}

// A want is a block, or its presence, that conversations want of the peer.
type want struct {
	cid          cid.Cid // as the peer is asked
	kind         Want
	sendDontHave bool
	priority     int
	seq          uint32
	index        int  // in the heap, or -1
	sent         int  // how many times it was sent and may be answered
	counted      bool // in outstanding
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
	r.server.init(r)
	return r
}

// refused returns why the peer is ignored, or nil.
func (r *remote) refused() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// expecting reports whether a block that was asked for may be on its way.
func (r *remote) expecting() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.late.expire(time.Now())
	return len(r.wants) > 0 || r.late.order.Len() > 0
}

// add adds a conversation's wants. It answers those at once whose blocks need not
// be asked for.
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
		if b, ok := knownBlock(id); ok {
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
			heap.Push(&r.queue, w)
			wake = true
		}
	}
	return nil
}

// knownBlock returns a block that need not be asked for: one that its CID carries,
// or the empty one, for which boxo's server answers DONT_HAVE.
func knownBlock(c cid.Cid) (block.Block, bool) {
	if b, ok := block.Inlined(c); ok {
		return b, true
	}
	if b, err := block.Verify(c, nil); err == nil {
		return b, true
	}
	return block.Block{}, false
}

// withdraw removes a conversation's asks for the CIDs.
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

// unask removes asks of a want, and returns them. With the last one the want ends,
// and is cancelled at the peer. The lock is held.
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
			// It stays counted until the cancel is sent.
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

// remove removes a want, for which late blocks may still come. The lock is held.
func (r *remote) remove(w *want, late int) {
	k := key(w.cid)
	delete(r.wants, k)
	if w.index >= 0 {
		heap.Remove(&r.queue, w.index)
	}
	if w.counted {
		r.outstanding--
	}
	for range late {
		r.late.add(k, time.Now())
	}
}

// received hands a block that came to the conversations that want it.
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
		return nil
	}
	r.remove(w, w.sent-1)
	for _, a := range w.asks {
		delete(a.talk.wants, w)
	}
	var s *sender
	if r.queue.Len() > 0 {
		s = r.sender
	}
	r.mu.Unlock()
	if s != nil {
		s.wake()
	}
	r.wantedBytes.Add(int64(b.Size()))
	for _, a := range w.asks {
		named, err := b.WithCID(a.cid)
		if err != nil {
			return err // the multihash is the key, so this can't be
		}
		a.talk.deliver(Reply{Kind: Block, CID: a.cid, Block: named})
	}
	return nil
}

// presence hands a HAVE or DONT_HAVE to the conversations that asked for it.
func (r *remote) presence(c cid.Cid, have bool) {
	r.mu.Lock()
	w := r.wants[key(c)]
	if w == nil {
		r.mu.Unlock()
		return
	}
	kind := DontHave
	answers := func(a ask) bool { return a.sendDontHave }
	if have {
		kind = Have
		answers = func(a ask) bool { return a.kind == WantHave }
	}
	if have && w.kind == WantHave && w.counted {
		// With this answer the peer's server has forgotten the want.
		w.sent--
		w.counted = false
		r.outstanding--
	}
	gone := r.unask(w, answers)
	s := r.sender
	r.mu.Unlock()
	if s != nil {
		s.wake()
	}
	for _, a := range gone {
		a.talk.deliver(Reply{Kind: kind, CID: a.cid})
	}
}

// unwanted counts a block of n bytes that wasn't asked for. It fails, and ignores
// the peer, after too many bytes of them.
func (r *remote) unwanted(n int) error {
	rule := block.Internal(access.Key{})
	bytes := r.unwantedBytes.Add(rule.UnwantedBytes(n))
	if !rule.TooMuchUnwanted(bytes, r.wantedBytes.Load()) {
		return nil
	}
	err := fmt.Errorf("%w: %d bytes of blocks that were not asked for", ErrMisbehaved, bytes)
	r.ignore(err)
	return err
}

// violated ends the conversations with a peer that broke the protocol. The peer
// may be asked again: a stream may have been cut badly.
func (r *remote) violated(err error) {
	r.b.log.Warn("bitswap: peer broke the protocol", "peer", r.id, "error", err)
	r.fail(fmt.Errorf("%w: %w", ErrMisbehaved, err))
}

// ignore ends the conversations, and ignores the peer until it is disconnected.
func (r *remote) ignore(err error) {
	r.mu.Lock()
	if r.err == nil {
		r.err = err
	}
	r.mu.Unlock()
	r.server.clear()
	r.fail(err)
}

// fail ends all conversations with an error, and forgets their wants.
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
	r.queue = nil
	r.outstanding = 0
	if s := r.sender; s != nil {
		r.sender = nil
		r.b.host.ConnManager().Unprotect(r.id, protectTag)
		s.wake()
	}
}
