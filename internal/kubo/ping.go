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

// pingInterval is how long Kubo waits between one ping and the next.
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
		return httpapi.BadRequest("option count: it is %d", count)
	case interval < 0:
		return httpapi.BadRequest("option interval: it is %s, less than nothing", interval)
	}
	if strings.HasPrefix(c.Args[0], "/") && !strings.HasPrefix(c.Args[0], "/p2p/") {
		if _, err := c.node.AddAddr(c.Context(), c.Args[0]); err != nil {
			return err
		}
	}
	id, err := peerOf(c.Args[0])
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
		if err := pause(c.Context(), interval); err != nil {
			return err
		}
	}
	average := float64(sum) / float64(max(done, 1)) / float64(time.Millisecond)
	return c.Line(pingShape{Success: true, Text: fmt.Sprintf("Average latency: %.2fms", average)})
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
