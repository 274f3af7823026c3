package trustless

import (
	"net"
	"net/http"
	"sync"
)

// spareRemotes is for how many remotes that have nothing under way there is a
// place when all others are taken: those that a swarm is connected to.
const spareRemotes = 96

// A limiter counts what is under way, in all and for each remote. Those who have
// nothing under way find spare places when the others are taken.
type limiter struct {
	most, mostEach, spare int

	mu   sync.Mutex // guards the following fields
	all  int
	each map[string]int
}

func newLimiter(most, mostEach, spare int) *limiter {
	return &limiter{most: most, mostEach: mostEach, spare: spare, each: make(map[string]int)}
}

// enter counts one more, unless that is too many, for which it returns a
// *refusal. The caller of an enter that succeeded leaves.
func (l *limiter) enter(remote string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.each[remote] >= l.mostEach {
		return refuse(http.StatusTooManyRequests, "more than %d such requests at a time from one address", l.mostEach)
	}
	if l.all >= l.most && (l.each[remote] > 0 || l.all >= l.most+l.spare) {
		return refuse(http.StatusServiceUnavailable, "more than %d such requests at a time", l.most)
	}
	l.all++
	l.each[remote]++
	return nil
}

func (l *limiter) leave(remote string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.each[remote]--; l.each[remote] == 0 {
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
