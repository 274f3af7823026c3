package swarm

import (
	"fmt"
	"sync"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	// extraStreams is for the few peers that send blocks at the moment.
	extraStreams = peerStreams
	// peerStreams bounds the streams of one peer, which may request or send many
	// blocks at once.
	peerStreams = bitswapStreams + 128
	// bitswapStreams bounds the bitswap streams of one peer. Today's servers open
	// one for each answer, and don't wait for earlier ones: a refused stream is a
	// lost answer.
	bitswapStreams = 512
	// strangerStreams bounds the streams that a peer opens which we don't use:
	// several times what any protocol needs. Each costs a goroutine and some 16 KiB
	// of buffers.
	strangerStreams = 40
	// quicWindow bounds the growth, in bytes, of the window of a QUIC connection to
	// a peer that we use: by doubling from 768 KiB to 3 MiB. Windows of other peers
	// don't grow. A window bounds the unread bytes; 3 MiB arrive in 50 ms at 500
	// Mbit/s.
	quicWindow = 3 << 20
	// broadcastStreams bounds the broadcasts that one peer sends at a time.
	broadcastStreams = 16
	// broadcastMemory bounds the broadcasts of one peer that are being read, in
	// bytes, and broadcastTotal those of all peers. Further ones are refused.
	broadcastMemory = 2 * MaxMessage
	broadcastTotal  = 32 * MaxMessage
)

// newResourceManager bounds the resources that peers can use. isUsed reports
// whether this node uses a peer, which then may have more. The inbox bounds the
// memory of connections with yamux.
//
// Dials in progress count as connections here, so this limit is higher; the gater
// limits the open connections.
func newResourceManager(connections int, isUsed func(peer.ID) bool) (network.ResourceManager, error) {
	dialling := max(16, connections/2)
	total := connections + dialling
	streams := connections*strangerStreams + extraStreams // no peer takes another's share
	val := func(n int) rcmgr.LimitVal { return rcmgr.LimitVal(n) }
	limits := rcmgr.PartialLimitConfig{
		System: rcmgr.ResourceLimits{
			Conns: val(total), ConnsInbound: val(total), ConnsOutbound: val(total), FD: val(total),
			Streams: val(streams), StreamsInbound: val(streams), StreamsOutbound: val(streams),
		},
		Transient: rcmgr.ResourceLimits{
			Conns: val(total), ConnsInbound: val(dialling), ConnsOutbound: val(total), FD: val(total),
			Streams: val(streams), StreamsInbound: val(streams), StreamsOutbound: val(streams),
		},
		PeerDefault: rcmgr.ResourceLimits{
			Streams: val(peerStreams), StreamsInbound: val(peerStreams), StreamsOutbound: val(peerStreams),
		},
		ProtocolDefault: rcmgr.ResourceLimits{
			Streams: val(streams), StreamsInbound: val(streams), StreamsOutbound: val(streams),
		},
		ProtocolPeer: map[protocol.ID]rcmgr.ResourceLimits{
			broadcastProtocol: {StreamsInbound: val(broadcastStreams), Memory: broadcastMemory},
		},
		Protocol: map[protocol.ID]rcmgr.ResourceLimits{
			broadcastProtocol: {
				Streams: val(streams), StreamsInbound: val(streams), StreamsOutbound: val(streams), Memory: broadcastTotal,
			},
		},
	}
	for _, id := range []protocol.ID{"/ipfs/bitswap/1.2.0", "/ipfs/bitswap/1.1.0", "/ipfs/bitswap/1.0.0", "/ipfs/bitswap"} {
		limits.ProtocolPeer[id] = rcmgr.ResourceLimits{
			Streams: val(peerStreams), StreamsInbound: val(bitswapStreams),
		}
	}
	defaults := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&defaults)
	manager, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits.Build(defaults.AutoScale())), rcmgr.WithMetricsDisabled())
	if err != nil {
		return nil, err
	}
	return &resourceManager{manager, isUsed}, nil
}

// A resourceManager gives less to peers that this node doesn't use.
type resourceManager struct {
	network.ResourceManager
	isUsed func(peer.ID) bool
}

// OpenStream implements network.ResourceManager.
func (r *resourceManager) OpenStream(id peer.ID, dir network.Direction) (network.StreamManagementScope, error) {
	if dir == network.DirInbound && !r.isUsed(id) {
		open := 0
		err := r.ViewPeer(id, func(s network.PeerScope) error {
			open = s.Stat().NumStreamsInbound
			return nil
		})
		if err != nil {
			return nil, err
		}
		if open >= strangerStreams {
			return nil, fmt.Errorf("more than %d streams of one peer: %w", strangerStreams, network.ErrResourceLimitExceeded)
		}
	}
	return r.ResourceManager.OpenStream(id, dir)
}

// OpenConnection implements network.ResourceManager.
func (r *resourceManager) OpenConnection(dir network.Direction, fd bool, endpoint ma.Multiaddr) (network.ConnManagementScope, error) {
	scope, err := r.ResourceManager.OpenConnection(dir, fd, endpoint)
	if err != nil {
		return nil, err
	}
	return &connScope{ConnManagementScope: scope, isUsed: r.isUsed}, nil
}

// A connScope is the scope of a connection. Its memory is the growth of the QUIC
// window.
type connScope struct {
	network.ConnManagementScope
	isUsed func(peer.ID) bool

	mu    sync.Mutex // guards grown
	grown int
}

// ReserveMemory implements network.ResourceScope.
func (s *connScope) ReserveMemory(size int, priority uint8) error {
	limit := 0
	if p := s.PeerScope(); p != nil && s.isUsed(p.Peer()) {
		limit = quicWindow
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.grown+size > limit {
		return fmt.Errorf("grow the window of a connection: %w", network.ErrResourceLimitExceeded)
	}
	err := s.ConnManagementScope.ReserveMemory(size, priority)
	if err == nil {
		s.grown += size
	}
	return err
}

// ReleaseMemory implements network.ResourceScope.
func (s *connScope) ReleaseMemory(size int) {
	s.mu.Lock()
	s.grown -= size
	s.mu.Unlock()
	s.ConnManagementScope.ReleaseMemory(size)
}
