package swarm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cairn-ipfs/cairn/internal/events"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/pnet"
	"github.com/libp2p/go-libp2p/p2p/host/autorelay"
	basichost "github.com/libp2p/go-libp2p/p2p/host/basic"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	libp2pswarm "github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	tls "github.com/libp2p/go-libp2p/p2p/security/tls"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/p2p/transport/websocket"
	webtransport "github.com/libp2p/go-libp2p/p2p/transport/webtransport"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	// grace is how long a new connection is safe from trimming: long enough to
	// become useful.
	grace = 20 * time.Second

	// saveEvery is how often the address book is saved: what a crash loses can be
	// learned again.
	saveEvery = time.Minute

	// saveTimeout bounds the last save, in Close.
	saveTimeout = 10 * time.Second

	// busBuffer bounds the events of the host that wait for us. We take them
	// quickly.
	busBuffer = 256
)

// A Swarm connects a node to its peers; New makes one.
type Swarm struct {
	config  Config
	log     *slog.Logger
	host    host.Host
	net     *libp2pswarm.Swarm
	trimmer *connmgr.BasicConnMgr
	gater   *gater
	muxer   *muxer
	book    *book
	ports   basichost.NATManager // or nil
	events  *events.Hub[Event]

	ctx     context.Context // of the goroutines; ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup // Add only with mu held and closed false
	closing sync.Once
	failed  error // what Close returns

	mu        sync.Mutex // guards the following
	closed    bool
	protected map[peer.ID]*redialer
	external  []ma.Multiaddr // from AddExternal
	reachable []ma.Multiaddr // from AutoNAT

	mdns   mdnsService
	gossip gossip
}

// New makes a swarm and listens. The context bounds the call to New alone. If it
// cannot listen on an address, the error names it.
func New(ctx context.Context, c Config) (*Swarm, error) {
	listen := c.Listen
	isDefault := listen == nil
	if isDefault {
		listen = defaultListen(len(c.PSK) > 0)
	}
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Swarm{
		config:    c,
		log:       c.Logger,
		events:    newHub(),
		protected: make(map[peer.ID]*redialer),
	}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.book = newBook(s.isProtected)
	if c.State == nil {
		s.book.dirty = nil // it would grow with each new peer
	} else {
		err := s.book.load(ctx, c.State, func(id peer.ID, err error) {
			s.log.Warn("swarm: cannot read a record of the address book", "peer", id, "err", err)
		})
		if err != nil {
			s.cancel()
			return nil, err
		}
	}
	if err := s.start(); err != nil {
		s.cancel()
		return nil, fmt.Errorf("swarm: %w", err)
	}
	if err := s.listenAll(listen, isDefault); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if c.MDNS {
		if err := s.restartMDNS(); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// start makes the host and the goroutines.
func (s *Swarm) start() (err error) {
	options, err := s.options()
	if err != nil {
		return err
	}
	if s.host, err = libp2p.New(options...); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.host.Close()
		}
	}()
	network, ok := s.host.Network().(*libp2pswarm.Swarm)
	if !ok {
		return fmt.Errorf("the host's network is a %T, want a %T", s.host.Network(), network)
	}
	s.net = network
	hostEvents, err := s.host.EventBus().Subscribe([]any{
		new(event.EvtPeerConnectednessChanged),
		new(event.EvtPeerIdentificationCompleted),
		new(event.EvtHostReachableAddrsChanged),
	}, eventbus.BufSize(busBuffer), eventbus.Name("cairn swarm"))
	if err != nil {
		return err
	}
	s.net.Notify(s.notifiee())
	s.host.SetStreamHandler(broadcastProtocol, s.receiveBroadcast)
	s.running.Go(func() { s.handleEvents(hostEvents) })
	if s.config.State != nil {
		s.running.Go(s.savePeriodically)
	}
	return nil
}

// options returns the options of the libp2p host.
func (s *Swarm) options() ([]libp2p.Option, error) {
	c := s.config
	id, err := peer.IDFromPrivateKey(c.Identity)
	if err != nil {
		return nil, err
	}
	s.gater = newGater(id, c.Connections, s.book.isBanned)
	low := max(1, c.Connections*2/3)
	if s.trimmer, err = connmgr.NewConnManager(low, c.Connections, connmgr.WithGracePeriod(grace)); err != nil {
		return nil, err
	}
	isUsed := func(id peer.ID) bool { return s.trimmer.IsProtected(id, "") }
	resources, err := newResourceManager(c.Connections, isUsed)
	if err != nil {
		s.trimmer.Close()
		return nil, err
	}
	s.muxer = newMuxer()
	options := []libp2p.Option{
		libp2p.Identity(c.Identity),
		libp2p.UserAgent(c.UserAgent),
		libp2p.NoListenAddrs, // listenAll reports each failure
		libp2p.Security(noise.ID, noise.New),
		libp2p.Security(tls.ID, tls.New),
		libp2p.Muxer(yamux.ID, s.muxer),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Transport(websocket.New),
		libp2p.ConnectionManager(s.trimmer),
		libp2p.ResourceManager(resources),
		libp2p.ConnectionGater(s.gater),
		libp2p.AddrsFactory(s.announcedAddrs),
		libp2p.DisableMetrics(),
	}
	if len(c.PSK) > 0 {
		options = append(options, libp2p.PrivateNetwork(pnet.PSK(c.PSK)))
	} else {
		options = append(options,
			libp2p.Transport(libp2pquic.NewTransport),
			libp2p.Transport(webtransport.New),
			libp2p.ShareTCPListener())
	}
	if c.Local {
		options = append(options, libp2p.DisableRelay(), libp2p.DisableIdentifyAddressDiscovery())
	} else {
		options = append(options,
			libp2p.EnableRelay(),
			libp2p.EnableAutoRelayWithPeerSource(s.offerRelays,
				autorelay.WithMinInterval(c.relaysEvery), autorelay.WithBootDelay(relayDelay)),
			libp2p.EnableHolePunching(),
			libp2p.EnableAutoNATv2())
		if !c.noPortMap {
			options = append(options, libp2p.NATManager(s.openPorts))
		}
	}
	if c.simulated != nil {
		options = append(options, c.simulated)
	}
	return options, nil
}

