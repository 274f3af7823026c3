package cairn

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/cairn-ipfs/cairn/internal/swarm"
	libp2pnet "github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

// A Peer is what is known of a peer.
type Peer struct {
	ID peer.ID `json:"peerId"`
	// Connected tells whether there's a connection. Addr is the peer's end of
	// it, Inbound whether the peer opened it, Since when it was opened; Relayed
	// if it goes through others, which blocks don't.
	Connected bool                `json:"connected"`
	Addr      multiaddr.Multiaddr `json:"address,omitempty"`
	Inbound   bool                `json:"inbound,omitempty"`
	Since     time.Time           `json:"since,omitzero"`
	Relayed   bool                `json:"relayed,omitempty"`
	// Protected: the connection is kept, and opened again when it breaks.
	Protected bool `json:"protected,omitempty"`
	// Agent and Protocols are what the peer says of itself.
	Agent     string   `json:"agent,omitempty"`
	Protocols []string `json:"protocols,omitempty"`
	// RTT is how long a message takes there and back; zero: not measured.
	RTT time.Duration `json:"rtt,omitzero"`
	// Known are addresses at which it was, or is said to be.
	Known []multiaddr.Multiaddr `json:"addresses,omitempty"`
	// Failure is why the last call failed, FailedAt when. Empty: it didn't.
	Failure  string    `json:"failure,omitempty"`
	FailedAt time.Time `json:"failedAt,omitzero"`
}

func newPeer(p swarm.PeerInfo) Peer {
	out := Peer{
		ID: p.ID, Connected: p.Connections > 0, Addr: p.Addr, Inbound: p.Direction == libp2pnet.DirInbound, Since: p.Since,
		Relayed: p.Relayed, Protected: p.Protected, Agent: p.Agent, RTT: p.RTT, Failure: p.Failure, FailedAt: p.FailedAt,
	}
	for _, id := range p.Protocols {
		out.Protocols = append(out.Protocols, string(id))
	}
	for _, a := range p.Known {
		out.Known = append(out.Known, a.Addr)
	}
	return out
}

// ID is the node's peer id.
func (n *Node) ID(ctx context.Context) (peer.ID, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	key, err := n.identity()
	if err != nil {
		return "", err
	}
	return peer.IDFromPrivateKey(key)
}

// Addrs are the addresses at which the node listens, as others call it, with
// its id.
func (n *Node) Addrs(ctx context.Context) ([]multiaddr.Multiaddr, error) {
	net, err := n.network(ctx)
	if err != nil {
		return nil, err
	}
	return net.swarm.Addrs(), nil
}

// Protocols are those that the node answers.
func (n *Node) Protocols(ctx context.Context) ([]string, error) {
	net, err := n.network(ctx)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, id := range net.swarm.Host().Mux().Protocols() {
		all = append(all, string(id))
	}
	slices.Sort(all)
	return all, nil
}

// ListenOn makes the node listen at one more address.
func (n *Node) ListenOn(ctx context.Context, addr string) error {
	net, err := n.network(ctx)
	if err != nil {
		return err
	}
	return net.swarm.ListenOn(addr)
}

// AddExternal tells peers of an address at which the node is reached though it
// doesn't know: behind a router, say.
func (n *Node) AddExternal(ctx context.Context, addr string) error {
	net, err := n.network(ctx)
	if err != nil {
		return err
	}
	return net.swarm.AddExternal(addr)
}

// RemoveExternal takes back what AddExternal told.
func (n *Node) RemoveExternal(ctx context.Context, addr string) error {
	return n.withSwarm(ctx, func(s *swarm.Swarm) error { return s.RemoveExternal(addr) })
}

// AddAddr notes where a peer is to be found: a multiaddr that ends with its id.
func (n *Node) AddAddr(ctx context.Context, addr string) (peer.ID, error) {
	net, err := n.network(ctx)
	if err != nil {
		return "", err
	}
	return net.addAddr(addr)
}

func (net *network) addAddr(addr string) (peer.ID, error) {
	infos, err := parsePeers([]string{addr})
	if err != nil {
		return "", err
	}
	for _, a := range infos[0].Addrs {
		if err := net.swarm.AddAddr(infos[0].ID, a, swarm.SourceUser); err != nil {
			return "", err
		}
	}
	return infos[0].ID, nil
}

// Connect connects to a peer, at a multiaddr that ends with its id; the id
// alone, as /p2p/ID, will do for one whose addresses are known.
func (n *Node) Connect(ctx context.Context, addr string) (peer.ID, error) {
	net, err := n.network(ctx)
	if err != nil {
		return "", err
	}
	id, err := net.addAddr(addr)
	if err == nil {
		err = net.swarm.Connect(ctx, peer.AddrInfo{ID: id})
	}
	if err != nil {
		return "", fmt.Errorf("connect to %s: %w", addr, err)
	}
	return id, nil
}

// Disconnect closes the connections to a peer.
func (n *Node) Disconnect(ctx context.Context, id peer.ID) error {
	return n.withSwarm(ctx, func(s *swarm.Swarm) error { return s.Disconnect(id) })
}

// Ban closes the connections to a peer, and accepts and opens none until Unban,
// also after the node is opened again.
func (n *Node) Ban(ctx context.Context, id peer.ID) error {
	return n.withSwarm(ctx, func(s *swarm.Swarm) error { return s.Ban(id) })
}

// Unban takes a Ban back.
func (n *Node) Unban(ctx context.Context, id peer.ID) error {
	return n.withSwarm(ctx, func(s *swarm.Swarm) error { return s.Unban(id) })
}

// Banned lists the peers that are banned.
func (n *Node) Banned(ctx context.Context) (all []peer.ID, err error) {
	err = n.withSwarm(ctx, func(s *swarm.Swarm) error { all = s.Banned(); return nil })
	return all, err
}

