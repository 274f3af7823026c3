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
	// spareWindows is by how many streams the memory limits are larger than
	// the limits of streams. So a peer that opens too many streams has streams
	// refused; yamux would close the connection for lack of memory.
	spareWindows = 64
	// broadcastStreams is how many broadcasts one peer may have under way.
	broadcastStreams = 16
)

// newResourceManager bounds what peers can make the host use. Memory is counted
// as promised, that is the whole window of each stream of TCP connections;
// what's really used is what peers sent and nobody has read yet.
//
// Connections that are being dialled count, which is why there may be more of
// them here; the gater holds those that are open to the number asked for.
func newResourceManager(connections int) (network.ResourceManager, error) {
	dialling := max(16, connections/2)
	total := connections + dialling
	streams := connections*streamsPerConnection + extraStreams
	val := func(n int) rcmgr.LimitVal { return rcmgr.LimitVal(n) }
	memory := func(streams int) rcmgr.LimitVal64 {
		return rcmgr.LimitVal64((streams + spareWindows) * streamWindow)
	}
	limits := rcmgr.PartialLimitConfig{
		System: rcmgr.ResourceLimits{
			Conns: val(total), ConnsInbound: val(total), ConnsOutbound: val(total), FD: val(total),
			Streams: val(streams), StreamsInbound: val(streams), StreamsOutbound: val(streams),
			Memory: memory(streams),
		},
		Transient: rcmgr.ResourceLimits{
			Conns: val(total), ConnsInbound: val(dialling), ConnsOutbound: val(total), FD: val(total),
			Streams: val(streams), StreamsInbound: val(streams), StreamsOutbound: val(streams),
			Memory: memory(streams),
		},
		PeerDefault: rcmgr.ResourceLimits{
			Streams: val(peerStreams), StreamsInbound: val(peerStreams), StreamsOutbound: val(peerStreams),
			Memory: memory(peerStreams),
		},
		ProtocolPeer: map[protocol.ID]rcmgr.ResourceLimits{
			broadcastProtocol: {StreamsInbound: val(broadcastStreams)},
		},
	}
	for _, id := range []protocol.ID{"/ipfs/bitswap/1.2.0", "/ipfs/bitswap/1.1.0", "/ipfs/bitswap/1.0.0", "/ipfs/bitswap"} {
		limits.ProtocolPeer[id] = rcmgr.ResourceLimits{
			Streams: val(peerStreams), StreamsInbound: val(bitswapStreams), Memory: memory(peerStreams),
		}
		if limits.Protocol == nil {
			limits.Protocol = map[protocol.ID]rcmgr.ResourceLimits{}
		}
		limits.Protocol[id] = rcmgr.ResourceLimits{
			Streams: val(streams), StreamsInbound: val(streams), Memory: memory(streams),
		}
	}
	defaults := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&defaults)
	return rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits.Build(defaults.AutoScale())), rcmgr.WithMetricsDisabled())
}
