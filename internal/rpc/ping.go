package rpc

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"strings"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/libp2p/go-libp2p/core/peer"
)

// pingInterval is how long Kubo waits between one ping and the next.
const pingInterval = time.Second

// Pings measures how long a message takes to a peer and back, count times, with
// an interval between. An error is the last that it yields.
func Pings(ctx context.Context, n *cairn.Node, id peer.ID, count int, interval time.Duration) iter.Seq2[time.Duration, error] {
	return func(yield func(time.Duration, error) bool) {
		if count <= 0 {
			return
		}
		wait := time.NewTimer(interval)
		defer wait.Stop()
		done := 0
		for d, err := range n.Ping(ctx, id) {
			if !yield(d, err) || err != nil {
				return
			}
			if done++; done >= count {
				return
			}
			wait.Reset(interval)
			select {
			case <-ctx.Done():
				yield(0, ctx.Err())
				return
			case <-wait.C:
			}
		}
	}
}

type pingShape struct {
	Success bool
	Time    time.Duration
	Text    string
}

func (c *call) ping() error {
	count, interval := c.number("count", 10), c.duration("interval", pingInterval)
	switch {
	case c.bad != nil:
		return c.bad
	case count <= 0 || count > math.MaxInt32:
		return badRequest("option count: it is %d", count)
	case interval < 0:
		return badRequest("option interval: it is %s, less than nothing", interval)
	}
	if strings.HasPrefix(c.args[0], "/") && !strings.HasPrefix(c.args[0], "/p2p/") {
		if _, err := c.node.AddAddr(c.ctx, c.args[0]); err != nil {
			return err
		}
	}
	id, err := peerOf(c.args[0])
	if err != nil {
		return err
	}
	if err := c.line(pingShape{Success: true, Text: fmt.Sprintf("PING %s.", id)}); err != nil {
		return err
	}
	var sum time.Duration
	done := 0
	for d, err := range Pings(c.ctx, c.node, id, int(count), interval) {
		if err != nil {
			return errors.Join(err, c.line(pingShape{Text: "Ping error: " + err.Error()}))
		}
		if err := c.line(pingShape{Success: true, Time: d}); err != nil {
			return err
		}
		sum += d
		done++
	}
	average := float64(sum) / float64(max(done, 1)) / float64(time.Millisecond)
	return c.line(pingShape{Success: true, Text: fmt.Sprintf("Average latency: %.2fms", average)})
}

// Ping makes the daemon ping a peer, whose id or address is given, as Pings
// does.
func (c *Client) Ping(ctx context.Context, target string, count int, interval time.Duration) iter.Seq2[time.Duration, error] {
	return func(yield func(time.Duration, error) bool) {
		r := request{verb: "ping", args: []string{target}}
		r.option("count", count)
		r.option("interval", interval)
		for line, err := range values[pingShape](ctx, c, r) {
			if err == nil && line.Text != "" {
				continue // a failure also comes behind the lines, with its codes
			}
			if !yield(line.Time, err) || err != nil {
				return
			}
		}
	}
}

// PingFrom is Client.Ping for a node in this process.
func PingFrom(ctx context.Context, n *cairn.Node, target string, count int, interval time.Duration) iter.Seq2[time.Duration, error] {
	return func(yield func(time.Duration, error) bool) {
		if strings.HasPrefix(target, "/") && !strings.HasPrefix(target, "/p2p/") {
			if _, err := n.AddAddr(ctx, target); err != nil {
				yield(0, err)
				return
			}
		}
		id, err := peerOf(target)
		if err != nil {
			yield(0, err)
			return
		}
		for d, err := range Pings(ctx, n, id, count, interval) {
			if !yield(d, err) || err != nil {
				return
			}
		}
	}
}
