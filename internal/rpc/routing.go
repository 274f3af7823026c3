package rpc

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"

	"github.com/cairn-ipfs/cairn"
	"github.com/libp2p/go-libp2p/core/peer"
)

// The kinds of a routingEvent, by Kubo's numbers.
const (
	eventPeerResponse = 1
	eventFinalPeer    = 2
	eventQueryError   = 3
	eventProvider     = 4
	eventValue        = 5
)

// A routingEvent is a line of Kubo's routing verbs.
type routingEvent struct {
	Extra     string
	ID        string
	Responses []routingPeer
	Type      int
}

type routingPeer struct {
	Addrs []string
	ID    string
}

func routingPeers(peers ...peer.AddrInfo) []routingPeer {
	all := []routingPeer{}
	for _, p := range peers {
		one := routingPeer{Addrs: texts(p.Addrs), ID: p.ID.String()}
		if one.Addrs == nil {
			one.Addrs = []string{}
		}
		all = append(all, one)
	}
	return all
}

const (
	// standardProviders is how many providers Kubo looks for, and maxProviders
	// how many may be asked for.
	standardProviders = 20
	maxProviders      = 10_000
	// maxRecord bounds a record, in bytes: those of IPNS may have 10 KiB.
	maxRecord = 64 << 10
)

// verbosely returns the context of a look-up, which tells what Kubo's option
// verbose asks for.
func (c *call) verbosely() (ctx context.Context, end func()) {
	if !c.flag("verbose", false) {
		return c.ctx, func() {}
	}
	return c.traced(func(e cairn.TraceEvent) {
		if e.Peer == "" {
			return
		}
		line := routingEvent{ID: e.Peer.String(), Type: eventPeerResponse, Responses: routingPeers(e.Closer...)}
		if e.Err != nil {
			line.Type, line.Extra = eventQueryError, e.Err.Error()
		}
		_ = c.line(line) // who has left is noticed elsewhere
	})
}

func (c *call) routingFindProvs() error {
	most := c.number("num-providers", standardProviders)
	ctx, end := c.verbosely()
	defer end()
	k, err := rootOf(c.args[0])
	switch {
	case err != nil:
		return err
	case c.bad != nil:
		return c.bad
	case most < 1 || most > maxProviders:
		return badRequest("option num-providers: it is %d; the most is %d", most, maxProviders)
	}
	told := make(map[peer.ID]bool)
	for p, err := range c.node.FindProviders(ctx, k) {
		if err == nil && told[p.ID] {
			continue
		}
		if err == nil {
			told[p.ID] = true
			err = c.line(routingEvent{Type: eventProvider, Responses: routingPeers(p.AddrInfo)})
		}
		if err != nil {
			return err
		}
		if int64(len(told)) == most {
			break
		}
	}
	return c.lines(nil)
}

func (c *call) routingFindPeer() error {
	ctx, end := c.verbosely()
	defer end()
	if c.bad != nil {
		return c.bad
	}
	id, err := peerOf(c.args[0])
	if err != nil {
		return err
	}
	for p, err := range c.node.FindPeer(ctx, id) {
		if err != nil {
			return err
		}
		return c.line(routingEvent{Type: eventFinalPeer, Responses: routingPeers(p.AddrInfo)})
	}
	return fmt.Errorf("routing: not found: %s: %w", id, cairn.ErrNoSource)
}

// routingQuery lists the peers that are closest to one.
func (c *call) routingQuery() error {
	ctx, end := c.verbosely()
	defer end()
	if c.bad != nil {
		return c.bad
	}
	for _, arg := range c.args {
		id, err := peerOf(arg)
		if err != nil {
			return err
		}
		for p, err := range c.node.ClosestPeers(ctx, []byte(id)) {
			if err == nil {
				err = c.line(routingEvent{ID: p.ID.String(), Type: eventFinalPeer})
			}
			if err != nil {
				return err
			}
		}
	}
	return c.lines(nil)
}

func (c *call) routingGet() error {
	for _, key := range c.args {
		value, err := c.node.GetRecord(c.ctx, key)
		if err == nil {
			err = c.line(routingEvent{Type: eventValue, Extra: base64.StdEncoding.EncodeToString(value)})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *call) routingPut() error {
	id, err := c.node.ID(c.ctx)
	if err != nil {
		return err
	}
	for part, err := range c.parts() {
		if err != nil {
			return err
		}
		value, err := io.ReadAll(io.LimitReader(part, maxRecord+1))
		if err != nil {
			return err
		}
		if len(value) > maxRecord {
			return badRequest("a record of more than %d bytes", maxRecord)
		}
		if err := c.node.PutRecord(c.ctx, c.args[0], value); err != nil {
			return err
		}
		return c.line(routingEvent{ID: id.String(), Type: eventValue})
	}
	return badRequest("routing/put: the body has no record")
}

// bootstrapList lists whom the network is entered by. They are changed in the
// configuration, which the daemon only reads.
func (c *call) bootstrapList() error {
	peers := c.node.Bootstrap()
	if peers == nil {
		peers = []string{}
	}
	return c.value(struct{ Peers []string }{peers})
}

func (c *call) bootstrapChange() error {
	return forbidden("peers to enter the network by are set in the configuration: cairn config set swarm.bootstrap")
}

// A RoutingShape is how finding is doing, in JSON.
type RoutingShape struct {
	Mode       string `json:"mode"`
	Peers      int    `json:"peers"`
	LocalPeers int    `json:"localPeers"`
	AllPeers   int    `json:"allPeers"`
	Server     bool   `json:"server"`
	Ready      bool   `json:"ready"`
	Cached     int    `json:"cached"`
}

// ShapeOfRouting returns a status as it is in JSON.
func ShapeOfRouting(s cairn.RoutingStatus) RoutingShape {
	return RoutingShape{
		Mode: string(s.Mode), Peers: s.Peers, LocalPeers: s.LocalPeers, AllPeers: s.AllPeers,
		Server: s.Server, Ready: s.Ready, Cached: s.Cached,
	}
}

func (c *call) routingStatus() error {
	s, err := c.node.RoutingStatus(c.ctx)
	if err != nil {
		return err
	}
	return c.value(ShapeOfRouting(s))
}

// RoutingStatus is the daemon's.
func (c *Client) RoutingStatus(ctx context.Context) (cairn.RoutingStatus, error) {
	var s RoutingShape
	err := c.call(ctx, request{verb: "cairn/routing"}, &s)
	return cairn.RoutingStatus{
		Mode: cairn.RoutingMode(s.Mode), Peers: s.Peers, LocalPeers: s.LocalPeers, AllPeers: s.AllPeers,
		Server: s.Server, Ready: s.Ready, Cached: s.Cached,
	}, err
}
