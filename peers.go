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

// A Peer describes a peer.
type Peer struct {
	ID peer.ID `json:"peerId"`
	// Connected: there is a connection. Addr is the peer's end of it, and Since
	// when it was opened. Inbound: the peer opened it. Relayed: it goes through
	// another peer, and carries no blocks.
	Connected bool                `json:"connected"`
	Addr      multiaddr.Multiaddr `json:"address,omitempty"`
	Inbound   bool                `json:"inbound,omitempty"`
	Since     time.Time           `json:"since,omitzero"`
	Relayed   bool                `json:"relayed,omitempty"`
	// Protected: see Protect.
	Protected bool `json:"protected,omitempty"`
	// Agent and Protocols are as the peer reports them.
	Agent     string   `json:"agent,omitempty"`
	Protocols []string `json:"protocols,omitempty"`
	// RTT is the round-trip time. Zero: not measured.
	RTT time.Duration `json:"rtt,omitzero"`
	// Known are the peer's addresses in the address book.
	Known []multiaddr.Multiaddr `json:"addresses,omitempty"`
	// Failure is why the last dial failed, at FailedAt. Empty: it succeeded.
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

// ID returns the node's peer id.
func (n *Node) ID(ctx context.Context) (peer.ID, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	key, err := n.identity()
	if err != nil {
		return "", err
	}
	return peer.IDFromPrivateKey(key)
}

// Addrs returns the addresses that others can dial, with the node's id.
func (n *Node) Addrs(ctx context.Context) ([]multiaddr.Multiaddr, error) {
	net, err := n.network(ctx)
	if err != nil {
		return nil, err
	}
	return net.swarm.Addrs(), nil
}

// Protocols returns the libp2p protocols that the node serves.
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

// ListenOn makes the node listen on one more address.
func (n *Node) ListenOn(ctx context.Context, addr string) error {
	return n.withSwarm(ctx, func(s *swarm.Swarm) error { return s.ListenOn(addr) })
}

// AddExternal adds an address to those that peers learn, such as that of a port
// forwarded by a router.
func (n *Node) AddExternal(ctx context.Context, addr string) error {
	return n.withSwarm(ctx, func(s *swarm.Swarm) error { return s.AddExternal(addr) })
}

// RemoveExternal undoes AddExternal.
func (n *Node) RemoveExternal(ctx context.Context, addr string) error {
	return n.withSwarm(ctx, func(s *swarm.Swarm) error { return s.RemoveExternal(addr) })
}

// AddAddr adds a peer's address to the address book: a multiaddr that ends with the
// peer's id.
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

// Connect connects to a peer, given as a multiaddr that ends with its id, or as
// /p2p/ID if the address book has its addresses.
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

// Ban closes the connections to a peer, and refuses new ones until Unban, also after
// a restart.
func (n *Node) Ban(ctx context.Context, id peer.ID) error {
	return n.withSwarm(ctx, func(s *swarm.Swarm) error { return s.Ban(id) })
}

// Unban undoes Ban.
func (n *Node) Unban(ctx context.Context, id peer.ID) error {
	return n.withSwarm(ctx, func(s *swarm.Swarm) error { return s.Unban(id) })
}

// Banned returns the banned peers.
func (n *Node) Banned(ctx context.Context) (all []peer.ID, err error) {
	err = n.withSwarm(ctx, func(s *swarm.Swarm) error { all = s.Banned(); return nil })
	return all, err
}

// Protect keeps the connection to a peer with known addresses, and reopens it, at
// growing intervals, when it breaks.
func (n *Node) Protect(ctx context.Context, id peer.ID) error {
	return n.withSwarm(ctx, func(s *swarm.Swarm) error { return s.Protect(id) })
}

// Unprotect undoes Protect.
func (n *Node) Unprotect(ctx context.Context, id peer.ID) error {
	return n.withSwarm(ctx, func(s *swarm.Swarm) error { s.Unprotect(id); return nil })
}

// Prune removes the peers whose addresses were not confirmed for as long as age
// from the address book, and returns their number.
func (n *Node) Prune(ctx context.Context, age time.Duration) (removed int, err error) {
	err = n.withSwarm(ctx, func(s *swarm.Swarm) error { removed = s.Prune(ctx, age); return nil })
	return removed, err
}

func (n *Node) withSwarm(ctx context.Context, do func(*swarm.Swarm) error) error {
	net, err := n.network(ctx)
	if err != nil {
		return err
	}
	return do(net.swarm)
}

// Peers returns the connected and the protected peers.
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

// Ping yields round-trip times to a peer, one for each iteration. It connects first
// if necessary.
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

// The kinds of PeerEvent.
const (
	// PeerEventConnected: the first connection to Peer has opened.
	PeerEventConnected PeerEventKind = "connected"
	// PeerEventDisconnected: the last connection to Peer has closed.
	PeerEventDisconnected PeerEventKind = "disconnected"
	// PeerEventListening: the node listens at Addr.
	PeerEventListening PeerEventKind = "listening"
	// PeerEventNotListening: the node no longer listens at Addr.
	PeerEventNotListening PeerEventKind = "not listening"
	// PeerEventExternal: peers outside can reach the node at Addr.
	PeerEventExternal PeerEventKind = "external"
	// PeerEventNotExternal: Addr is no longer external.
	PeerEventNotExternal PeerEventKind = "not external"
	// PeerEventDiscovered: Peer was found in the local network.
	PeerEventDiscovered PeerEventKind = "discovered"
)

// A PeerEvent is a change in the node's network.
type PeerEvent struct {
	Kind PeerEventKind       `json:"kind"`
	Peer peer.ID             `json:"peerId,omitempty"`
	Addr multiaddr.Multiaddr `json:"address,omitempty"`
	// Lost counts the events before this one that were dropped because the
	// caller was slow.
	Lost uint64 `json:"lost,omitempty"`
}

// PeerEvents yields what happens in the network from the call on. Last it yields
// the error that ended it: that of ctx, store.ErrClosed, ErrOffline.
func (n *Node) PeerEvents(ctx context.Context) iter.Seq2[PeerEvent, error] {
	net, err := n.network(ctx)
	if err != nil {
		return func(yield func(PeerEvent, error) bool) { yield(PeerEvent{}, err) }
	}
	events := net.swarm.Events(ctx)
	return func(yield func(PeerEvent, error) bool) {
		for e, err := range events {
			event := PeerEvent{Peer: e.Peer, Addr: e.Addr, Lost: e.Lost}
			if err == nil {
				event.Kind = PeerEventKind(e.Kind.String())
			}
			if !yield(event, closedError(err)) {
				return
			}
		}
	}
}

// ParsePeerID parses a peer id, 12D3Koo…, /p2p/ID, or an address that ends with it.
// Errors: ErrAddress.
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

// UserAgent returns the user agent of the Config.
func (n *Node) UserAgent() string { return n.config.UserAgent }
