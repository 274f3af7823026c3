package swarm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	ma "github.com/multiformats/go-multiaddr"
)

// A PeerInfo describes a peer.
type PeerInfo struct {
	ID        peer.ID
	Protected bool

	// The next fields are set for connected peers. Connections counts the
	// connections. Addr, Direction and Since are the remote address, the direction
	// and the time of opening of the oldest. Relayed: all go through a relay.
	Connections int
	Addr        ma.Multiaddr
	Direction   network.Direction
	Since       time.Time
	Relayed     bool

	// Agent and Protocols come from the peer, and are empty until it sends them.
	Agent     string
	Protocols []protocol.ID

	// RTT is a mean of the round trips that Ping measured; 0: none yet.
	RTT time.Duration

	// Known lists the addresses in the address book, best first.
	Known []Address

	// Failure and FailedAt are the reason and the time of the last dial's failure.
	// "": it did not fail.
	Failure  string
	FailedAt time.Time
}

// Peers returns the connected peers, and the protected ones that aren't
// connected, in the order of their ids.
func (s *Swarm) Peers() []PeerInfo {
	ids := s.net.Peers()
	s.mu.Lock()
	for id := range s.protected {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	s.mu.Unlock()
	slices.Sort(ids)
	all := make([]PeerInfo, 0, len(ids))
	for _, id := range ids {
		all = append(all, s.Peer(id))
	}
	return all
}

// Peer describes one peer, connected or not.
func (s *Swarm) Peer(id peer.ID) PeerInfo {
	info := PeerInfo{
		ID:        id,
		Protected: s.isProtected(id),
		RTT:       s.host.Peerstore().LatencyEWMA(id),
		Known:     s.book.known(id),
	}
	info.Failure, info.FailedAt = s.book.lastFailure(id)
	info.Relayed = true
	for _, c := range s.net.ConnsToPeer(id) {
		stat := c.Stat()
		if info.Connections == 0 || stat.Opened.Before(info.Since) {
			info.Addr, info.Direction, info.Since = c.RemoteMultiaddr(), stat.Direction, stat.Opened
		}
		info.Connections++
		info.Relayed = info.Relayed && stat.Limited
	}
	info.Relayed = info.Relayed && info.Connections > 0
	if agent, err := s.host.Peerstore().Get(id, "AgentVersion"); err == nil {
		info.Agent, _ = agent.(string)
	}
	if protocols, err := s.host.Peerstore().GetProtocols(id); err == nil {
		slices.Sort(protocols)
		info.Protocols = protocols
	}
	return info
}

// pingTimeout bounds one ping.
const pingTimeout = 10 * time.Second

// Ping measures round trips to a peer. It connects first if necessary. Each turn
// of the caller's loop is one ping. An error is the last value yielded.
func (s *Swarm) Ping(ctx context.Context, id peer.ID) iter.Seq2[time.Duration, error] {
	return func(yield func(time.Duration, error) bool) {
		if err := s.Connect(ctx, peer.AddrInfo{ID: id}); err != nil {
			yield(0, err)
			return
		}
		stream, err := s.host.NewStream(network.WithAllowLimitedConn(ctx, "ping"), id, ping.ID)
		if err != nil {
			yield(0, fmt.Errorf("swarm: ping %s: %w", id, err))
			return
		}
		defer stream.Reset()
		defer context.AfterFunc(ctx, func() { stream.Reset() })()
		for {
			rtt, err := s.ping(stream)
			if err != nil {
				if ctx.Err() != nil {
					err = ctx.Err()
				}
				yield(0, fmt.Errorf("swarm: ping %s: %w", id, err))
				return
			}
			s.host.Peerstore().RecordLatency(id, rtt)
			if !yield(rtt, nil) {
				return
			}
		}
	}
}

// ping sends random bytes and waits for them to come back.
func (s *Swarm) ping(stream network.Stream) (time.Duration, error) {
	var sent, got [ping.PingSize]byte
	rand.Read(sent[:]) // never fails
	start := time.Now()
	if err := stream.SetDeadline(start.Add(pingTimeout)); err != nil {
		return 0, err
	}
	if _, err := stream.Write(sent[:]); err != nil {
		return 0, err
	}
	if _, err := io.ReadFull(stream, got[:]); err != nil {
		return 0, err
	}
	if sent != got {
		return 0, errors.New("the peer returned other bytes than were sent")
	}
	return time.Since(start), nil
}
