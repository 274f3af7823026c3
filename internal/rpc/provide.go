package rpc

import (
	"context"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/ipfs/go-cid"
)

// routingProvide announces blocks that are here. Kubo's option recursive is
// for all that is below them, too.
func (c *call) routingProvide() error {
	recursive := c.flag("recursive", false)
	if c.bad != nil {
		return c.bad
	}
	var roots []cid.Cid
	for _, arg := range c.args {
		k, err := rootOf(arg)
		if err != nil {
			return err
		}
		here, err := c.node.Store().Has(c.ctx, k)
		if err != nil {
			return err
		}
		if !here {
			return taggedError{badRequest("block %s not found locally, cannot provide", k), block.ErrNotFound}
		}
		roots = append(roots, k)
	}
	if !recursive {
		for _, k := range roots {
			if err := c.node.Provide(c.ctx, k); err != nil {
				return err
			}
		}
		return c.lines(nil)
	}
	for step, err := range dag.Walk(c.ctx, c.node, roots, dag.WalkOptions{Links: c.node.Store().Links}) {
		if err == nil {
			err = c.node.Provide(c.ctx, step.CID)
		}
		if err != nil {
			return err
		}
	}
	return c.lines(nil)
}

func (c *call) provide() error {
	k, err := rootOf(c.args[0])
	if err == nil {
		err = c.node.Provide(c.ctx, k)
	}
	return err
}

func (c *call) unprovide() error {
	k, err := rootOf(c.args[0])
	if err == nil {
		err = c.node.Unprovide(c.ctx, k)
	}
	return err
}

// Provide makes the daemon announce a CID, as cairn.Node.Provide does.
func (c *Client) Provide(ctx context.Context, k cid.Cid) error {
	return c.call(ctx, request{verb: "cairn/provide", args: []string{k.String()}}, nil)
}

// Unprovide makes the daemon end that.
func (c *Client) Unprovide(ctx context.Context, k cid.Cid) error {
	return c.call(ctx, request{verb: "cairn/unprovide", args: []string{k.String()}}, nil)
}

// statsProvide is Kubo's, of what is known here.
func (c *call) statsProvide() error {
	s, err := c.node.ProvideStats(c.ctx)
	if err != nil {
		return err
	}
	status, err := c.node.RoutingStatus(c.ctx)
	if err != nil {
		return err
	}
	connectivity := "offline"
	if s.Online {
		connectivity = "online"
	}
	type object = map[string]any
	return c.value(object{
		"FullRT": status.Mode == cairn.RoutingAccelerated,
		"Legacy": nil,
		"Sweep": object{
			"closed":       false,
			"connectivity": object{"status": connectivity},
			"queues":       object{"pending_key_provides": s.Pending, "pending_region_reprovides": s.Late},
			"schedule":     object{"keys": s.Records, "regions": s.Regions, "next_reprovide_at": s.Next},
			"timing":       object{"reprovides_interval": s.Interval, "cycle_start": s.SweepBegan},
			"operations": object{"past": object{
				"keys_provided": s.Announced, "keys_failed": s.Failed, "regions_reprovided_last_cycle": s.Visited,
			}},
		},
	})
}

// A ProvideShape is how announcing goes, in JSON.
type ProvideShape struct {
	// Strategy is empty where the node has a list of its own.
	Strategy   string     `json:"strategy"`
	Records    int64      `json:"records"` // -1: not known just now
	Online     bool       `json:"online"`
	Pending    int64      `json:"pending"`
	Late       int64      `json:"late"`
	Regions    int64      `json:"regions"`
	Visited    int64      `json:"visited"`
	SweepBegan *time.Time `json:"sweepBegan,omitempty"`
	Next       *time.Time `json:"next,omitempty"`
	// SweepTakes and Interval are in seconds; 0: not known.
	SweepTakes float64 `json:"sweepTakes"`
	Interval   float64 `json:"interval"`
	Fits       bool    `json:"fits"`
	Announced  int64   `json:"announced"`
	Failed     int64   `json:"failed"`
}

// ShapeOfProviding returns statistics as they are in JSON.
func ShapeOfProviding(s cairn.ProvideStats) ProvideShape {
	return ProvideShape{
		Strategy: string(s.Strategy), Records: s.Records, Online: s.Online, Pending: s.Pending, Late: s.Late, Regions: s.Regions,
		Visited: s.Visited, SweepBegan: optionalTime(s.SweepBegan), Next: optionalTime(s.Next), SweepTakes: s.SweepTakes.Seconds(),
		Interval: s.Interval.Seconds(), Fits: s.Fits, Announced: s.Announced, Failed: s.Failed,
	}
}

func (s ProvideShape) stats() cairn.ProvideStats {
	out := cairn.ProvideStats{
		Strategy: cairn.ProvideStrategy(s.Strategy), Records: s.Records, Online: s.Online, Pending: s.Pending, Late: s.Late,
		Regions: s.Regions, Visited: s.Visited, SweepTakes: time.Duration(s.SweepTakes * float64(time.Second)),
		Interval: time.Duration(s.Interval * float64(time.Second)), Fits: s.Fits, Announced: s.Announced, Failed: s.Failed,
	}
	if s.SweepBegan != nil {
		out.SweepBegan = *s.SweepBegan
	}
	if s.Next != nil {
		out.Next = *s.Next
	}
	return out
}

func (c *call) provideStats() error {
	s, err := c.node.ProvideStats(c.ctx)
	if err != nil {
		return err
	}
	return c.value(ShapeOfProviding(s))
}

// ProvideStats are the daemon's.
func (c *Client) ProvideStats(ctx context.Context) (cairn.ProvideStats, error) {
	var s ProvideShape
	err := c.call(ctx, request{verb: "cairn/provide/stats"}, &s)
	return s.stats(), err
}
