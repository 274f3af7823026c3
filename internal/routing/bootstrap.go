package routing

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	libp2pswarm "github.com/libp2p/go-libp2p/p2p/net/swarm"
)

// maxReason bounds the reason why a bootstrap peer failed, in bytes: it becomes
// part of a message for people.
const maxReason = 120

// A Bootstrap records how connecting to the bootstrap peers goes. It is done when
// one of them is connected or all have failed. Before that a lookup in the DHT
// has no peer to ask. It is safe for concurrent use.
type Bootstrap struct {
	peers int
	until time.Time     // waiting ends here
	done  chan struct{} // closed when one is connected, or all have failed

	mu        sync.Mutex // guards the following
	connected bool
	failed    []string // the reasons, one for each failed peer
}

// NewBootstrap returns the record of a bootstrap that begins now, by so many
// peers. Wait waits for the timeout at most; it runs from now, not from each Wait.
func NewBootstrap(peers int, timeout time.Duration) *Bootstrap {
	b := &Bootstrap{peers: peers, until: time.Now().Add(timeout), done: make(chan struct{})}
	if peers == 0 {
		close(b.done)
	}
	return b
}

// Tried records the result of connecting to one of the peers.
func (b *Bootstrap) Tried(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	wasDone := b.connected || len(b.failed) == b.peers
	if err == nil {
		b.connected = true
	} else {
		b.failed = append(b.failed, reasonOf(err))
	}
	if !wasDone && (b.connected || len(b.failed) == b.peers) {
		close(b.done)
	}
}

// Done returns a channel that is closed when one peer is connected, or all have
// failed.
func (b *Bootstrap) Done() <-chan struct{} { return b.done }

// Err returns an error that counts the peers and says why none is connected. It
// is nil if one was, or if there are no bootstrap peers.
func (b *Bootstrap) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.connected || b.peers == 0 {
		return nil
	}
	count := make(map[string]int)
	for _, why := range b.failed {
		count[why]++
	}
	if silent := b.peers - len(b.failed); silent > 0 {
		count[noAnswer] += silent
	}
	var all []string
	for why, n := range count {
		if n > 1 {
			why = fmt.Sprintf("%s (%d)", why, n)
		}
		all = append(all, why)
	}
	slices.Sort(all)
	return fmt.Errorf("0 of %d bootstrap peers were reached: %s", b.peers, strings.Join(all, ", "))
}

// IsOver reports whether the bootstrap is done or its time is up.
func (b *Bootstrap) IsOver() bool {
	select {
	case <-b.done:
		return true
	default:
		return !time.Now().Before(b.until)
	}
}

// Wait waits until the bootstrap is over, and then returns Err. It fails with the
// context before that.
func (b *Bootstrap) Wait(ctx context.Context) error {
	timeout := time.NewTimer(time.Until(b.until))
	defer timeout.Stop()
	select {
	case <-b.done:
	case <-timeout.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return b.Err()
}

const noAnswer = "no answer"

// reasonOf shortens the error of a connection attempt: of a dial it takes the
// first reason that an address gave.
func reasonOf(err error) string {
	var errno syscall.Errno
	var timeout net.Error
	var dial *libp2pswarm.DialError
	switch {
	case errors.As(err, &errno):
		err = errno
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return noAnswer
	case errors.As(err, &dial) && len(dial.DialErrors) > 0:
		err = dial.DialErrors[0].Cause
	case errors.As(err, &dial) && dial.Cause != nil:
		err = dial.Cause
	}
	why := strings.ToValidUTF8(err.Error(), "?")
	if len(why) > maxReason {
		end := maxReason
		for !utf8.RuneStart(why[end]) {
			end--
		}
		why = why[:end] + "…"
	}
	return strings.ReplaceAll(why, "\n", " ")
}