// Protect keeps the connection to a peer, whose addresses are known, and opens
// it again, at growing intervals, whenever it breaks.
func (n *Node) Protect(ctx context.Context, id peer.ID) error {
	return n.withSwarm(ctx, func(s *swarm.Swarm) error { return s.Protect(id) })
}

// Unprotect takes a Protect back.
func (n *Node) Unprotect(ctx context.Context, id peer.ID) error {
	return n.withSwarm(ctx, func(s *swarm.Swarm) error { s.Unprotect(id); return nil })
}

// Prune forgets the addresses that were not confirmed for so long, and returns
// how many peers are forgotten.
func (n *Node) Prune(ctx context.Context, age time.Duration) (forgotten int, err error) {
	err = n.withSwarm(ctx, func(s *swarm.Swarm) error { forgotten = s.Prune(ctx, age); return nil })
	return forgotten, err
}

func (n *Node) withSwarm(ctx context.Context, do func(*swarm.Swarm) error) error {
	net, err := n.network(ctx)
	if err != nil {
		return err
	}
	return do(net.swarm)
}

// Peers are those that the node is connected to, and those that are protected.
func (n *Node) Peers(ctx context.Context) ([]Peer, error) {
	net, err := n.network(ctx)
	if err != nil {
		return nil, err
	}
	var all []Peer
	for _, p := range net.swarm.Peers() {
		all = append(all, newPeer(p))
	}
	return all, nil
}

// Ping measures how long a message takes to a peer and back, as often as the
// caller ranges. It connects first, if need be.
func (n *Node) Ping(ctx context.Context, id peer.ID) iter.Seq2[time.Duration, error] {
	return func(yield func(time.Duration, error) bool) {
		net, err := n.network(ctx)
		if err != nil {
			yield(0, err)
			return
		}
		for d, err := range net.swarm.Ping(ctx, id) {
			if !yield(d, err) {
				return
			}
		}
	}
}

// PeerEventKind says what a PeerEvent is about.
type PeerEventKind string

// A PeerEvent is something that happened in the network.
type PeerEvent struct {
	// Kind is "connected", "disconnected", "listening", …
	Kind PeerEventKind       `json:"kind"`
	Peer peer.ID             `json:"peerId,omitempty"`
	Addr multiaddr.Multiaddr `json:"address,omitempty"`
	// Lost is how many events before this one were dropped, because nobody took
	// them in time.
	Lost uint64 `json:"lost,omitempty"`
}

// PeerEvents returns what happens in the network from the call on, until ctx
// ends or the node is closed.
func (n *Node) PeerEvents(ctx context.Context) (iter.Seq[PeerEvent], error) {
	net, err := n.network(ctx)
	if err != nil {
		return nil, err
	}
	events := net.swarm.Events(ctx)
	return func(yield func(PeerEvent) bool) {
		for e, err := range events {
			if err != nil || !yield(PeerEvent{Kind: PeerEventKind(e.Kind.String()), Peer: e.Peer, Addr: e.Addr, Lost: e.Lost}) {
				return
			}
		}
	}, nil
}

// A Message came in a Topic.
type Message struct {
	From peer.ID
	Data []byte
}

// A Topic is a subject that peers send each other messages about.
type Topic struct{ topic *swarm.Topic }

// TopicOptions say how a topic is joined. The zero value is fine.
type TopicOptions struct {
	// Valid, if not nil, is asked about each message, also our own: one that it
	// refuses is neither delivered nor passed on to others. Several goroutines
	// call it, with a context that ends after ten seconds; it must not keep the
	// data.
	Valid func(ctx context.Context, m Message) bool
}

// Topic joins a topic. Close it when done.
func (n *Node) Topic(ctx context.Context, name string, o TopicOptions) (*Topic, error) {
	net, err := n.network(ctx)
	if err != nil {
		return nil, err
	}
	var so swarm.TopicOptions
	if valid := o.Valid; valid != nil {
		so.Validate = func(ctx context.Context, m swarm.Message) bool {
			return valid(ctx, Message{From: m.From, Data: m.Data})
		}
	}
	t, err := net.swarm.Topic(name, so)
	if err != nil {
		return nil, err
	}
	return &Topic{t}, nil
}

// Publish sends a message to all who joined the topic, by gossipsub: also to
// those that the node isn't connected to.
func (t *Topic) Publish(ctx context.Context, data []byte) error { return t.topic.Publish(ctx, data) }

// Broadcast sends a message to the connected peers directly, at once, and
// returns to how many.
func (t *Topic) Broadcast(ctx context.Context, data []byte) (int, error) {
	return t.topic.Broadcast(ctx, data)
}

// Messages yields what comes, until ctx ends or the topic is closed.
func (t *Topic) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for m, err := range t.topic.Messages(ctx) {
			if !yield(Message{From: m.From, Data: m.Data}, err) {
				return
			}
		}
	}
}

// Close leaves the topic.
func (t *Topic) Close() error { return t.topic.Close() }

// ParsePeerID reads a peer's id: 12D3Koo…, /p2p/ID, or an address that ends with
// it. Errors: ErrAddress.
func ParsePeerID(s string) (peer.ID, error) {
	if at := strings.LastIndex(s, "/p2p/"); at >= 0 { // a relay's id stands before
		s = strings.Trim(s[at+len("/p2p/"):], "/")
	}
	id, err := peer.Decode(s)
	if err != nil {
		return "", fmt.Errorf("%w: %q: %w", ErrAddress, s, err)
	}
	return id, nil
}

// UserAgent is how the node introduces itself to peers, as it was configured.
func (n *Node) UserAgent() string { return n.config.UserAgent }
