package cairn

import (
	"context"
	"fmt"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// Provide announces c now, and again as long as Unprovide is not called, also after
// a restart. After an error the node tries again later, except after ErrNoRouting
// and ErrOffline.
func (n *Node) Provide(ctx context.Context, c cid.Cid) error {
	if err := block.CheckCID(c); err != nil {
		return fmt.Errorf("provide: %w", err)
	}
	net, err := n.network(ctx)
	if err != nil {
		return fmt.Errorf("provide %s: %w", c, err)
	}
	if !net.announces {
		return fmt.Errorf("provide %s: %w", c, ErrNoRouting)
	}
	if err := net.announcer.Keep(ctx, c); err != nil {
		return fmt.Errorf("provide %s: %w", c, err)
	}
	return net.routing.Provide(ctx, c)
}

// Unprovide stops announcing c, unless the strategy includes it. The network drops
// the records within 48 hours.
func (n *Node) Unprovide(ctx context.Context, c cid.Cid) error {
	net, err := n.network(ctx)
	if err != nil {
		return fmt.Errorf("unprovide %s: %w", c, err)
	}
	if err := net.announcer.Drop(ctx, c); err != nil {
		return fmt.Errorf("unprovide %s: %w", c, err)
	}
	return net.routing.Unprovide(ctx, c)
}

// ProvideStats describe the announcing, in the internet's DHT if there is one.
type ProvideStats struct {
	// Strategy is empty with Config.ProvideList.
	Strategy ProvideStrategy `json:"strategy"`
	// Records is the number of CIDs announced. -1: not known at the moment.
	Records int64 `json:"records"`
	// Online: peers of the DHT can be reached.
	Online bool `json:"online"`
	// Pending counts CIDs to be announced at once, Late the regions of the DHT that
	// are overdue.
	Pending int64 `json:"pending"`
	Late    int64 `json:"late"`
	// Regions is the number of parts of the DHT that the CIDs fall into. A sweep
	// visits each once. Visited counts those visited within the last Interval.
	Regions int64 `json:"regions"`
	Visited int64 `json:"visited"`
	// SweepBegan is the start of the current sweep, Next when the next region is
	// due. Zero: nothing is due.
	SweepBegan time.Time `json:"sweepBegan,omitzero"`
	Next       time.Time `json:"next,omitzero"`
	// SweepTakes is the duration of a whole sweep, estimated from the regions
	// visited within the last Interval. Zero: unknown.
	SweepTakes time.Duration `json:"sweepTakes"`
	// Interval is the longest that a sweep may take, 22 hours. Fits: it takes no
	// longer. While SweepTakes is unknown, Fits is false, unless there is nothing
	// to announce.
	Interval time.Duration `json:"interval"`
	Fits     bool          `json:"fits"`
	// Announced and Failed count CIDs since the network started.
	Announced int64 `json:"announced"`
	Failed    int64 `json:"failed"`
}

// ProvideStats describes the announcing. Errors: ErrNoRouting, ErrOffline.
func (n *Node) ProvideStats(ctx context.Context) (ProvideStats, error) {
	net, err := n.network(ctx)
	if err != nil {
		return ProvideStats{}, err
	}
	s, err := net.routing.Stats(ctx)
	if err != nil {
		return ProvideStats{}, err
	}
	out := ProvideStats{
		Records: s.Records, Online: s.Online, Pending: s.Pending, Late: s.Late, Regions: s.Regions, Visited: s.Visited,
		SweepBegan: s.SweepBegan, Next: s.Next, SweepTakes: s.SweepTakes, Interval: s.Interval, Fits: s.Fits,
		Announced: s.Announced, Failed: s.Failed,
	}
	if n.config.ProvideList == nil {
		out.Strategy, err = ParseProvideStrategy(string(n.config.Providing))
	}
	return out, err
}
