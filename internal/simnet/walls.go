package simnet

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/marcopolo/simnet"
)

// Walls are a simulated network of hosts that speak QUIC, each behind a firewall
// that lets in what comes from where the host has sent something before, and
// nothing else; or on the open internet. Its packets take no time. NewWalls
// makes it.
type Walls struct {
	router  simnet.SimpleFirewallRouter
	dropped atomic.Int64

	mu       sync.Mutex // guards what follows
	hosts    int
	managers []*quicreuse.ConnManager
}

// NewWalls makes a network without hosts.
func NewWalls() *Walls {
	w := &Walls{}
	w.router.OnDrop = func(_ *simnet.Packet, why simnet.DropReason) {
		if why == simnet.DropReasonFirewalled {
			w.dropped.Add(1)
		}
	}
	return w
}

// Dropped is how many packets the firewalls have kept out.
func (w *Walls) Dropped() int64 { return w.dropped.Load() }

// Place returns an address for a new host to listen at, which is one of the
// internet, and the option with which its QUIC is that of this network. A host
// that is open has no firewall.
func (w *Walls) Place(open bool) (listen string, quic libp2p.Option) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ip := simnet.IntToPublicIPv4(w.hosts)
	w.hosts++
	source := &sourceIP{ip}
	return fmt.Sprintf("/ip4/%s/udp/%d/quic-v1", ip, port), libp2p.QUICReuse(
		kept(quicreuse.NewConnManager, func(m *quicreuse.ConnManager) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.managers = append(w.managers, m)
		}),
		quicreuse.OverrideSourceIPSelector(func() (quicreuse.SourceIPSelector, error) { return source, nil }),
		quicreuse.OverrideListenUDP(func(_ string, at *net.UDPAddr) (net.PacketConn, error) {
			if open {
				w.router.SetAddrPubliclyReachable(at)
			}
			c := simnet.NewSimConn(at)
			c.SetUpPacketReceiver(&w.router)
			w.router.AddNode(at, c)
			return c, nil
		}))
}

// Close frees what the hosts' QUIC has left. Close the hosts first.
func (w *Walls) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for _, m := range w.managers {
		errs = append(errs, m.Close())
	}
	w.managers = nil
	return errors.Join(errs...)
}

// A sourceIP is a host's only address.
type sourceIP struct{ ip net.IP }

var _ quicreuse.SourceIPSelector = (*sourceIP)(nil)

func (s *sourceIP) PreferredSourceIPForDestination(*net.UDPAddr) (net.IP, error) { return s.ip, nil }

// kept tells of what a constructor makes: libp2p closes a ConnManager only if it
// has made it itself.
func kept[K, T any](
	make func(K, T, ...quicreuse.Option) (*quicreuse.ConnManager, error), tell func(*quicreuse.ConnManager),
) func(K, T, ...quicreuse.Option) (*quicreuse.ConnManager, error) {
	return func(k K, t T, options ...quicreuse.Option) (*quicreuse.ConnManager, error) {
		m, err := make(k, t, options...)
		if err == nil {
			tell(m)
		}
		return m, err
	}
}
