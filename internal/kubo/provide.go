package kubo

import (
	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/ipfs/go-cid"
)

// routingProvide announces blocks of the store, with the option recursive all
// blocks below them, too.
func (c *call) routingProvide() error {
	recursive := c.Flag("recursive", false)
	if c.Invalid() != nil {
		return c.Invalid()
	}
	var roots []cid.Cid
	for _, arg := range c.Args {
		k, err := cidArgument(arg)
		if err != nil {
			return err
		}
		here, err := c.node.Store().Has(c.Context(), k)
		if err != nil {
			return err
		}
		if !here {
			return httpapi.Tag(httpapi.BadRequest("block %s not found locally, cannot provide", k), block.ErrNotFound)
		}
		roots = append(roots, k)
	}
	if !recursive {
		for _, k := range roots {
			if err := c.node.Provide(c.Context(), k); err != nil {
				return err
			}
		}
		return c.EndList(nil)
	}
	for step, err := range dag.Walk(c.Context(), c.node, roots, dag.WalkOptions{Links: c.node.Store().Links}) {
		if err == nil {
			err = c.node.Provide(c.Context(), step.CID)
		}
		if err != nil {
			return err
		}
	}
	return c.EndList(nil)
}

// statsProvide answers with the fields of Kubo's statistics that exist here.
func (c *call) statsProvide() error {
	s, err := c.node.ProvideStats(c.Context())
	if err != nil {
		return err
	}
	status, err := c.node.RoutingStatus(c.Context())
	if err != nil {
		return err
	}
	connectivity := "offline"
	if s.Online {
		connectivity = "online"
	}
	type object = map[string]any
	return c.Value(object{
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
