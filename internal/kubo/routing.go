package kubo

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"sync"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
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
		one := routingPeer{Addrs: addrStrings(p.Addrs), ID: p.ID.String()}
		if one.Addrs == nil {
			one.Addrs = []string{}
		}
		all = append(all, one)
	}
	return all
}

const (
	// defaultProviders is how many providers Kubo finds by default, maxProviders
	// bounds the option.
	defaultProviders = 20
	maxProviders     = 10_000
	// maxRecord bounds a record, in bytes: those of IPNS may have 10 KiB.
	maxRecord = 64 << 10
)

// lookupContext returns the context of a lookup. With the option verbose its
// questions are lines of the answer, until end is called.
func (c *call) lookupContext() (ctx context.Context, end func()) {
	if !c.Flag("verbose", false) {
		return c.Context(), func() {}
	}
	var mu sync.Mutex
	over := false
	ctx = cairn.WithTrace(c.Context(), func(e cairn.TraceEvent) {
		mu.Lock()
		defer mu.Unlock()
		if e.Peer == "" || over { // some events come after the end
			return
		}
		line := routingEvent{ID: e.Peer.String(), Type: eventPeerResponse, Responses: routingPeers(e.Closer...)}
		if e.Err != nil {
			line.Type, line.Extra = eventQueryError, e.Err.Error()
		}
		_ = c.Line(line) // a client that disconnected ends the context
	})
	return ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
	}
}

func (c *call) routingFindProvs() error {
	most := c.Number("num-providers", defaultProviders)
	ctx, end := c.lookupContext()
	defer end()
	k, err := cidArgument(c.Args[0])
	switch {
	case err != nil:
		return err
	case c.Invalid() != nil:
		return c.Invalid()
	case most < 1 || most > maxProviders:
		return httpapi.BadRequest("invalid option num-providers: %d: want 1 to %d", most, maxProviders)
	}
	seen := make(map[peer.ID]bool)
	for p, err := range c.node.FindProviders(ctx, k) {
		if err == nil && seen[p.ID] {
			continue
		}
		if err == nil {
			seen[p.ID] = true
			err = c.Line(routingEvent{Type: eventProvider, Responses: routingPeers(peer.AddrInfo{ID: p.ID, Addrs: p.Addrs})})
		}
		if err != nil {
			return err
		}
		if int64(len(seen)) == most {
			break
		}
	}
	return c.EndList(nil)
}

func (c *call) routingFindPeer() error {
	ctx, end := c.lookupContext()
	defer end()
	if c.Invalid() != nil {
		return c.Invalid()
	}
	id, err := parsePeer(c.Args[0])
	if err != nil {
		return err
	}
	for p, err := range c.node.FindPeer(ctx, id) {
		if err != nil {
			return err
		}
		return c.Line(routingEvent{Type: eventFinalPeer, Responses: routingPeers(peer.AddrInfo{ID: p.ID, Addrs: p.Addrs})})
	}
	return fmt.Errorf("routing: not found: %s: %w", id, cairn.ErrNoSource)
}

// routingQuery lists the peers that are closest to a peer.
func (c *call) routingQuery() error {
	ctx, end := c.lookupContext()
	defer end()
	if c.Invalid() != nil {
		return c.Invalid()
	}
	for _, arg := range c.Args {
		id, err := parsePeer(arg)
		if err != nil {
			return err
		}
		for p, err := range c.node.ClosestPeers(ctx, []byte(id)) {
			if err == nil {
				err = c.Line(routingEvent{ID: p.ID.String(), Type: eventFinalPeer})
			}
			if err != nil {
				return err
			}
		}
	}
	return c.EndList(nil)
}

func (c *call) routingGet() error {
	for _, key := range c.Args {
		value, err := c.node.GetRecord(c.Context(), key)
		if err == nil {
			err = c.Line(routingEvent{Type: eventValue, Extra: base64.StdEncoding.EncodeToString(value)})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *call) routingPut() error {
	id, err := c.node.ID(c.Context())
	if err != nil {
		return err
	}
	for part, err := range c.Parts() {
		if err != nil {
			return err
		}
		value, err := io.ReadAll(io.LimitReader(part, maxRecord+1))
		if err != nil {
			return err
		}
		if len(value) > maxRecord {
			return httpapi.BadRequest("a record of more than %d bytes", maxRecord)
		}
		if err := c.node.PutRecord(c.Context(), c.Args[0], value); err != nil {
			return err
		}
		return c.Line(routingEvent{ID: id.String(), Type: eventValue})
	}
	return httpapi.BadRequest("routing/put: the body has no record")
}

// bootstrapList lists the bootstrap peers. They are set in the configuration,
// which the daemon only reads.
func (c *call) bootstrapList() error {
	peers := c.node.Bootstrap()
	if peers == nil {
		peers = []string{}
	}
	return c.Value(struct{ Peers []string }{peers})
}

func (c *call) bootstrapEdit() error {
	return httpapi.Forbidden("bootstrap peers are set in the configuration: cairn config set swarm.bootstrap")
}