// openPorts asks the router, if it supports that, to forward ports to our
// listeners.
func (s *Swarm) openPorts(n network.Network) basichost.NATManager {
	s.ports = basichost.NewNATManager(n)
	return s.ports
}

// notifiee returns the handler of connections and listeners that open and close.
func (s *Swarm) notifiee() network.Notifiee {
	return &network.NotifyBundle{
		ConnectedF: func(_ network.Network, c network.Conn) {
			if s.book.isBanned(c.RemotePeer()) { // banned after the gater let it through
				s.spawn(func() { c.Close() })
				return
			}
			if c.Stat().Direction == network.DirOutbound && !c.Stat().Limited {
				s.book.confirm(c.RemotePeer(), s.dialledAddr(c), time.Now())
			}
			s.wake(c.RemotePeer(), false)
		},
		DisconnectedF: func(_ network.Network, c network.Conn) {
			s.gater.remove(c)
			s.wake(c.RemotePeer(), false)
		},
		ListenF: func(_ network.Network, addr ma.Multiaddr) {
			s.events.Send(Event{Kind: EventListening, Addr: addr})
		},
		ListenCloseF: func(_ network.Network, addr ma.Multiaddr) {
			s.events.Send(Event{Kind: EventNotListening, Addr: addr})
		},
	}
}

// dialledAddr returns the address of an outbound connection. A connection over
// WebTransport lacks the certificate hashes that a dial needs, so they are taken
// from the peerstore.
func (s *Swarm) dialledAddr(c network.Conn) ma.Multiaddr {
	at := c.RemoteMultiaddr()
	if _, err := at.ValueForProtocol(ma.P_WEBTRANSPORT); err != nil {
		return at
	}
	for _, known := range s.host.Peerstore().Addrs(c.RemotePeer()) {
		if _, err := known.ValueForProtocol(ma.P_CERTHASH); err == nil && len(known) > len(at) && known[:len(at)].Equal(at) {
			return known
		}
	}
	return at
}

// handleEvents handles the host's events until the swarm closes.
func (s *Swarm) handleEvents(hostEvents event.Subscription) {
	defer hostEvents.Close()
	connected := make(map[peer.ID]bool)
	for {
		select {
		case <-s.ctx.Done():
			return
		case h := <-hostEvents.Out():
			switch h := h.(type) {
			case event.EvtPeerConnectednessChanged:
				is := h.Connectedness != network.NotConnected
				if is && !connected[h.Peer] {
					connected[h.Peer] = true
					s.events.Send(Event{Kind: EventConnected, Peer: h.Peer})
				} else if !is && connected[h.Peer] {
					delete(connected, h.Peer)
					s.events.Send(Event{Kind: EventDisconnected, Peer: h.Peer})
				}
			case event.EvtPeerIdentificationCompleted:
				for _, addr := range h.ListenAddrs[:min(len(h.ListenAddrs), maxAddresses)] {
					// Addresses that can't be dialled are ignored.
					_ = s.AddAddr(h.Peer, addr, SourcePeer)
				}
			case event.EvtHostReachableAddrsChanged:
				s.setReachable(h.Reachable)
			}
		}
	}
}

// savePeriodically saves the address book until the swarm closes.
func (s *Swarm) savePeriodically() {
	ticker := time.NewTicker(saveEvery)
	defer ticker.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-ticker.C:
			if err := s.book.save(s.ctx, s.config.State); err != nil && s.ctx.Err() == nil {
				s.log.Warn("swarm: cannot save the address book", "err", err)
			}
		}
	}
}

// spawn runs f on a goroutine that Close waits for. It returns false if the swarm
// is closed.
func (s *Swarm) spawn(f func()) bool {
	if !s.hold() {
		return false
	}
	go func() {
		defer s.running.Done()
		f()
	}()
	return true
}

// hold makes Close wait until s.running.Done is called. It returns false if the
// swarm is closed.
func (s *Swarm) hold() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.running.Add(1)
	}
	return !s.closed
}

// Host returns the libp2p host, for protocols. Only Close may close it.
func (s *Swarm) Host() host.Host { return s.host }

// ID returns the node's peer id.
func (s *Swarm) ID() peer.ID { return s.host.ID() }

// Close closes all connections and listeners, waits for every goroutine and each
// running TopicOptions.Validate, and saves the address book. Further calls return
// the first call's result.
func (s *Swarm) Close() error {
	s.closing.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		s.cancel()
		s.mdns.close()
		var errs []error
		if s.ports != nil {
			// The host would close its listeners first, and cancel the requests that
			// close their ports at the router.
			if err := s.ports.Close(); err != nil {
				errs = append(errs, fmt.Errorf("swarm: close the router's ports: %w", err))
			}
		}
		if err := s.host.Close(); err != nil {
			errs = append(errs, fmt.Errorf("swarm: close: %w", err))
		}
		s.running.Wait()
		s.events.Close(ErrClosed)
		if s.config.State != nil {
			ctx, cancel := context.WithTimeout(context.Background(), saveTimeout)
			defer cancel()
			if err := s.book.save(ctx, s.config.State); err != nil {
				errs = append(errs, err)
			}
		}
		s.failed = errors.Join(errs...)
	})
	return s.failed
}
