package bitswap

import (
	"slices"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/peer"
)

// A Ledger says what was exchanged with a peer since it was connected, or with
// all peers.
type Ledger struct {
	// Blocks that were asked for and came, and that were sent.
	BlocksIn, BytesIn   int64
	BlocksOut, BytesOut int64
	// Late are blocks that came after they had been had elsewhere and
	// cancelled, or twice.
	LateBlocks, LateBytes int64
	// Unwanted are blocks nobody had asked for, their bytes rounded up. Some
	// of them may be answers with the wrong bytes, which makes them another
	// block. Too many bytes of them end the conversations.
	UnwantedBlocks, UnwantedBytes int64
	// Violations are messages that broke the protocol.
	Violations int64
	// Dropped are the peer's wants beyond those that are remembered.
	Dropped int64

	// Outstanding are the wants that the peer has not answered, and HeldBack
	// those it has not been told of yet.
	Outstanding, HeldBack int
	// Asked are the wants of the peer that are remembered: not answered yet,
	// or for blocks that aren't here.
	Asked int
}

// counters are the part of a Ledger that only grows.
type counters struct {
	blocksIn, bytesIn, blocksOut, bytesOut atomic.Int64
	lateBlocks, lateBytes                  atomic.Int64
	unwantedBlocks, unwantedBytes          atomic.Int64
	violations, dropped                    atomic.Int64
}

func (c *counters) ledger() Ledger {
	return Ledger{
		BlocksIn: c.blocksIn.Load(), BytesIn: c.bytesIn.Load(),
		BlocksOut: c.blocksOut.Load(), BytesOut: c.bytesOut.Load(),
		LateBlocks: c.lateBlocks.Load(), LateBytes: c.lateBytes.Load(),
		UnwantedBlocks: c.unwantedBlocks.Load(), UnwantedBytes: c.unwantedBytes.Load(),
		Violations: c.violations.Load(), Dropped: c.dropped.Load(),
	}
}

func (r *remote) ledger() Ledger {
	l := r.counts.ledger()
	r.mu.Lock()
	l.Outstanding, l.HeldBack = r.outstanding, r.held.Len()
	r.mu.Unlock()
	l.Asked = r.ask.count()
	return l
}

// Ledger returns what was exchanged with a peer, if anything was. It is
// forgotten when the peer is disconnected and no conversation is open.
func (b *Bitswap) Ledger(p peer.ID) (Ledger, bool) {
	b.mu.Lock()
	r := b.remotes[p]
	b.mu.Unlock()
	if r == nil {
		return Ledger{}, false
	}
	return r.ledger(), true
}

// Heard counts what comes from a peer, in pieces of messages. It begins anew with
// each connection.
func (b *Bitswap) Heard(p peer.ID) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.remotes[p]; r != nil {
		return r.heard.Load()
	}
	return 0
}

// Peers returns the peers that there are ledgers of, in order.
func (b *Bitswap) Peers() []peer.ID {
	b.mu.Lock()
	defer b.mu.Unlock()
	peers := make([]peer.ID, 0, len(b.remotes))
	for p := range b.remotes {
		peers = append(peers, p)
	}
	slices.Sort(peers)
	return peers
}

// Stats returns what was exchanged with all peers, those forgotten included.
func (b *Bitswap) Stats() Ledger {
	l := b.total.ledger()
	for _, r := range b.snapshot() {
		one := r.ledger()
		l.Outstanding += one.Outstanding
		l.HeldBack += one.HeldBack
		l.Asked += one.Asked
	}
	return l
}

// count adds n to a peer's counter and to that of all.
func (r *remote) count(of func(*counters) *atomic.Int64, n int64) {
	of(&r.counts).Add(n)
	of(&r.b.total).Add(n)
}
