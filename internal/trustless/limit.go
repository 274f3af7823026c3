package trustless

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// spareRemotes is how many places are reserved for remotes without a request: as
// many as a swarm has connections.
const spareRemotes = 96

// patience is how long a request waits for a place, so that it isn't refused
// because of another one that is just ending: a client sees the end of a response,
// and may send its next request, before the server has counted the end.
const patience = 2 * time.Second

// A limiter counts requests, in all and for each remote. Remotes without a request
// get spare places when the others are taken. (golang.org/x/sync/semaphore counts in
// all only.)
type limiter struct {
	most, mostEach, spare int

	mu   sync.Mutex // guards the following fields
	all  int
	each map[string]*remoteRequests
}

// remoteRequests are the requests of a remote.
type remoteRequests struct {
	count   int
	waiting []chan struct{} // in the order they came; closed for those that get a place
}

func newLimiter(most, mostEach, spare int) *limiter {
	return &limiter{most: most, mostEach: mostEach, spare: spare, each: make(map[string]*remoteRequests)}
}

// enter counts a request, or returns a *refusal if there are too many. For each
// remote, mostEach more requests may wait for a place. After success the caller
// calls leave.
func (l *limiter) enter(ctx context.Context, remote string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.each[remote]
	switch {
	case r == nil:
		if l.all >= l.most+l.spare {
			return l.full()
		}
		r = new(remoteRequests)
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

// wait waits for the place of another request of r. It's called with the lock
// held, and unlocks it meanwhile.
func (l *limiter) wait(ctx context.Context, r *remoteRequests) error {
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
		return nil // leave gave its place
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

// remoteOf returns the sender of a request: its address without the port, for IPv6
// the network that one customer gets; on libp2p streams, the peer id.
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
