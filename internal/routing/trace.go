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

// A TraceEvent is one question of a look-up, when it is answered or has failed.
type TraceEvent struct {
	// Source is who asked: dht, lan, accelerated, or the host of a delegated
	// router, which is no peer: its events have neither Hop nor distance.
	Source string
	// Hop counts from 1, the peers known when the look-up began. A peer that
	// was heard of from one of hop n is of hop n+1.
	Hop int
	// Peer was asked.
	Peer peer.ID
	// Distance is the XOR of the hashes of its id and of the key; Prefix is
	// how many bits the two have in common, which is the number of zero bits
	// that Distance begins with.
	Distance [sha256.Size]byte
	Prefix   int
	// Closer are the peers it says are closer to the key, Providers the ones
	// it says have it, both as it says. At most 256 each.
	Closer, Providers []peer.AddrInfo
	// Value tells that it sent a record.
	Value bool
	// Took is from asking to the answer, or until it was given up.
	Took time.Duration
	// Err is why there's no answer. nil: there is one.
	Err error
}

// maxTraced bounds the peers of an event: a liar may send thousands.
const maxTraced = 256

type traceKey struct{}

// WithTrace returns a context with which look-ups tell f of each question.
// Calls of f don't overlap, and hold up the look-up: it should be quick. Once
// the look-up is over, a few late ones may follow.
func WithTrace(ctx context.Context, f func(TraceEvent)) context.Context {
	var mu sync.Mutex
	return context.WithValue(ctx, traceKey{}, func(e TraceEvent) {
		mu.Lock()
		defer mu.Unlock()
		f(e)
	})
}

// traceOf returns what WithTrace set, or nil.
func traceOf(ctx context.Context) func(TraceEvent) {
	f, _ := ctx.Value(traceKey{}).(func(TraceEvent))
	return f
}

// A lookup follows one look-up in one DHT. It travels in the context, from the
// source that begins it to the sender of its messages.
type lookup struct {
	source string
	target [sha256.Size]byte
	trace  func(TraceEvent) // or nil

	mu       sync.Mutex // guards what follows
	asked    map[peer.ID]bool
	answers  int
	hops     map[peer.ID]int
	dialling map[peer.ID]time.Time
}

type lookupKey struct{}

// begin makes a lookup and its context. The end function cancels it, and waits
// for what the DHT tells of dials. The seeds are whom the DHT begins with; they
// are asked for if there's a trace.
func begin(ctx context.Context, source, key string, seeds func() []peer.ID) (_ context.Context, l *lookup, end func()) {
	l = &lookup{source: source, target: sha256.Sum256([]byte(key)), trace: traceOf(ctx), asked: make(map[peer.ID]bool)}
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
	var following sync.WaitGroup
	following.Go(func() {
		for e := range events {
			l.dialled(e)
		}
	})
	return ctx, l, func() {
		cancel()
		following.Wait()
	}
}

func lookupOf(ctx context.Context) *lookup {
	l, _ := ctx.Value(lookupKey{}).(*lookup)
	return l
}

// ask notes that a peer is asked. The lookup may be nil.
func (l *lookup) ask(p peer.ID) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked[p] = true
}

// answer notes what came of asking a peer.
func (l *lookup) answer(p peer.ID, m *pb.Message, took time.Duration, err error) {
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
	e := l.event(p, took, err)
	if m != nil {
		e.Closer, e.Providers = infos(m.GetCloserPeers()), infos(m.GetProviderPeers())
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

// event begins an event about a peer; mu is held.
func (l *lookup) event(p peer.ID, took time.Duration, err error) TraceEvent {
	e := TraceEvent{Source: l.source, Peer: p, Took: took, Err: err}
	if l.hops[p] == 0 {
		l.hops[p] = 1
	}
	e.Hop = l.hops[p]
	e.Distance, e.Prefix = distance(l.target, sha256.Sum256([]byte(p)))
	return e
}

// dialled takes an event of the DHT: who can't be dialled is never asked.
func (l *lookup) dialled(e *routing.QueryEvent) {
	l.mu.Lock()
	switch {
	case e.Type == routing.DialingPeer:
		l.dialling[e.ID] = time.Now()
	case e.Type == routing.QueryError && e.ID != "" && !l.asked[e.ID]:
		var took time.Duration
		if began, ok := l.dialling[e.ID]; ok {
			took = time.Since(began)
		}
		traced := l.event(e.ID, took, errors.New(e.Extra))
		l.mu.Unlock()
		l.trace(traced)
		return
	}
	l.mu.Unlock()
}

// failed says whether the look-up came to nothing because nobody answered.
func (l *lookup) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.answers == 0 {
		return ErrNoAnswer
	}
	return nil
}

func infos(peers []*pb.Message_Peer) []peer.AddrInfo {
	all := pb.PBPeersToPeerInfos(peers[:min(len(peers), maxTraced)])
	out := make([]peer.AddrInfo, 0, len(all))
	for _, p := range all {
		out = append(out, *p)
	}
	return out
}

// distance returns the XOR of two keys and how many zero bits it begins with.
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
