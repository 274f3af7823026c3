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

// Firewalls are a simulated network of QUIC hosts, some of them behind a firewall
// that admits packets only from addresses to which the host has sent one. Packets
// take no time. NewFirewalls makes the network.
type Firewalls struct {
	router  simnet.SimpleFirewallRouter
	dropped atomic.Int64

	mu       sync.Mutex // guards the following
	hosts    int
	managers []*quicreuse.ConnManager
}

// NewFirewalls makes a network without hosts.
func NewFirewalls() *Firewalls {
	w := &Firewalls{}
	w.router.OnDrop = func(_ *simnet.Packet, why simnet.DropReason) {
		if why == simnet.DropReasonFirewalled {
			w.dropped.Add(1)
		}
	}
	return w
}

// Dropped returns the number of packets that the firewalls have dropped.
func (w *Firewalls) Dropped() int64 { return w.dropped.Load() }

// AddHost adds a host. It returns a public address for the host to listen on, and
// the option that makes its QUIC use this network. An open host has no firewall.
func (w *Firewalls) AddHost(open bool) (listen string, quic libp2p.Option) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ip := simnet.IntToPublicIPv4(w.hosts)
	w.hosts++
	source := &sourceIP{ip}
	return fmt.Sprintf("/ip4/%s/udp/%d/quic-v1", ip, port), libp2p.QUICReuse(
		capture(quicreuse.NewConnManager, func(m *quicreuse.ConnManager) {
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

// Close closes the hosts' QUIC managers. Close the hosts first.
func (w *Firewalls) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for _, m := range w.managers {
		errs = append(errs, m.Close())
	}
	w.managers = nil
	return errors.Join(errs...)
}

// A sourceIP selects a host's only address.
type sourceIP struct{ ip net.IP }

var _ quicreuse.SourceIPSelector = (*sourceIP)(nil)

func (s *sourceIP) PreferredSourceIPForDestination(*net.UDPAddr) (net.IP, error) { return s.ip, nil }

// capture wraps a constructor, and calls keep with each ConnManager that it makes:
// libp2p closes only those that it has made itself.
func capture[K, T any](
	make func(K, T, ...quicreuse.Option) (*quicreuse.ConnManager, error), keep func(*quicreuse.ConnManager),
) func(K, T, ...quicreuse.Option) (*quicreuse.ConnManager, error) {
	return func(k K, t T, options ...quicreuse.Option) (*quicreuse.ConnManager, error) {
		m, err := make(k, t, options...)
		if err == nil {
			keep(m)
		}
		return m, err
	}
}
