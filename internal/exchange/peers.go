package exchange

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/cairn-ipfs/cairn/internal/bitswap"
	"github.com/cairn-ipfs/cairn/internal/trustless"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// Peers are the sources that a libp2p host reaches.
type Peers struct {
	Host    host.Host
	Bitswap *bitswap.Bitswap
	// Connect connects to a peer, and waits until it has said what it speaks.
	// Nil: the Host does, if it knows where.
	Connect func(ctx context.Context, p peer.AddrInfo) error

	mu   sync.Mutex // guards used
	used map[peer.ID]int
}

// usedTag keeps connections that sources use from being trimmed, and tells the
// swarm that they may carry much.
const usedTag = "exchange"

// use notes that a peer is used, until done is called.
func (p *Peers) use(id peer.ID) (done func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used == nil {
		p.used = make(map[peer.ID]int)
	}
	if p.used[id]++; p.used[id] == 1 {
		p.Host.ConnManager().Protect(id, usedTag)
	}
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.used[id]--; p.used[id] == 0 {
			delete(p.used, id)
			p.Host.ConnManager().Unprotect(id, usedTag)
		}
	})
}

// bitswapProtocols are those that a peer speaks one of if it can be asked for
// blocks.
var bitswapProtocols = []protocol.ID{"/ipfs/bitswap/1.2.0", "/ipfs/bitswap/1.1.0", "/ipfs/bitswap/1.0.0", "/ipfs/bitswap"}

// Peer returns a peer as a source. It's connected to when it's asked.
func (p *Peers) Peer(id peer.ID) Source { return &peerSource{p: p, id: id} }

// Found returns a peer as a source that connect connects to when it's asked.
func (p *Peers) Found(id peer.ID, connect func(context.Context) error) Source {
	return &peerSource{p: p, id: id, call: connect}
}

// MaxConnected is how many connected peers a session begins with: half of those
// that it asks, so that there is room for who is found to have it.
const MaxConnected = maxSources / 2

// Connected yields the peers that the host is connected to directly, and that
// speak what is needed.
func (p *Peers) Connected() iter.Seq[Source] {
	return func(yield func(Source) bool) {
		n := 0
		for _, id := range p.Host.Network().Peers() {
			s := &peerSource{p: p, id: id}
			if p.Host.Network().Connectedness(id) != network.Connected || !s.speaks(bitswapProtocols...) && !s.speaks(trustless.StreamProtocol) {
				continue
			}
			if n++; n > MaxConnected || !yield(s) {
				return
			}
		}
	}
}

// A peerSource streams DAGs as a trustless gateway over libp2p streams, and is
// asked for blocks by bitswap.
type peerSource struct {
	p    *Peers
	id   peer.ID
	call func(context.Context) error // nil: Peers.Connect

	heard atomic.Int64 // over streams of the gateway
}

var (
	_ Streamer = (*peerSource)(nil)
	_ Asker    = (*peerSource)(nil)
	_ Hearer   = (*peerSource)(nil)
)

func (s *peerSource) Name() string { return s.id.String() }

// Heard implements Hearer.
func (s *peerSource) Heard() int64 { return s.heard.Load() + s.p.Bitswap.Heard(s.id) }

func (s *peerSource) speaks(protocols ...protocol.ID) bool {
	known, err := s.p.Host.Peerstore().SupportsProtocols(s.id, protocols...)
	return err == nil && len(known) > 0
}

// connect connects to the peer, so that it's known what it speaks. One that is
// connected already may not have said so yet, for which Peers.Connect waits.
func (s *peerSource) connect(ctx context.Context) error {
	if s.call != nil && s.p.Host.Network().Connectedness(s.id) != network.Connected {
		return s.call(ctx)
	}
	connect := s.p.Connect
	if connect == nil {
		connect = s.p.Host.Connect
	}
	return connect(ctx, peer.AddrInfo{ID: s.id})
}

