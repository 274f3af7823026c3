package swarm

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// maxExternal bounds the addresses that the operator adds: each identify message
// carries all of them in 8 KiB.
const maxExternal = 16

// ListenOn listens on one more address, a multiaddr such as
// /ip4/0.0.0.0/udp/4001/quic-v1. Port 0 means any free port. An error names the
// address.
func (s *Swarm) ListenOn(addr string) error {
	if err := s.listenAll([]string{addr}, false); err != nil {
		return err
	}
	if s.config.MDNS {
		return s.restartMDNS()
	}
	return nil
}

// listenAll listens on each address; an error names the one that fails. It skips
// default addresses of an IP version that the machine doesn't have.
func (s *Swarm) listenAll(addrs []string, isDefault bool) error {
	var parsed []ma.Multiaddr
	for _, text := range addrs {
		addr, err := ma.NewMultiaddr(text)
		if err != nil {
			return fmt.Errorf("swarm: listen on %s: %w", text, err)
		}
		parsed = append(parsed, addr)
	}
	// Check before we listen on any of them: some share a port.
	for i, addr := range parsed {
		err := s.checkFree(addr)
		if err != nil && isDefault && isAbsent(err) {
			parsed[i] = nil
		} else if err != nil {
			return fmt.Errorf("swarm: listen on %s: %w", addr, err)
		}
	}
	for _, addr := range parsed {
		if addr == nil {
			continue
		}
		err := s.net.AddListenAddr(addr)
		if err != nil && !(isDefault && isAbsent(err)) {
			return fmt.Errorf("swarm: listen on %s: %w", addr, err)
		}
	}
	return nil
}

// isAbsent reports whether the machine lacks the address or its IP version.
func isAbsent(err error) bool {
	return errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)
}

// checkFree fails if another process listens on the TCP port. libp2p's own
// listeners would share it (SO_REUSEPORT), and each process get some of the
// connections.
func (s *Swarm) checkFree(addr ma.Multiaddr) error {
	ip, rest := ma.SplitFirst(addr)
	if ip == nil {
		return nil
	}
	port, _ := ma.SplitFirst(rest)
	if port == nil || port.Protocol().Code != ma.P_TCP || port.Value() == "0" {
		return nil
	}
	socket := ip.Encapsulate(port)
	for _, ours := range s.net.ListenAddresses() {
		if ours.Equal(socket) || strings.HasPrefix(ours.String(), socket.String()+"/") {
			return nil
		}
	}
	kind, where, err := manet.DialArgs(socket)
	if err != nil {
		return nil // AddListenAddr reports it
	}
	l, err := net.Listen(kind, where)
	if err != nil {
		return err
	}
	return l.Close()
}

// AddExternal announces an address at which peers outside can reach the swarm,
// such as a port forwarded by hand. Peers learn it within seconds.
func (s *Swarm) AddExternal(addr string) error {
	parsed, err := s.parseExternal(addr)
	if err != nil {
		return fmt.Errorf("swarm: add external address %s: %w", addr, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.external, parsed.Equal) {
		return nil
	}
	if len(s.external) >= maxExternal {
		return fmt.Errorf("swarm: add external address %s: there are %d already, the most allowed", addr, maxExternal)
	}
	s.external = append(s.external, parsed)
	if !slices.ContainsFunc(s.reachable, parsed.Equal) {
		s.events.Send(Event{Kind: EventExternal, Addr: parsed})
	}
	return nil
}

// RemoveExternal removes an address that AddExternal added. Removing another does
// nothing.
func (s *Swarm) RemoveExternal(addr string) error {
	parsed, err := s.parseExternal(addr)
	if err != nil {
		return fmt.Errorf("swarm: remove external address %s: %w", addr, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.external, parsed.Equal)
	if i < 0 {
		return nil
	}
	s.external = slices.Delete(s.external, i, i+1)
	if !slices.ContainsFunc(s.reachable, parsed.Equal) {
		s.events.Send(Event{Kind: EventNotExternal, Addr: parsed})
	}
	return nil
}

// parseExternal parses an address of this node, with its id or without.
func (s *Swarm) parseExternal(addr string) (ma.Multiaddr, error) {
	parsed, err := ma.NewMultiaddr(addr)
	if err != nil {
		return nil, err
	}
	parsed, id := peer.SplitAddr(parsed)
	if parsed == nil || (id != "" && id != s.ID()) {
		return nil, fmt.Errorf("want an address of %s", s.ID())
	}
	return parsed, nil
}

// announcedAddrs returns the addresses to announce: those that the host found, and
// those that the operator added. The host calls it.
func (s *Swarm) announcedAddrs(found []ma.Multiaddr) []ma.Multiaddr {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Clone(found)
	for _, addr := range s.external {
		if !slices.ContainsFunc(all, addr.Equal) {
			all = append(all, addr)
		}
	}
	return all
}

// setReachable sets the addresses at which AutoNAT reached the swarm.
func (s *Swarm) setReachable(now []ma.Multiaddr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := slices.Concat(s.reachable, s.external)
	s.reachable = slices.Clone(now)
	for _, addr := range now {
		if !slices.ContainsFunc(before, addr.Equal) {
			s.events.Send(Event{Kind: EventExternal, Addr: addr})
		}
	}
	after := slices.Concat(now, s.external)
	for _, addr := range before {
		if !slices.ContainsFunc(after, addr.Equal) {
			s.events.Send(Event{Kind: EventNotExternal, Addr: addr})
		}
	}
}

// Addrs returns the addresses at which peers may reach the swarm, each ending in
// /p2p/ and its id. The addresses of the interfaces replace an unspecified one.
func (s *Swarm) Addrs() []ma.Multiaddr {
	suffix := ma.StringCast("/p2p/" + s.ID().String())
	var all []ma.Multiaddr
	for _, addr := range s.announcedAddrs(s.host.Addrs()) {
		all = append(all, addr.Encapsulate(suffix))
	}
	return all
}

// AddrInfo returns the swarm's id and addresses, for a peer's Connect.
func (s *Swarm) AddrInfo() peer.AddrInfo {
	return peer.AddrInfo{ID: s.ID(), Addrs: s.announcedAddrs(s.host.Addrs())}
}
