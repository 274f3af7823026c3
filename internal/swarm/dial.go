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

// Errors of Connect to test for with errors.Is.
var (
	// ErrBanned means that this node has banned the peer.
	ErrBanned = errors.New("the peer is banned")
	// ErrFull means that Config.Connections are open, and all are in use.
	ErrFull = errors.New("too many connections are open")
)

// dialTimeout bounds a dial in the background.
const dialTimeout = 30 * time.Second

// AddAddr adds an address of a peer to the address book. If it is new and the
// peer is protected but not connected, the swarm dials at once.
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
		return bad("it has only a peer id")
	case of != "" && of != id:
		return bad("it belongs to another peer")
	case len(at.Bytes()) > maxAddress:
		return bad(fmt.Sprintf("it has more than %d bytes", maxAddress))
	case len(source) > maxSource:
		return bad(fmt.Sprintf("the source has more than %d bytes", maxSource))
	case id == s.ID():
		return bad("it belongs to this node")
	}
	if s.book.add(id, at, source, time.Now()) {
		s.wake(id, true)
	}
	return nil
}

// KnownAddrs returns the peer's addresses in the address book, best first, at
// most 16.
func (s *Swarm) KnownAddrs(id peer.ID) []Address { return s.book.known(id) }

// Known returns the peers that have addresses in the address book, unordered, at
// most 1,024.
func (s *Swarm) Known() []peer.ID { return s.book.ids() }

// Connect connects to a peer, at the given addresses or those in the address book,
// if it isn't connected yet. A connection through a relay, which carries no
// blocks, counts only if there can be no direct one. When Connect returns, the
// peer's protocols are known. Errors: ErrBanned, ErrFull, ErrClosed, or the error
// of each dial.
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
		return s.waitIdentified(ctx, p.ID)
	}
	if s.gater.isFull() {
		s.trimmer.TrimOpenConns(ctx)
	}
	// An explicit call tries again, whatever the last dial did.
	s.net.Backoff().Clear(p.ID)
	at := peer.AddrInfo{ID: p.ID, Addrs: append(s.book.dialable(p.ID, time.Now()), p.Addrs...)}
	relayed := s.net.Connectedness(p.ID) == network.Limited
	dialling := ctx
	if relayed {
		if !slices.ContainsFunc(at.Addrs, isDirect) {
			return nil
		}
		// Otherwise the host would be content with the relayed connection.
		dialling = network.WithForceDirectDial(ctx, "cairn")
	}
	err := s.host.Connect(dialling, at)
	if err == nil {
		return nil
	}
	s.recordFailure(ctx, p.ID, err)
	switch {
	case relayed && ctx.Err() == nil && s.net.Connectedness(p.ID) != network.NotConnected:
		return nil
	case s.ctx.Err() != nil:
		return ErrClosed
	case !errors.Is(err, libp2pswarm.ErrGaterDisallowedConnection):
	case s.book.isBanned(p.ID): // banned during the dial
		return ErrBanned
	default: // it was full; by now it may not be
		return fmt.Errorf("%w: %d", ErrFull, s.config.Connections)
	}
	return err
}

// waitIdentified waits until a connected peer has sent its protocols (identify),
// or has failed to. A dial waits for that anyway.
func (s *Swarm) waitIdentified(ctx context.Context, id peer.ID) error {
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

// isDirect reports whether an address leads through no relay.
func isDirect(addr ma.Multiaddr) bool {
	_, err := addr.ValueForProtocol(ma.P_CIRCUIT)
	return err != nil
}

// recordFailure records in the address book which addresses failed.
func (s *Swarm) recordFailure(ctx context.Context, id peer.ID, err error) {
	if ctx.Err() != nil || s.ctx.Err() != nil {
		return // canceled here
	}
	now := time.Now()
	s.book.setFailure(id, err, now)
	var dial *libp2pswarm.DialError
	if !errors.As(err, &dial) {
		return
	}
	for _, e := range dial.DialErrors {
		switch {
		case errors.Is(e.Cause, context.Canceled), errors.Is(e.Cause, network.ErrResourceLimitExceeded),
			errors.Is(e.Cause, libp2pswarm.ErrDialBackoff), errors.Is(e.Cause, libp2pswarm.ErrGaterDisallowedConnection):
			continue // refused here
		}
		if at, _ := peer.SplitAddr(e.Address); at != nil {
			s.book.fail(id, at, now)
		}
	}
}

// Disconnect closes all connections to a peer. A protected peer is dialled again.
func (s *Swarm) Disconnect(id peer.ID) error {
	if err := s.net.ClosePeer(id); err != nil {
		return fmt.Errorf("swarm: disconnect from %s: %w", id, err)
	}
	return nil
}

// Ban closes the connections to a peer and refuses new ones in both directions;
// with Config.State, also after a restart.
func (s *Swarm) Ban(id peer.ID) error {
	if err := id.Validate(); err != nil || id == s.ID() {
		return fmt.Errorf("swarm: ban %q: want the id of another peer", string(id))
	}
	if !s.book.ban(id) {
		return fmt.Errorf("swarm: ban %s: %d peers are banned already", id, maxBanned)
	}
	return errors.Join(s.Disconnect(id), s.saveBook())
}

// Unban lets a peer connect again.
func (s *Swarm) Unban(id peer.ID) error {
	s.book.unban(id)
	s.wake(id, true)
	return s.saveBook()
}

// Banned returns the banned peers, in the order of their ids, at most 16,384.
func (s *Swarm) Banned() []peer.ID { return s.book.listBanned() }

// saveBook saves the address book, if there is Config.State.
func (s *Swarm) saveBook() error {
	if s.config.State == nil {
		return nil
	}
	return s.book.save(s.ctx, s.config.State)
}

// Prune drops the peers of the address book that were neither reached nor
// reported for as long as age, and returns their number. If more than two thirds
// of Config.Connections are open, it closes the least useful. It keeps protected
// peers, and those that the operator added.
func (s *Swarm) Prune(ctx context.Context, age time.Duration) int {
	s.trimmer.TrimOpenConns(ctx)
	return s.book.prune(time.Now().Add(-age))
}
