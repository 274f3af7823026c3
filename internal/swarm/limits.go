package swarm

import (
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
)

const (
	// streamsPerConnection is what a peer's protocols take: pubsub, bitswap,
	// the DHT and gateway requests, in both directions.
	streamsPerConnection = 8
	// extraStreams is for the few peers that blocks come from just now.
	extraStreams = peerStreams
	// peerStreams bounds one peer, which may ask for many blocks at once, or
	// send them.
	peerStreams = bitswapStreams + 128
	// bitswapStreams is how many streams of bitswap one peer may have open.
	// Today's servers open one for each answer, and don't wait for those before:
	// one that is refused is an answer lost.
	bitswapStreams = 512
	// quicMemory bounds by how many bytes the window of a QUIC connection grows: to
	// 3 MiB, as it starts at 768 KiB, doubles, and may take three fifths of this. A
	// window is what a peer may have sent that nobody has read yet; this one fits
	// into 50 ms at 500 Mbit/s.
	quicMemory = 4 << 20
	// broadcastStreams is how many broadcasts one peer may have under way.
	broadcastStreams = 16
)

// newResourceManager bounds what peers can make the host use. The memory of
// connections with yamux is bounded by the inbox.
//
// Connections that are being dialled count, which is why there may be more of
// them here; the gater holds those that are open to the number asked for.
func newResourceManager(connections int) (network.ResourceManager, error) {
	dialling := max(16, connections/2)
	total := connections + dialling
	streams := connections*streamsPerConnection + extraStreams
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
		Conn: rcmgr.ResourceLimits{Memory: quicMemory},
		ProtocolPeer: map[protocol.ID]rcmgr.ResourceLimits{
			broadcastProtocol: {StreamsInbound: val(broadcastStreams)},
		},
	}
	for _, id := range []protocol.ID{"/ipfs/bitswap/1.2.0", "/ipfs/bitswap/1.1.0", "/ipfs/bitswap/1.0.0", "/ipfs/bitswap"} {
		limits.ProtocolPeer[id] = rcmgr.ResourceLimits{
			Streams: val(peerStreams), StreamsInbound: val(bitswapStreams),
		}
		if limits.Protocol == nil {
			limits.Protocol = map[protocol.ID]rcmgr.ResourceLimits{}
		}
		limits.Protocol[id] = rcmgr.ResourceLimits{
			Streams: val(streams), StreamsInbound: val(streams),
		}
	}
	defaults := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&defaults)
	return rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits.Build(defaults.AutoScale())), rcmgr.WithMetricsDisabled())
}
