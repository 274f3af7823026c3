package sources

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/cairn-ipfs/cairn/internal/bitswap"
	"github.com/cairn-ipfs/cairn/internal/exchange"
	"github.com/cairn-ipfs/cairn/internal/trustless"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// peers makes sources of the peers that a libp2p host reaches.
type peers struct {
	host    host.Host
	bitswap *bitswap.Bitswap
	// connect connects to a peer, and returns when it's known which protocols
	// the peer speaks.
	connect func(ctx context.Context, p peer.AddrInfo) error

	mu   sync.Mutex // guards used
	used map[peer.ID]int
}

// usedTag protects the connections that sources use from being trimmed, and has
// the swarm give them the limits of peers in use.
const usedTag = "exchange"

// use protects the connection to a peer until done is called.
func (p *peers) use(id peer.ID) (done func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used == nil {
		p.used = make(map[peer.ID]int)
	}
	if p.used[id]++; p.used[id] == 1 {
		p.host.ConnManager().Protect(id, usedTag)
	}
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.used[id]--; p.used[id] == 0 {
			delete(p.used, id)
			p.host.ConnManager().Unprotect(id, usedTag)
		}
	})
}

// bitswapProtocols are the versions of bitswap; a peer that speaks one of them
// can be asked for single blocks.
var bitswapProtocols = []protocol.ID{"/ipfs/bitswap/1.2.0", "/ipfs/bitswap/1.1.0", "/ipfs/bitswap/1.0.0", "/ipfs/bitswap"}

// peer returns a peer as a source. When it's asked, dial connects to it; nil
// stands for peers.connect.
func (p *peers) peer(id peer.ID, dial func(context.Context) error) exchange.Source {
	return &peerSource{p: p, id: id, dial: dial}
}

// connected yields the peers that the host is connected to directly, and that
// speak bitswap or serve the trustless gateway.
func (p *peers) connected() iter.Seq[exchange.Source] {
	return func(yield func(exchange.Source) bool) {
		n := 0
		for _, id := range p.host.Network().Peers() {
			s := &peerSource{p: p, id: id}
			if p.host.Network().Connectedness(id) != network.Connected || !s.speaks(bitswapProtocols...) && !s.speaks(trustless.StreamProtocol) {
				continue
			}
			if n++; n > maxConnected || !yield(s) {
				return
			}
		}
	}
}

// A peerSource streams DAGs as a trustless gateway over libp2p streams, and
// answers for single blocks by bitswap.
type peerSource struct {
	p    *peers
	id   peer.ID
	dial func(context.Context) error // nil: peers.connect

	reads atomic.Int64 // from streams of the gateway
}

var (
	_ exchange.Streamer    = (*peerSource)(nil)
	_ exchange.Answerer    = (*peerSource)(nil)
	_ exchange.ReadCounter = (*peerSource)(nil)
)

func (s *peerSource) Name() string { return s.id.String() }

// Reads implements exchange.ReadCounter.
func (s *peerSource) Reads() int64 { return s.reads.Load() + s.p.bitswap.Reads(s.id) }

func (s *peerSource) speaks(protocols ...protocol.ID) bool {
	known, err := s.p.host.Peerstore().SupportsProtocols(s.id, protocols...)
	return err == nil && len(known) > 0
}

// connect connects to the peer, so that it's known what it speaks. A peer that
// has just connected may not have said so yet; peers.connect waits for that.
func (s *peerSource) connect(ctx context.Context) error {
	if s.dial != nil && s.p.host.Network().Connectedness(s.id) != network.Connected {
		return s.dial(ctx)
	}
	return s.p.connect(ctx, peer.AddrInfo{ID: s.id})
}

func (s *peerSource) gateway() *gateway {
	return &gateway{client: &trustless.Client{
		HTTP: &http.Client{Transport: trustless.Transport(s.p.host, s.id)},
		Base: trustless.StreamURL(s.id), Reads: &s.reads,
	}}
}

// Stream implements exchange.Streamer.
func (s *peerSource) Stream(ctx context.Context, root cid.Cid, have []cid.Cid) (exchange.Stream, error) {
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	if !s.speaks(trustless.StreamProtocol) {
		return nil, exchange.ErrCannotStream
	}
	done := s.p.use(s.id)
	stream, err := s.gateway().Stream(ctx, root, have)
	if err != nil {
		done()
		return nil, err
	}
	return peerStream{stream, done}, nil
}

// A peerStream protects the connection to its peer until it's closed.
type peerStream struct {
	exchange.Stream
	done func()
}

func (s peerStream) Close() error {
	defer s.done()
	return s.Stream.Close()
}

// Open implements exchange.Answerer.
func (s *peerSource) Open(ctx context.Context) (exchange.Conversation, error) {
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	if !s.speaks(bitswapProtocols...) && s.speaks(trustless.StreamProtocol) {
		done := s.p.use(s.id)
		c, err := s.gateway().Open(ctx)
		if err != nil {
			done()
			return nil, err
		}
		return peerConversation{c, done}, nil
	}
	c, err := s.p.bitswap.Open(ctx, s.id)
	if err != nil {
		return nil, err
	}
	return bitswapConversation{c}, nil
}

// A peerConversation protects the connection to its peer until it's closed.
type peerConversation struct {
	exchange.Conversation
	done func()
}

func (c peerConversation) Close() error {
	defer c.done()
	return c.Conversation.Close()
}

// A bitswapConversation is a conversation of package bitswap.
type bitswapConversation struct{ c *bitswap.Conversation }

func (b bitswapConversation) Want(_ context.Context, cids ...cid.Cid) error {
	return b.c.Want(bitswap.WantBlock, true, 1, cids...)
}

func (b bitswapConversation) Has(_ context.Context, c cid.Cid) error {
	return b.c.Want(bitswap.WantHave, true, 1, c)
}

func (b bitswapConversation) Cancel(cids ...cid.Cid) { b.c.Cancel(cids...) }

func (b bitswapConversation) Next(ctx context.Context) (exchange.Reply, error) {
	r, err := b.c.Next(ctx)
	if errors.Is(err, bitswap.ErrMisbehaved) {
		err = fmt.Errorf("%w: %w", exchange.ErrMisbehaved, err)
	}
	if err != nil {
		return exchange.Reply{}, err
	}
	return exchange.Reply{CID: r.CID, Block: r.Block, Has: r.Kind != bitswap.DontHave}, nil
}

func (b bitswapConversation) Close() error {
	b.c.Close()
	return nil
}
