package simnet

import (
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/x/simlibp2p"
	"github.com/marcopolo/simnet"
)

const (
	// unlimited is the bandwidth, in bits per second, of a Link without a limit: the
	// simulation needs one, and no test machine reaches this.
	unlimited = 100_000_000_000

	// port is the port of every host. Each has an IP address of its own.
	port = 4001
)

// A Net is a simulated network; New makes one. Its hosts reach only each other.
type Net struct {
	link simnet.NodeBiDiLinkSettings

	mu      sync.Mutex // guards the following
	packets *simnet.Simnet
	hosts   int
}

// New makes a network in which a packet takes half of link.RTT between any two
// hosts, and each host sends and receives link.Bandwidth. It runs until Close.
// Under testing/synctest, make, use and close it inside the bubble.
func New(link Link) *Net {
	bandwidth := int(link.Bandwidth)
	if bandwidth <= 0 {
		bandwidth = unlimited
	}
	one := simnet.LinkSettings{BitsPerSecond: bandwidth}
	n := &Net{
		link: simnet.NodeBiDiLinkSettings{Uplink: one, Downlink: one},
		packets: &simnet.Simnet{
			LatencyFunc: simnet.StaticLatency(link.delay()),
			// It logs each packet to a host that is closed.
			Logger: slog.New(slog.DiscardHandler),
		},
	}
	n.packets.Start()
	return n
}

// Close stops the network and waits for its goroutines. Close the hosts first: they
// send each other a last message.
func (n *Net) Close() { n.packets.Close() }

// Host makes a listening host of the network, without resource limits and without a
// connection manager. The end of the test closes it. Inside a synctest bubble, tb
// has to be the bubble's. Further libp2p options may be given, such as an identity.
func (n *Net) Host(tb testing.TB, options ...libp2p.Option) host.Host {
	tb.Helper()
	n.mu.Lock() // libp2p.New attaches sockets to n.packets
	defer n.mu.Unlock()
	ip := simnet.IntToPublicIPv4(n.hosts)
	n.hosts++
	h, err := libp2p.New(append([]libp2p.Option{
		libp2p.ListenAddrStrings(fmt.Sprintf("/ip4/%s/udp/%d/quic-v1", ip, port)),
		libp2p.Transport(libp2pquic.NewTransport),
		simlibp2p.QUICSimnet(n.packets, n.link),
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.ConnectionManager(connmgr.NullConnMgr{}),
		libp2p.DisableMetrics(),
		libp2p.DisableRelay(),
		// Its timers would keep a synctest bubble from ever being idle.
		libp2p.DisableIdentifyAddressDiscovery(),
	}, options...)...)
	if err != nil {
		tb.Fatalf("simnet: new host: %v", err)
	}
	tb.Cleanup(func() { h.Close() })
	return h
}
