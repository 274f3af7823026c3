package kubo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/cairn-ipfs/cairn/internal/httpapi"
)

// pingInterval is Kubo's pause between two pings.
const pingInterval = time.Second

type pingShape struct {
	Success bool
	Time    time.Duration
	Text    string
}

func (c *call) ping() error {
	count, interval := c.Number("count", 10), c.Duration("interval", pingInterval)
	switch {
	case c.Invalid() != nil:
		return c.Invalid()
	case count <= 0 || count > math.MaxInt32:
		return httpapi.BadRequest("invalid option count: %d: want 1 or more", count)
	case interval < 0:
		return httpapi.BadRequest("invalid option interval: %s: want 0s or more", interval)
	}
	if strings.HasPrefix(c.Args[0], "/") && !strings.HasPrefix(c.Args[0], "/p2p/") {
		if _, err := c.node.AddAddr(c.Context(), c.Args[0]); err != nil {
			return err
		}
	}
	id, err := parsePeer(c.Args[0])
	if err != nil {
		return err
	}
	if err := c.Line(pingShape{Success: true, Text: fmt.Sprintf("PING %s.", id)}); err != nil {
		return err
	}
	var sum time.Duration
	done := int64(0)
	for d, err := range c.node.Ping(c.Context(), id) {
		if err != nil {
			return errors.Join(err, c.Line(pingShape{Text: "Ping error: " + err.Error()}))
		}
		if err := c.Line(pingShape{Success: true, Time: d}); err != nil {
			return err
		}
		sum += d
		if done++; done >= count {
			break
		}
		if err := sleep(c.Context(), interval); err != nil {
			return err
		}
	}
	average := float64(sum) / float64(max(done, 1)) / float64(time.Millisecond)
	return c.Line(pingShape{Success: true, Text: fmt.Sprintf("Average latency: %.2fms", average)})
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
