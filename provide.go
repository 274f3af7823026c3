package cairn

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/exchange"
	"github.com/cairn-ipfs/cairn/internal/routing"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

// A ProvideStrategy says what a node announces by itself.
type ProvideStrategy string

const (
	// ProvideEntities announces the roots of aliases, and below them all files,
	// directories and shards of directories: what has a name, and not the
	// pieces that files consist of. Of other DAGs, each block.
	ProvideEntities ProvideStrategy = "entities"
	// ProvideRoots announces the roots of aliases.
	ProvideRoots ProvideStrategy = "roots"
	// ProvideAll announces every block that is here.
	ProvideAll ProvideStrategy = "all"
	// ProvideNone announces nothing by itself.
	ProvideNone ProvideStrategy = "none"
)

// ParseProvideStrategy reads a strategy by its name. Empty is ProvideEntities.
func ParseProvideStrategy(name string) (ProvideStrategy, error) {
	switch s := ProvideStrategy(name); s {
	case "":
		return ProvideEntities, nil
	case ProvideEntities, ProvideRoots, ProvideAll, ProvideNone:
		return s, nil
	}
	return "", fmt.Errorf("no strategy %q for what is announced; there are %q, %q, %q and %q",
		name, ProvideEntities, ProvideRoots, ProvideAll, ProvideNone)
}

// provideList lists what the node announces: what its strategy says, and what
// Provide was told.
func (n *Node) provideList() (routing.List, error) {
	strategy, err := ParseProvideStrategy(string(n.config.Providing))
	if err != nil {
		return nil, err
	}
	var own routing.List
	switch {
	case n.config.ProvideList != nil:
		own = n.config.ProvideList
	case strategy == ProvideEntities:
		own = n.entities
	case strategy == ProvideRoots:
		own = n.roots
	case strategy == ProvideAll:
		own = n.store.Blocks
	}
	return func(ctx context.Context) iter.Seq2[cid.Cid, error] {
		return func(yield func(cid.Cid, error) bool) {
			for c, err := range n.told(ctx) {
				if !yield(c, err) || err != nil {
					return
				}
			}
			if own == nil {
				return
			}
			for c, err := range own(ctx) {
				if !yield(c, err) || err != nil {
					return
				}
			}
		}
	}, nil
}

// provideSpace is the space of the store that remembers what Provide was told
// (toldKey and a multihash), and which roots of aliases were announced
// (doneKey and the alias, with the root's multihash).
const (
	provideSpace = "provide"
	toldKey      = "t"
	doneKey      = "d"
)

// told lists what Provide was told.
func (n *Node) told(ctx context.Context) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		for item, err := range n.store.Space(provideSpace).All(ctx, []byte(toldKey)) {
			if err != nil {
				yield(cid.Undef, err)
				return
			}
			if !yield(cid.NewCidV1(cid.Raw, multihash.Multihash(item.Key[len(toldKey):])), nil) {
				return
			}
		}
	}
}

// roots lists the roots of aliases.
func (n *Node) roots(ctx context.Context) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		for a, err := range n.store.Aliases(ctx, "") {
			if err == nil && isUnfinished(a.Name) {
				continue
			}
			if !yield(a.Root, err) {
				return
			}
		}
	}
}

// isUnfinished tells whether an alias is that of a DAG which is still coming.
func isUnfinished(alias string) bool { return strings.HasPrefix(alias, exchange.SyncPrefix) }

// Provide announces c now, and keeps it announced until Unprovide; also when
// the node is opened again. An error means that nobody took it yet, though it
// will be tried again; ErrNoRouting and ErrOffline, that it won't be.
func (n *Node) Provide(ctx context.Context, c cid.Cid) error {
	if err := block.CheckCID(c); err != nil {
		return fmt.Errorf("provide: %w", err)
	}
	net, err := n.online(ctx)
	if err != nil {
		return fmt.Errorf("provide %s: %w", c, err)
	}
	if !net.announces {
		return fmt.Errorf("provide %s: %w", c, ErrNoRouting)
	}
	if err := n.store.Space(provideSpace).Set(ctx, []byte(toldKey+string(c.Hash())), nil); err != nil {
		return fmt.Errorf("provide %s: %w", c, err)
	}
	return net.routing.Provide(ctx, c)
}

// Unprovide ends announcing c, unless the strategy has it announced again.
// Others forget it within 48 hours.
func (n *Node) Unprovide(ctx context.Context, c cid.Cid) error {
	net, err := n.online(ctx)
	if err != nil {
		return fmt.Errorf("unprovide %s: %w", c, err)
	}
	if err := n.store.Space(provideSpace).Unset(ctx, []byte(toldKey+string(c.Hash()))); err != nil {
		return fmt.Errorf("unprovide %s: %w", c, err)
	}
	return net.routing.Unprovide(ctx, c)
}

// ProvideStats are how announcing goes, in the internet's DHT if there is one.
type ProvideStats struct {
	// Strategy is empty if the node has a list of its own.
	Strategy ProvideStrategy
	// Records is how many CIDs are kept announced. -1: not known just now.
	Records int64
	// Online tells whether peers of the DHT can be reached.
	Online bool
	// Pending are CIDs that are to be announced at once, Late the regions of the
	// DHT whose turn has passed.
	Pending, Late int64
	// Regions is into how many parts of the DHT the CIDs fall: each is one
	// visit. Visited is how many had theirs within the last interval.
	Regions, Visited int64
	// SweepBegan is when the sweep under way began, Next when the next region
	// is due. Zero: nothing is due.
	SweepBegan, Next time.Time
	// SweepTakes is how long a whole sweep takes, going by what was visited
	// within the last interval. Zero: not known.
	SweepTakes time.Duration
	// Interval is how long it may take, 22 hours, and Fits tells whether it
	// does. While SweepTakes is not known, it's false, unless there's nothing
	// to announce.
	Interval time.Duration
	Fits     bool
	// Announced and Failed count CIDs since the network started.
	Announced, Failed int64
}

// ProvideStats says how announcing goes. Errors: ErrNoRouting, ErrOffline.
func (n *Node) ProvideStats(ctx context.Context) (ProvideStats, error) {
	net, err := n.online(ctx)
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
