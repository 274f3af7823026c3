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
	if !c.Flag("verbose", false) {
		return c.Context(), func() {}
	}
	var mu sync.Mutex
	over := false
	ctx = cairn.WithTrace(c.Context(), func(e cairn.TraceEvent) {
		mu.Lock()
		defer mu.Unlock()
		if e.Peer == "" || over { // a few events come late
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
	most := c.Number("num-providers", standardProviders)
	ctx, end := c.verbosely()
	defer end()
	k, err := cidArgument(c.Args[0])
	switch {
	case err != nil:
		return err
	case c.Invalid() != nil:
		return c.Invalid()
	case most < 1 || most > maxProviders:
		return httpapi.BadRequest("option num-providers: it is %d; the most is %d", most, maxProviders)
	}
	told := make(map[peer.ID]bool)
	for p, err := range c.node.FindProviders(ctx, k) {
		if err == nil && told[p.ID] {
			continue
		}
		if err == nil {
			told[p.ID] = true
			err = c.Line(routingEvent{Type: eventProvider, Responses: routingPeers(peer.AddrInfo{ID: p.ID, Addrs: p.Addrs})})
		}
		if err != nil {
			return err
		}
		if int64(len(told)) == most {
			break
		}
	}
	return c.EndList(nil)
}

func (c *call) routingFindPeer() error {
	ctx, end := c.verbosely()
	defer end()
	if c.Invalid() != nil {
		return c.Invalid()
	}
	id, err := peerOf(c.Args[0])
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

// routingQuery lists the peers that are closest to one.
func (c *call) routingQuery() error {
	ctx, end := c.verbosely()
	defer end()
	if c.Invalid() != nil {
		return c.Invalid()
	}
	for _, arg := range c.Args {
		id, err := peerOf(arg)
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

// bootstrapList lists whom the network is entered by. They are changed in the
// configuration, which the daemon only reads.
func (c *call) bootstrapList() error {
	peers := c.node.Bootstrap()
	if peers == nil {
		peers = []string{}
	}
	return c.Value(struct{ Peers []string }{peers})
}

func (c *call) bootstrapChange() error {
	return httpapi.Forbidden("peers to enter the network by are set in the configuration: cairn config set swarm.bootstrap")
}
