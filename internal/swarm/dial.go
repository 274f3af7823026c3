package swarm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2pswarm "github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	ma "github.com/multiformats/go-multiaddr"
)

// Errors of Connect, to be tested for with errors.Is.
var (
	// ErrBanned: the peer is banned here.
	ErrBanned = errors.New("the peer is banned")
	// ErrFull: as many connections are open as may be, and all are in use.
	ErrFull = errors.New("too many connections are open")
)

// dialTimeout bounds a dial that nobody waits for.
const dialTimeout = 30 * time.Second

// AddAddr tells the address book where a peer may be found. A protected peer
// that isn't connected is dialled at once if the address is new.
func (s *Swarm) AddAddr(id peer.ID, addr ma.Multiaddr, source Source) error {
	bad := func(why string) error {
		return fmt.Errorf("swarm: add address %s of %s: %s", addr, id, why)
	}
	if err := id.Validate(); err != nil {
		return bad(err.Error())
	}
	at, of := peer.SplitAddr(addr)
	switch {
	case at == nil:
		return bad("no address before the peer id")
	case of != "" && of != id:
		return bad("it is another peer's")
	case len(at.Bytes()) > maxAddress:
		return bad(fmt.Sprintf("more than %d bytes", maxAddress))
	case len(source) > maxSource:
		return bad(fmt.Sprintf("the source has more than %d bytes", maxSource))
	case id == s.ID():
		return bad("it is our own")
	}
	if s.book.add(id, at, source, time.Now()) {
		s.wake(id, true)
	}
	return nil
}

// KnownAddrs returns what the address book has of a peer, best first, at most
// 16.
func (s *Swarm) KnownAddrs(id peer.ID) []Address { return s.book.known(id) }

// Known lists the peers that the address book has, in no order, at most 1,024.
func (s *Swarm) Known() []peer.ID { return s.book.ids() }

// Connect opens a connection with a peer, at the addresses given or any that
// the address book has, if there is none yet. One through a relay, which bears
// no blocks, is one where no direct one can be had. When it returns it is known
// what the peer speaks. Errors: ErrBanned, ErrFull, ErrClosed, what each dial
// met with.
func (s *Swarm) Connect(ctx context.Context, p peer.AddrInfo) error {
	err := s.connect(ctx, p)
	if err != nil {
		return fmt.Errorf("swarm: connect to %s: %w", p.ID, err)
	}
	return nil
}

func (s *Swarm) connect(ctx context.Context, p peer.AddrInfo) error {
	if s.ctx.Err() != nil {
		return ErrClosed
	}
	if s.book.isBanned(p.ID) {
		return ErrBanned
	}
	if s.net.Connectedness(p.ID) == network.Connected {
		return s.identified(ctx, p.ID)
	}
	if s.gater.full() {
		s.trimmer.TrimOpenConns(ctx)
	}
	// Who calls wants to try, whatever happened a moment ago.
	s.net.Backoff().Clear(p.ID)
	at := peer.AddrInfo{ID: p.ID, Addrs: append(s.book.dialable(p.ID, time.Now()), p.Addrs...)}
	relayed := s.net.Connectedness(p.ID) == network.Limited
	dialling := ctx
	if relayed {
		if !slices.ContainsFunc(at.Addrs, isDirect) {
			return nil
		}
		// Else the host takes what there is for good enough.
		dialling = network.WithForceDirectDial(ctx, "cairn")
	}
	err := s.host.Connect(dialling, at)
	if err == nil {
		return nil
	}
	s.learnFailure(ctx, p.ID, err)
	switch {
	case relayed && ctx.Err() == nil && s.net.Connectedness(p.ID) != network.NotConnected:
		return nil
	case s.ctx.Err() != nil:
		return ErrClosed
	case !errors.Is(err, libp2pswarm.ErrGaterDisallowedConnection):
	case s.book.isBanned(p.ID): // since a moment ago
		return ErrBanned
	default: // there may be room again by now
		return fmt.Errorf("%w: %d", ErrFull, s.config.Connections)
	}
	return err
}

// identified waits until a peer that is connected, maybe since a moment ago, has
// said what it speaks, or has failed to. Whoever dials waits for that anyway.
func (s *Swarm) identified(ctx context.Context, id peer.ID) error {
	ids := s.host.(interface{ IDService() identify.IDService }).IDService()
	for _, c := range s.net.ConnsToPeer(id) {
		select {
		case <-ids.IdentifyWait(c):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// isDirect tells whether an address goes through no relay.
func isDirect(addr ma.Multiaddr) bool {
	_, err := addr.ValueForProtocol(ma.P_CIRCUIT)
	return err != nil
}

// learnFailure tells the address book of the addresses that did not answer.
func (s *Swarm) learnFailure(ctx context.Context, id peer.ID, err error) {
	if ctx.Err() != nil || s.ctx.Err() != nil {
		return // our doing
	}
	now := time.Now()
	s.book.blame(id, err, now)
	var dial *libp2pswarm.DialError
	if !errors.As(err, &dial) {
		return
	}
	for _, e := range dial.DialErrors {
		switch {
		case errors.Is(e.Cause, context.Canceled), errors.Is(e.Cause, network.ErrResourceLimitExceeded),
			errors.Is(e.Cause, libp2pswarm.ErrDialBackoff), errors.Is(e.Cause, libp2pswarm.ErrGaterDisallowedConnection):
			continue // our doing
		}
		if at, _ := peer.SplitAddr(e.Address); at != nil {
			s.book.fail(id, at, now)
		}
	}
}

// Disconnect closes all connections with a peer. A protected one is dialled
// again.
func (s *Swarm) Disconnect(id peer.ID) error {
	if err := s.net.ClosePeer(id); err != nil {
		return fmt.Errorf("swarm: disconnect from %s: %w", id, err)
	}
	return nil
}

// Ban refuses a peer from now on, in both directions, also after a restart if
// there is an AddressStore, and closes its connections.
func (s *Swarm) Ban(id peer.ID) error {
	if err := id.Validate(); err != nil || id == s.ID() {
		return fmt.Errorf("swarm: ban %q: it is no peer", string(id))
	}
	if !s.book.ban(id) {
		return fmt.Errorf("swarm: ban %s: %d are banned already", id, maxBanned)
	}
	return errors.Join(s.Disconnect(id), s.saveBook())
}

// Unban lets a peer connect again.
func (s *Swarm) Unban(id peer.ID) error {
	s.book.unban(id)
	s.wake(id, true)
	return s.saveBook()
}

// Banned lists the peers that are banned, in the order of their ids, at most
// 16,384.
func (s *Swarm) Banned() []peer.ID { return s.book.bans() }

// saveBook saves what has changed, where there's a place for it.
func (s *Swarm) saveBook() error {
	if s.config.Addresses == nil {
		return nil
	}
	return s.book.save(s.ctx, s.config.Addresses)
}

// Prune forgets the peers of the address book that neither answered nor were
// heard of for as long as age, and tells how many that were; and if more than
// two thirds of the connections allowed are open, it closes the least useful.
// Protected peers, and those that the operator added, stay.
func (s *Swarm) Prune(ctx context.Context, age time.Duration) int {
	s.trimmer.TrimOpenConns(ctx)
	return s.book.prune(time.Now().Add(-age))
}
