package cairn

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

	"github.com/cairn-ipfs/cairn/internal/routing"
	libp2pswarm "github.com/libp2p/go-libp2p/p2p/net/swarm"
)

// entryTime is how long whoever needs a connected peer waits for the first one,
// as long as a question to the DHT does: handshakes around the world, over lines
// that lose packets. It begins when the network starts, and not with each
// question.
const entryTime = routing.FirstPeer

// maxReason bounds why a bootstrap peer failed, in bytes, in a message that has
// to be read.
const maxReason = 120

// An entry tells when the network has been entered: one of the bootstrap peers
// is connected, or none can be had. Who asks before has nobody to ask.
type entry struct {
	peers int
	until time.Time     // nobody waits longer
	over  chan struct{} // closed when one is connected, or all have failed

	mu      sync.Mutex // guards the following
	entered bool
	failed  []string // why, of each that did
}

var _ routing.Entry = (*entry)(nil)

// newEntry begins to enter by so many peers.
func newEntry(peers int, within time.Duration) *entry {
	e := &entry{peers: peers, until: time.Now().Add(within), over: make(chan struct{})}
	if peers == 0 {
		close(e.over)
	}
	return e
}

// tried notes what came of calling one of the peers.
func (e *entry) tried(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	wasOver := e.entered || len(e.failed) == e.peers
	if err == nil {
		e.entered = true
	} else {
		e.failed = append(e.failed, reasonOf(err))
	}
	if !wasOver && (e.entered || len(e.failed) == e.peers) {
		close(e.over)
	}
}

// Over is closed when one is connected, or all have failed.
func (e *entry) Over() <-chan struct{} { return e.over }

// Err says how many peers were called, and why none is connected; nil: one
// was, or there were none to call.
func (e *entry) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.entered || e.peers == 0 {
		return nil
	}
	count := make(map[string]int)
	for _, why := range e.failed {
		count[why]++
	}
	if silent := e.peers - len(e.failed); silent > 0 {
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
	return fmt.Errorf("0 of %d bootstrap peers were reached: %s", e.peers, strings.Join(all, ", "))
}

// isOver tells whether there's nothing to wait for.
func (e *entry) isOver() bool {
	select {
	case <-e.over:
		return true
	default:
		return !time.Now().Before(e.until)
	}
}

// wait waits for the entry, as long as that's worth it, and then says what Err
// does; or it fails with the context.
func (e *entry) wait(ctx context.Context) error {
	enough := time.NewTimer(time.Until(e.until))
	defer enough.Stop()
	select {
	case <-e.over:
	case <-enough.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return e.Err()
}

const noAnswer = "no answer"

// reasonOf says in few words why a call failed: of a dial, the first reason that
// an address gave.
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
