package sources

import (
	"context"
	"sync"

	"github.com/cairn-ipfs/cairn/internal/exchange"
	"github.com/cairn-ipfs/cairn/internal/routing"
	"github.com/cairn-ipfs/cairn/internal/swarm"
	"github.com/libp2p/go-libp2p/core/peer"
)

// A foundGateway is a gateway that the router found.
type foundGateway struct {
	*gateway
	provider routing.Provider
}

var (
	_ exchange.Streamer = (*foundGateway)(nil)
	_ exchange.Answerer = (*foundGateway)(nil)
)

// A foundPeer is a peer that the router found. The addresses that came first may
// be old, and better ones may follow.
type foundPeer struct {
	s  *Sources
	id peer.ID

	mu      sync.Mutex    // guards the following
	changed chan struct{} // closed when there are more addresses, or over is set
	over    bool          // no more addresses will come
}

// update says that there are more addresses, or that none will follow.
func (p *foundPeer) update(over bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = p.over || over
	close(p.changed)
	p.changed = make(chan struct{})
}

// connect connects to the peer, as soon as one of its addresses answers.
func (p *foundPeer) connect(ctx context.Context) error {
	if len(p.s.c.Swarm.KnownAddrs(p.id)) == 0 {
		p.s.findAddrs(ctx, p.id)
	}
	for {
		p.mu.Lock()
		changed, over := p.changed, p.over
		p.mu.Unlock()
		err := p.s.c.Swarm.Connect(ctx, peer.AddrInfo{ID: p.id})
		if err == nil || over || ctx.Err() != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return err
		}
	}
}

// findAddrs looks a peer up until the address book has an address of it.
func (s *Sources) findAddrs(ctx context.Context, id peer.ID) {
	for p, err := range s.c.Router.FindPeer(ctx, id) {
		if err != nil {
			return // the dial fails for want of addresses, and says so
		}
		for _, a := range p.Addrs {
			// An address that can't be kept can't be dialled either.
			_ = s.c.Swarm.AddAddr(id, a, swarm.SourceRouting)
		}
		if len(s.c.Swarm.KnownAddrs(id)) > 0 {
			return
		}
	}
}
