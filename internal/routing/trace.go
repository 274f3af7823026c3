package routing

import (
	"context"
	"crypto/sha256"
	"errors"
	"math/bits"
	"sync"
	"time"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/routing"
)

// A TraceEvent describes one request of a lookup after it was answered or failed.
type TraceEvent struct {
	// Source is the source that sent the request: dht, lan, accelerated, or the
	// host of a delegated router, whose events have neither Hop nor Distance.
	Source string
	// Hop is 1 for peers that were known when the lookup began, and n+1 for peers
	// that a peer of hop n reported.
	Hop int
	// Peer is the peer that was asked.
	Peer peer.ID
	// Distance is the XOR of the hashes of Peer and of the key; Prefix is the
	// number of leading bits that the two share, the leading zero bits of
	// Distance.
	Distance [sha256.Size]byte
	Prefix   int
	// Closer lists the peers that the answer calls closer to the key, Providers
	// those it calls providers, both unfiltered, at most 256 each.
	Closer, Providers []peer.AddrInfo
	// Value reports whether the answer has a record.
	Value bool
	// Took is the time from the request to its answer or failure.
	Took time.Duration
	// Err is the reason of a failure. nil: there is an answer.
	Err error
}

// maxTraced bounds the peers of an event: a hostile peer may send thousands.
const maxTraced = 256

type traceKey struct{}

// WithTrace returns a context with which lookups call f for each request. Calls
// of f don't overlap, and block the lookup: f should be quick. A few calls may
// come after the lookup has ended.
func WithTrace(ctx context.Context, f func(TraceEvent)) context.Context {
	var mu sync.Mutex
	return context.WithValue(ctx, traceKey{}, func(e TraceEvent) {
		mu.Lock()
		defer mu.Unlock()
		f(e)
	})
}

// traceFrom returns what WithTrace set, or nil.
func traceFrom(ctx context.Context) func(TraceEvent) {
	f, _ := ctx.Value(traceKey{}).(func(TraceEvent))
	return f
}

// A lookup records the requests of one lookup in one DHT. The context carries it
// from the table that starts it to the sender of its messages.
type lookup struct {
	source string
	target [sha256.Size]byte
	trace  func(TraceEvent) // or nil

	mu       sync.Mutex // guards the following
	asked    map[peer.ID]bool
	answers  int
	hops     map[peer.ID]int
	dialling map[peer.ID]time.Time
}

type lookupKey struct{}

// startLookup makes a lookup and its context. The end function cancels it, and
// waits for the DHT's last events. The seeds are the peers that the DHT starts
// from; startLookup calls it only for a trace.
func startLookup(ctx context.Context, source, key string, seeds func() []peer.ID) (_ context.Context, l *lookup, end func()) {
	l = &lookup{source: source, target: sha256.Sum256([]byte(key)), trace: traceFrom(ctx), asked: make(map[peer.ID]bool)}
	ctx, cancel := context.WithCancel(context.WithValue(ctx, lookupKey{}, l))
	if l.trace == nil {
		return ctx, l, cancel
	}
	l.hops = make(map[peer.ID]int)
	l.dialling = make(map[peer.ID]time.Time)
	for _, p := range seeds() {
		l.hops[p] = 1
	}
	ctx, events := routing.RegisterForQueryEvents(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		for e := range events {
			l.recordDial(e)
		}
	})
	return ctx, l, func() {
		cancel()
		running.Wait()
	}
}

func lookupFrom(ctx context.Context) *lookup {
	l, _ := ctx.Value(lookupKey{}).(*lookup)
	return l
}

// recordQuestion records that a peer is asked. The lookup may be nil.
func (l *lookup) recordQuestion(p peer.ID) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked[p] = true
}

// recordAnswer records a peer's answer, or its failure. The lookup may be nil.
func (l *lookup) recordAnswer(p peer.ID, m *pb.Message, took time.Duration, err error) {
	if l == nil {
		return
	}
	l.mu.Lock()
	if err == nil {
		l.answers++
	}
	if l.trace == nil {
		l.mu.Unlock()
		return
	}
	e := l.newEvent(p, took, err)
	if m != nil {
		e.Closer, e.Providers = addrInfos(m.GetCloserPeers()), addrInfos(m.GetProviderPeers())
		e.Value = m.GetRecord() != nil
		for _, c := range e.Closer {
			if l.hops[c.ID] == 0 {
				l.hops[c.ID] = e.Hop + 1
			}
		}
	}
	l.mu.Unlock()
	l.trace(e)
}

// newEvent returns an event for a peer. The caller holds mu.
func (l *lookup) newEvent(p peer.ID, took time.Duration, err error) TraceEvent {
	e := TraceEvent{Source: l.source, Peer: p, Took: took, Err: err}
	if l.hops[p] == 0 {
		l.hops[p] = 1
	}
	e.Hop = l.hops[p]
	e.Distance, e.Prefix = distance(l.target, sha256.Sum256([]byte(p)))
	return e
}

// recordDial records an event of the DHT about a dial: a peer whose dial fails is
// never asked, and traced here.
func (l *lookup) recordDial(e *routing.QueryEvent) {
	l.mu.Lock()
	switch {
	case e.Type == routing.DialingPeer:
		l.dialling[e.ID] = time.Now()
	case e.Type == routing.QueryError && e.ID != "" && !l.asked[e.ID]:
		var took time.Duration
		if began, ok := l.dialling[e.ID]; ok {
			took = time.Since(began)
		}
		traced := l.newEvent(e.ID, took, errors.New(e.Extra))
		l.mu.Unlock()
		l.trace(traced)
		return
	}
	l.mu.Unlock()
}

// checkAnswered returns ErrNoAnswer if no peer answered.
func (l *lookup) checkAnswered() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.answers == 0 {
		return ErrNoAnswer
	}
	return nil
}

func addrInfos(peers []*pb.Message_Peer) []peer.AddrInfo {
	all := pb.PBPeersToPeerInfos(peers[:min(len(peers), maxTraced)])
	out := make([]peer.AddrInfo, 0, len(all))
	for _, p := range all {
		out = append(out, *p)
	}
	return out
}

// distance returns the XOR of two keys and the number of its leading zero bits.
func distance(a, b [sha256.Size]byte) (d [sha256.Size]byte, prefix int) {
	counting := true
	for i := range d {
		d[i] = a[i] ^ b[i]
		if counting {
			prefix += bits.LeadingZeros8(d[i])
			counting = d[i] == 0
		}
	}
	return d, prefix
}
