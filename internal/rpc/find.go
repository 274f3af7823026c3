package rpc

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

// A FindShape is a line of a look-up, in JSON: somebody who was found, or, with
// a trace, a question.
type FindShape struct {
	// Type is "provider", "peer" or "question".
	Type   string `json:"type"`
	Source string `json:"source"`
	// PeerID is empty where a question was not for a peer.
	PeerID    string   `json:"peerId,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
	Protocols []string `json:"protocols,omitempty"`
	*QuestionShape
}

// A QuestionShape is a cairn.TraceEvent in JSON, besides what FindShape has.
type QuestionShape struct {
	Hop int `json:"hop,omitempty"`
	// Distance is in hexadecimal, SharedBits how many zero bits it begins with.
	Distance   string   `json:"distance,omitempty"`
	SharedBits int      `json:"sharedBits,omitempty"`
	Closer     []string `json:"closer"`
	Providers  []string `json:"providers"`
	Record     bool     `json:"record,omitempty"`
	// Took is in seconds.
	Took  float64 `json:"took"`
	Error string  `json:"error,omitempty"`
}

// ShapeOfProvider returns a provider as it is in JSON.
func ShapeOfProvider(p cairn.Provider) FindShape {
	return FindShape{Type: "provider", Source: p.Source, PeerID: p.ID.String(), Addresses: texts(p.Addrs), Protocols: p.Protocols}
}

// ShapeOfFoundPeer returns a peer's addresses as they are in JSON.
func ShapeOfFoundPeer(p cairn.PeerAddrs) FindShape {
	return FindShape{Type: "peer", Source: p.Source, PeerID: p.ID.String(), Addresses: texts(p.Addrs)}
}

// ShapeOfQuestion returns a question as it is in JSON.
func ShapeOfQuestion(e cairn.TraceEvent) FindShape {
	q := &QuestionShape{
		Hop: e.Hop, SharedBits: e.Prefix, Closer: idsOf(e.Closer), Providers: idsOf(e.Providers), Record: e.Value, Took: e.Took.Seconds(),
	}
	if e.Err != nil {
		q.Error = e.Err.Error()
	}
	s := FindShape{Type: "question", Source: e.Source, QuestionShape: q}
	if e.Peer != "" {
		s.PeerID, q.Distance = e.Peer.String(), hex.EncodeToString(e.Distance[:])
	}
	return s
}

func texts(addrs []multiaddr.Multiaddr) []string {
	var all []string
	for _, a := range addrs {
		all = append(all, a.String())
	}
	return all
}

func idsOf(peers []peer.AddrInfo) []string {
	all := []string{}
	for _, p := range peers {
		all = append(all, p.ID.String())
	}
	return all
}

// info reads who was found.
func (s FindShape) info() (p peer.AddrInfo, err error) {
	if p.ID, err = peer.Decode(s.PeerID); err != nil {
		return p, err
	}
	for _, text := range s.Addresses {
		a, err := multiaddr.NewMultiaddr(text)
		if err != nil {
			return p, err
		}
		p.Addrs = append(p.Addrs, a)
	}
	return p, nil
}

// question reads a question. Of the peers in it there are but the ids.
func (s FindShape) question() (e cairn.TraceEvent, err error) {
	q := s.QuestionShape
	if q == nil {
		return e, errors.New("a question without what was asked")
	}
	e = cairn.TraceEvent{
		Source: s.Source, Hop: q.Hop, Prefix: q.SharedBits, Value: q.Record, Took: time.Duration(q.Took * float64(time.Second)),
	}
	if q.Error != "" {
		e.Err = errors.New(q.Error)
	}
	if s.PeerID != "" {
		if e.Peer, err = peer.Decode(s.PeerID); err != nil {
			return e, err
		}
		d, err := hex.DecodeString(q.Distance)
		if err != nil || len(d) != len(e.Distance) {
			return e, fmt.Errorf("%q is no distance", q.Distance)
		}
		copy(e.Distance[:], d)
	}
	for _, list := range []struct {
		from []string
		to   *[]peer.AddrInfo
	}{{q.Closer, &e.Closer}, {q.Providers, &e.Providers}} {
		for _, text := range list.from {
			id, err := peer.Decode(text)
			if err != nil {
				return e, err
			}
			*list.to = append(*list.to, peer.AddrInfo{ID: id})
		}
	}
	return e, nil
}

// traced returns the context of a look-up, which tells of its questions if that
// was asked for; end ends the telling, which otherwise goes on a little.
func (c *call) traced(tell func(cairn.TraceEvent)) (ctx context.Context, end func()) {
	var mu sync.Mutex
	over := false
	ctx = cairn.WithTrace(c.ctx, func(e cairn.TraceEvent) {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			tell(e)
		}
	})
	return ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
	}
}

// lookUp answers with what a look-up yields.
func lookUp[T any](c *call, find func(context.Context) iter.Seq2[T, error], shape func(T) FindShape) error {
	ctx, end := c.ctx, func() {}
	if c.flag("trace", false) {
		ctx, end = c.traced(func(e cairn.TraceEvent) {
			_ = c.line(ShapeOfQuestion(e)) // who has left is noticed elsewhere
		})
	}
	defer end()
	if c.bad != nil {
		return c.bad
	}
	for found, err := range find(ctx) {
		if err == nil {
			err = c.line(shape(found))
		}
		if err != nil {
			return err
		}
	}
	return c.lines(nil)
}

// rootOf reads an argument that is a CID.
func rootOf(arg string) (cid.Cid, error) {
	root, path, err := parsePath(arg)
	if err == nil && path != "" {
		err = badRequest("%.100q: say a CID, without a path", arg)
	}
	return root, err
}

func (c *call) findProviders() error {
	k, err := rootOf(c.args[0])
	if err != nil {
		return err
	}
	return lookUp(c, func(ctx context.Context) iter.Seq2[cairn.Provider, error] { return c.node.FindProviders(ctx, k) }, ShapeOfProvider)
}

func (c *call) findPeer() error {
	id, err := peerOf(c.args[0])
	if err != nil {
		return err
	}
	return lookUp(c, func(ctx context.Context) iter.Seq2[cairn.PeerAddrs, error] { return c.node.FindPeer(ctx, id) }, ShapeOfFoundPeer)
}

// find asks for a look-up, and yields who is found.
func (c *Client) find(ctx context.Context, verb, arg string, trace func(cairn.TraceEvent), yield func(FindShape, peer.AddrInfo, error) bool) {
	r := request{verb: verb, args: []string{arg}}
	r.option("trace", trace != nil)
	for shape, err := range values[FindShape](ctx, c, r) {
		var info peer.AddrInfo
		switch {
		case err != nil:
		case shape.Type == "question":
			var e cairn.TraceEvent
			if e, err = shape.question(); err == nil {
				if trace != nil {
					trace(e)
				}
				continue
			}
		default:
			info, err = shape.info()
		}
		if err != nil && shape.Type != "" {
			err = fmt.Errorf("find: read the daemon's answer: %w", err)
		}
		if !yield(shape, info, err) || err != nil {
			return
		}
	}
}

// FindProviders makes the daemon look for providers, as
// cairn.Node.FindProviders does. If trace isn't nil, it's told of each question,
// by the goroutine that ranges; peers in it have ids alone.
func (c *Client) FindProviders(ctx context.Context, k cid.Cid, trace func(cairn.TraceEvent)) iter.Seq2[cairn.Provider, error] {
	return func(yield func(cairn.Provider, error) bool) {
		c.find(ctx, "cairn/find/providers", k.String(), trace, func(s FindShape, p peer.AddrInfo, err error) bool {
			return yield(cairn.Provider{AddrInfo: p, Source: s.Source, Protocols: s.Protocols}, err)
		})
	}
}

// FindPeer makes the daemon look for a peer's addresses, as cairn.Node.FindPeer
// does. For trace see FindProviders.
func (c *Client) FindPeer(ctx context.Context, id peer.ID, trace func(cairn.TraceEvent)) iter.Seq2[cairn.PeerAddrs, error] {
	return func(yield func(cairn.PeerAddrs, error) bool) {
		c.find(ctx, "cairn/find/peer", id.String(), trace, func(s FindShape, p peer.AddrInfo, err error) bool {
			return yield(cairn.PeerAddrs{AddrInfo: p, Source: s.Source}, err)
		})
	}
}
