package names

import (
	"context"
	"errors"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// maxAsking bounds the queries to peers in progress, and maxAsked the peers
	// that one lookup asks.
	maxAsking = 32
	maxAsked  = 8

	// pollPeers is the interval at which a lookup lists connected peers during
	// the bootstrap.
	pollPeers = 50 * time.Millisecond
)

// askInBackground asks a peer for a name's record in the background. It returns
// false if too many queries are in progress.
func (n *Names) askInBackground(name Name, id peer.ID) bool {
	select {
	case n.asking <- struct{}{}:
	default:
		return false
	}
	l := &lookup{first: make(chan struct{})}
	if !n.spawn(func() {
		defer func() { <-n.asking }()
		n.fetch(n.ctx, l, name, id)
	}) {
		<-n.asking
		return false
	}
	return true
}

// ask asks a peer on behalf of a lookup, once maxAsking allows it.
func (n *Names) ask(ctx context.Context, l *lookup, name Name, id peer.ID) {
	select {
	case n.asking <- struct{}{}:
		defer func() { <-n.asking }()
		n.fetch(ctx, l, name, id)
	case <-ctx.Done():
	}
}

// fetch asks a peer and passes the record to the lookup.
func (n *Names) fetch(ctx context.Context, l *lookup, name Name, id peer.ID) {
	raw, err := fetchRecord(ctx, n.net.Load().Host, id, name)
	if err != nil {
		if !errors.Is(err, ErrNotFound) {
			l.fail(err)
		}
		return
	}
	n.acceptFound(ctx, l, name, raw, fromPeer+id.String())
}

// askPeers calls ask for the connected peers, including those that connect
// during the bootstrap. It returns their number, and the bootstrap's error.
func (n *Names) askPeers(ctx context.Context, name Name, ask func(peer.ID)) (int, error) {
	asked := make(map[peer.ID]bool)
	askNew := func() {
		for _, id := range n.peersToAsk(name) {
			if !asked[id] && len(asked) < maxAsked {
				asked[id] = true
				ask(id)
			}
		}
	}
	askNew()
	bootstrapped := make(chan error, 1)
	if !n.spawn(func() { bootstrapped <- n.awaitBootstrap(ctx) }) {
		return len(asked), ErrClosed
	}
	tick := time.NewTicker(pollPeers)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			askNew()
		case err := <-bootstrapped:
			askNew()
			return len(asked), err
		}
	}
}

// peersToAsk returns the connected peers that a lookup asks: those of the name's
// topic first, then others that support the fetch protocol.
func (n *Names) peersToAsk(name Name) []peer.ID {
	h := n.net.Load().Host
	if h == nil {
		return nil
	}
	var ids []peer.ID
	seen := make(map[peer.ID]bool)
	add := func(id peer.ID) {
		if len(ids) >= maxAsked || seen[id] || h.Network().Connectedness(id) != network.Connected {
			return
		}
		if spoken, err := h.Peerstore().SupportsProtocols(id, fetchProtocol); err == nil && len(spoken) > 0 {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	if s := n.subscription(name); s != nil {
		for _, id := range s.topic.Peers() {
			add(id)
		}
	}
	for _, id := range h.Network().Peers() {
		add(id)
	}
	return ids
}
