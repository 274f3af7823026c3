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
	// extraStreams is for the few peers that blocks come from just now.
	extraStreams = peerStreams
	// peerStreams bounds one peer, which may ask for many blocks at once, or
	// send them.
	peerStreams = bitswapStreams + 128
	// bitswapStreams is how many streams of bitswap one peer may have open.
	// Today's servers open one for each answer, and don't wait for those before:
	// one that is refused is an answer lost.
	bitswapStreams = 512
	// strangerStreams is how many streams a peer may have open to us that nobody
	// here wants anything of: several times what any protocol needs, as each
	// costs us a goroutine and some 16 KiB of buffers.
	strangerStreams = 40
	// quicWindow is by how many bytes the window of a QUIC connection may grow of
	// a peer that somebody here uses: from 768 KiB to 3 MiB, as it doubles. Those
	// of others don't grow. A window is what a peer may have sent that nobody has
	// read yet; 3 MiB fit into 50 ms at 500 Mbit/s.
	quicWindow = 3 << 20
	// broadcastStreams is how many broadcasts one peer may have under way.
	broadcastStreams = 16
	// broadcastMemory bounds the messages of one peer's broadcasts that are being
	// read, in bytes, and broadcastInAll those of all; what is beyond is refused.
	broadcastMemory = 2 * MaxMessage
	broadcastInAll  = 32 * MaxMessage
)

// newResourceManager bounds what peers can make the host use; wanted tells
// whether somebody here uses a peer, which may have more. The memory of
// connections with yamux is bounded by the inbox.
//
// Connections that are being dialled count, which is why there may be more of
// them here; the gater holds those that are open to the number asked for.
func newResourceManager(connections int, wanted func(peer.ID) bool) (network.ResourceManager, error) {
	dialling := max(16, connections/2)
	total := connections + dialling
	streams := connections*strangerStreams + extraStreams // so that nobody takes another's
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
				Streams: val(streams), StreamsInbound: val(streams), StreamsOutbound: val(streams), Memory: broadcastInAll,
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
	return &resources{manager, wanted}, nil
}

// resources gives strangers less than others.
type resources struct {
	network.ResourceManager
	wanted func(peer.ID) bool
}

// OpenStream implements network.ResourceManager.
func (r *resources) OpenStream(id peer.ID, dir network.Direction) (network.StreamManagementScope, error) {
	if dir == network.DirInbound && !r.wanted(id) {
		open := 0
		err := r.ViewPeer(id, func(s network.PeerScope) error {
			open = s.Stat().NumStreamsInbound
			return nil
		})
		if err != nil {
			return nil, err
		}
		if open >= strangerStreams {
			return nil, fmt.Errorf("more than %d streams of a peer: %w", strangerStreams, network.ErrResourceLimitExceeded)
		}
	}
	return r.ResourceManager.OpenStream(id, dir)
}

// OpenConnection implements network.ResourceManager.
func (r *resources) OpenConnection(dir network.Direction, fd bool, endpoint ma.Multiaddr) (network.ConnManagementScope, error) {
	scope, err := r.ResourceManager.OpenConnection(dir, fd, endpoint)
	if err != nil {
		return nil, err
	}
	return &connScope{ConnManagementScope: scope, wanted: r.wanted}, nil
}

// A connScope is that of a connection, whose memory is what the window of QUIC
// has grown by.
type connScope struct {
	network.ConnManagementScope
	wanted func(peer.ID) bool

	mu    sync.Mutex // guards grown
	grown int
}

// ReserveMemory implements network.ResourceScope.
func (s *connScope) ReserveMemory(size int, priority uint8) error {
	most := 0
	if p := s.PeerScope(); p != nil && s.wanted(p.Peer()) {
		most = quicWindow
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.grown+size > most {
		return fmt.Errorf("the window of a connection: %w", network.ErrResourceLimitExceeded)
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