func (s *peerSource) gateway() *Gateway {
	return &Gateway{client: &trustless.Client{
		HTTP: &http.Client{Transport: trustless.Transport(s.p.Host, s.id)},
		Base: trustless.StreamURL(s.id), Heard: &s.heard,
	}}
}

func (s *peerSource) Stream(ctx context.Context, root cid.Cid, have []cid.Cid) (Stream, error) {
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	if !s.speaks(trustless.StreamProtocol) {
		return nil, ErrCannotStream
	}
	done := s.p.use(s.id)
	stream, err := s.gateway().Stream(ctx, root, have)
	if err != nil {
		done()
		return nil, err
	}
	return usedStream{stream, done}, nil
}

// A usedStream is one from a peer that is used until its end.
type usedStream struct {
	Stream
	done func()
}

func (s usedStream) Close() error {
	defer s.done()
	return s.Stream.Close()
}

func (s *peerSource) Open(ctx context.Context) (Conversation, error) {
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
		return usedConversation{c, done}, nil
	}
	c, err := s.p.Bitswap.Open(ctx, s.id)
	if err != nil {
		return nil, err
	}
	return bitswapConversation{c}, nil
}

// A usedConversation is one with a peer that is used until its end.
type usedConversation struct {
	Conversation
	done func()
}

func (c usedConversation) Close() error {
	defer c.done()
	return c.Conversation.Close()
}

// A bitswapConversation is bitswap's, with a session's words.
type bitswapConversation struct{ c *bitswap.Conversation }

func (b bitswapConversation) Want(_ context.Context, cids ...cid.Cid) error {
	return b.c.Want(bitswap.WantBlock, true, 1, cids...)
}

func (b bitswapConversation) Has(_ context.Context, c cid.Cid) error {
	return b.c.Want(bitswap.WantHave, true, 1, c)
}

func (b bitswapConversation) Cancel(cids ...cid.Cid) { b.c.Cancel(cids...) }

func (b bitswapConversation) Next(ctx context.Context) (Reply, error) {
	r, err := b.c.Next(ctx)
	if errors.Is(err, bitswap.ErrMisbehaved) {
		err = fmt.Errorf("%w: %w", ErrLied, err)
	}
	if err != nil {
		return Reply{}, err
	}
	return Reply{CID: r.CID, Block: r.Block, Has: r.Kind != bitswap.DontHave}, nil
}

func (b bitswapConversation) Close() error {
	b.c.Close()
	return nil
}

// A Gateway is a trustless gateway as a source.
type Gateway struct{ client *trustless.Client }

var (
	_ Streamer = (*Gateway)(nil)
	_ Asker    = (*Gateway)(nil)
	_ Hearer   = (*Gateway)(nil)
)

// NewGateway returns the gateway below base. The HTTP client may be shared.
func NewGateway(base *url.URL, client *http.Client) *Gateway {
	return &Gateway{client: &trustless.Client{HTTP: client, Base: base, Heard: new(atomic.Int64)}}
}

// Name is the gateway's address.
func (g *Gateway) Name() string { return g.client.Base.String() }

// Heard implements Hearer.
func (g *Gateway) Heard() int64 { return g.client.Heard.Load() }

// Stream implements Streamer.
func (g *Gateway) Stream(ctx context.Context, root cid.Cid, have []cid.Cid) (Stream, error) {
	r, err := g.client.DAG(ctx, root, trustless.Request{Have: have})
	var status *trustless.StatusError
	if errors.Is(err, trustless.ErrProtocol) || errors.As(err, &status) && (status.Status == http.StatusNotAcceptable || status.Status == http.StatusNotImplemented || status.Status == http.StatusBadRequest) {
		return nil, fmt.Errorf("%w: %w", ErrCannotStream, err)
	}
	if busy := busyOf(err); busy != nil {
		return nil, busy
	}
	if err != nil {
		return nil, err
	}
	return gatewayResponse{r}, nil
}

type gatewayResponse struct{ *trustless.Response }

func (r gatewayResponse) Honoured() bool { return len(r.Have) > 0 }
