package trustless

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// spareRemotes is for how many remotes that have nothing under way there is a
// place when all others are taken: those that a swarm is connected to.
const spareRemotes = 96

// patience is how long a request waits for its turn, so that none is refused
// because of another that is just ending: a client sees the end of a response,
// and may send its next request, before the server has counted that it ended.
const patience = 2 * time.Second

// A limiter counts what is under way, in all and for each remote. Those who have
// nothing under way find spare places when the others are taken.
type limiter struct {
	most, mostEach, spare int

	mu   sync.Mutex // guards the following fields
	all  int
	each map[string]*underWay
}

// underWay is what a limiter knows of a remote.
type underWay struct {
	count   int
	waiting []chan struct{} // in the order they came; closed for those let in
}

func newLimiter(most, mostEach, spare int) *limiter {
	return &limiter{most: most, mostEach: mostEach, spare: spare, each: make(map[string]*underWay)}
}

// enter counts one more, unless that is too many, for which it returns a
// *refusal. As many as may be under way for a remote may wait for their turn
// besides. The caller of an enter that succeeded leaves.
func (l *limiter) enter(ctx context.Context, remote string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.each[remote]
	switch {
	case r == nil:
		if l.all >= l.most+l.spare {
			return l.full()
		}
		r = new(underWay)
		l.each[remote] = r
	case r.count == l.mostEach:
		return l.wait(ctx, r)
	case l.all >= l.most:
		return l.full()
	}
	l.all++
	r.count++
	return nil
}

func (l *limiter) full() error {
	return refuse(http.StatusServiceUnavailable, "more than %d such requests at a time", l.most)
}

// wait waits until another of r leaves its place to the caller. The lock is held,
// but not while it waits.
func (l *limiter) wait(ctx context.Context, r *underWay) error {
	refused := refuse(http.StatusTooManyRequests, "more than %d such requests at a time from one address", l.mostEach)
	if len(r.waiting) == l.mostEach {
		return refused
	}
	turn := make(chan struct{})
	r.waiting = append(r.waiting, turn)
	l.mu.Unlock()
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-turn:
	case <-waiting.Done():
	}
	l.mu.Lock()
	i := slices.Index(r.waiting, turn)
	if i < 0 {
		return nil // a place was left
	}
	r.waiting = slices.Delete(r.waiting, i, i+1)
	if err := ctx.Err(); err != nil {
		return err
	}
	return refused
}

func (l *limiter) leave(remote string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.each[remote]
	if len(r.waiting) > 0 {
		close(r.waiting[0])
		r.waiting = slices.Delete(r.waiting, 0, 1)
		return
	}
	l.all--
	if r.count--; r.count == 0 {
		delete(l.each, remote)
	}
}

// remoteOf names who sent the request: an address without its port, of IPv6
// the network that one customer is given, or, on libp2p streams, a peer id.
func remoteOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
		return ip.Mask(net.CIDRMask(64, 128)).String()
	}
	return host
}
