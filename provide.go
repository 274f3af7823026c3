package cairn

import (
	"context"
	"fmt"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// Provide announces c now, and keeps it announced until Unprovide; also when
// the node is opened again. An error means that nobody took it yet, though it
// will be tried again; ErrNoRouting and ErrOffline, that it won't be.
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

// Unprovide ends announcing c, unless the strategy has it announced again.
// Others forget it within 48 hours.
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

// ProvideStats are how announcing goes, in the internet's DHT if there is one.
type ProvideStats struct {
	// Strategy is empty if the node has a list of its own.
	Strategy ProvideStrategy `json:"strategy"`
	// Records is how many CIDs are kept announced. -1: not known just now.
	Records int64 `json:"records"`
	// Online tells whether peers of the DHT can be reached.
	Online bool `json:"online"`
	// Pending are CIDs that are to be announced at once, Late the regions of the
	// DHT whose turn has passed.
	Pending int64 `json:"pending"`
	Late    int64 `json:"late"`
	// Regions is into how many parts of the DHT the CIDs fall: each is one
	// visit. Visited is how many had theirs within the last interval.
	Regions int64 `json:"regions"`
	Visited int64 `json:"visited"`
	// SweepBegan is when the sweep under way began, Next when the next region
	// is due. Zero: nothing is due.
	SweepBegan time.Time `json:"sweepBegan,omitzero"`
	Next       time.Time `json:"next,omitzero"`
	// SweepTakes is how long a whole sweep takes, going by what was visited
	// within the last interval. Zero: not known.
	SweepTakes time.Duration `json:"sweepTakes"`
	// Interval is how long it may take, 22 hours, and Fits tells whether it
	// does. While SweepTakes is not known, it's false, unless there's nothing
	// to announce.
	Interval time.Duration `json:"interval"`
	Fits     bool          `json:"fits"`
	// Announced and Failed count CIDs since the network started.
	Announced int64 `json:"announced"`
	Failed    int64 `json:"failed"`
}

// ProvideStats says how announcing goes. Errors: ErrNoRouting, ErrOffline.
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
