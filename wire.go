package cairn

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/cairn-ipfs/cairn/internal/access"
	"github.com/cairn-ipfs/cairn/internal/announce"
	"github.com/cairn-ipfs/cairn/internal/atomicfile"
	"github.com/cairn-ipfs/cairn/internal/bitswap"
	"github.com/cairn-ipfs/cairn/internal/exchange"
	"github.com/cairn-ipfs/cairn/internal/names"
	"github.com/cairn-ipfs/cairn/internal/routing"
	"github.com/cairn-ipfs/cairn/internal/sources"
	"github.com/cairn-ipfs/cairn/internal/statcache"
	"github.com/cairn-ipfs/cairn/internal/swarm"
	"github.com/cairn-ipfs/cairn/internal/trustless"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

// ErrOffline: the node was opened without a network (Config.Offline).
var ErrOffline = errors.New("the node is offline")

// Open opens a node. Close it when done. Errors: store.ErrLocked if another
// process has the repository open; store.ErrFormat; store.ErrIndexLost, which
// Rebuild repairs; and where the node listens, ErrAddress and those of the
// network.
func Open(ctx context.Context, c Config) (*Node, error) {
	s, err := store.Open(ctx, c.Dir, c.storeOptions())
	if err != nil {
		return nil, err
	}
	n := &Node{config: c, store: s, statCaches: statcache.New(s)}
	n.started.push(s.Close)
	n.close = sync.OnceValue(n.stop)
	if len(c.Listen) > 0 && !c.Offline {
		if _, err := n.network(ctx); err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	return n, nil
}

// Rebuild builds the index of a repository anew from its packs, as store.Rebuild
// does. The node must not be open.
func Rebuild(ctx context.Context, c Config, progress func(done, total int64)) (store.RebuildResult, error) {
	return store.Rebuild(ctx, c.Dir, c.storeOptions(), progress)
}

// Close disconnects from all peers, makes all blocks durable, and waits until all
// background work has ended. It may be called again.
func (n *Node) Close() error { return n.close() }

// stop closes what was started, in reverse order.
func (n *Node) stop() error {
	n.mu.Lock()
	started := n.started
	n.closed = true
	n.mu.Unlock()
	return started.closeTo(0) // without the lock: what it waits for may need it
}

// A stack holds the Close functions of what was started.
type stack []func() error

func (s *stack) push(close func() error) { *s = append(*s, close) }

// closeTo closes all but the first size, the last first.
func (s *stack) closeTo(size int) error {
	var errs []error
	for i := len(*s) - 1; i >= size; i-- {
		errs = append(errs, (*s)[i]())
	}
	*s = (*s)[:size]
	return errors.Join(errs...)
}

// A network is the half of a node that talks to peers.
type network struct {
	swarm     *swarm.Swarm
	bootstrap *routing.Bootstrap
	routing   *routing.Router
	sources   *sources.Sources
	exchange  *exchange.Exchange
	announcer *announce.Announcer
	announces bool // there is a DHT to announce in
}

// network returns the node's network. The first call starts it.
func (n *Node) network(ctx context.Context) (*network, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed:
		return nil, store.ErrClosed
	case n.config.Offline:
		return nil, ErrOffline
	case n.net != nil:
		return n.net, nil
	}
	net, err := n.startNetwork(ctx)
	if err != nil {
		return nil, fmt.Errorf("start the network: %w", err)
	}
	n.net = net
	return net, nil
}

// startNetwork starts the network from the bottom up. The caller holds n.mu.
func (n *Node) startNetwork(ctx context.Context) (_ *network, err error) {
	c, log := n.config, n.config.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	gateways, err := parseURLs(c.Gateways, "a gateway")
	if err != nil {
		return nil, err
	}
	bootstrap, err := parsePeers(c.Bootstrap)
	if err != nil {
		return nil, err
	}
	delegated, err := parseURLs(c.Delegated, "a delegated router")
	if err != nil {
		return nil, err
	}
	mode, err := c.Routing.mode()
	if err != nil {
		return nil, err
	}
	key, err := n.identity()
	if err != nil {
		return nil, err
	}
	named, err := n.openNaming(ctx)
	if err != nil {
		return nil, err
	}

	begin := len(n.started)
	defer func() {
		if err != nil {
			err = errors.Join(err, n.started.closeTo(begin))
		}
	}()
	net := &network{bootstrap: routing.NewBootstrap(len(bootstrap), routing.FirstPeer)}

	listen := c.Listen
	if listen == nil {
		listen = []string{} // nil is the swarm's default
	}
	net.swarm, err = swarm.New(ctx, swarm.Config{
		Identity: key, Listen: listen, PSK: c.PSK, Connections: c.maxConnections(), Local: c.Local, MDNS: c.MDNS,
		UserAgent: c.UserAgent, State: rowStore{n.store}, Logger: c.Logger,
	})
	if err != nil {
		return nil, err
	}
	n.started.push(net.swarm.Close)
	host := net.swarm.Host()

	blocks, err := bitswap.New(bitswap.Config{Host: host, Blocks: store.Internal(access.Key{}).Reader(n.store), Logger: c.Logger})
	if err != nil {
		return nil, err
	}
	n.started.push(blocks.Close)
	n.started.push(trustless.Serve(host, n.Gateway(), trustless.ServeConfig{}))

	net.announces = mode != routing.ModeDelegated && mode != routing.ModeNone
	net.announcer, err = announce.New(announce.Config{
		Store: n.store, Strategy: announce.Strategy(c.Providing), Own: c.ProvideList, SkipPrefix: exchange.SyncPrefix, Logger: c.Logger,
	})
	if err != nil {
		return nil, err
	}
	router := routing.Config{
		Host: host, Mode: mode, Bootstrap: bootstrap, Connecting: net.bootstrap, Local: c.Local, Delegated: delegated,
		State: rowStore{n.store}, Logger: c.Logger,
	}
	for _, f := range c.Finders {
		router.Finders = append(router.Finders, finder{f})
	}
	if len(c.Listen) > 0 { // peers cannot reach a node that does not listen
		router.Providing.List = net.announcer.List
	}
	if net.routing, err = routing.New(ctx, router); err != nil {
		return nil, err
	}
	n.started.push(net.routing.Close)

	net.sources = sources.New(sources.Config{
		Swarm: net.swarm, Bitswap: blocks, Router: net.routing, Bootstrap: net.bootstrap, Local: c.Local, Logger: log,
	})
	n.started.push(func() error { net.sources.Close(); return nil })
	fallback := make([]exchange.Source, len(gateways))
	for i, u := range gateways {
		fallback[i] = net.sources.Gateway(u)
	}
	net.exchange = exchange.New(exchange.Config{
		Store: n.store, Logger: c.Logger, Arrived: blocks.Have, Fallback: fallback, FallbackDelay: c.FallbackDelay,
		Sources: net.sources.Find, Ended: net.sources.Learn,
	})

	over := names.Network{Topics: names.SwarmTopics(net.swarm), Host: host}
	if mode != routing.ModeNone {
		over.Stores = []names.ValueStore{names.RouterStore(net.routing)}
	}
	if err := named.Join(over); err != nil {
		return nil, err
	}
	n.started.push(named.Close) // before the network, which it uses now

	n.runNetwork(net, bootstrap, named, log)
	return net, nil
}

// runNetwork starts what goes on in the background.
func (n *Node) runNetwork(net *network, bootstrap []peer.AddrInfo, named *names.Names, log *slog.Logger) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, p := range bootstrap {
		running.Go(func() {
			err := net.swarm.Connect(ctx, p)
			net.bootstrap.Tried(err)
			if err != nil {
				log.Info("connecting to a bootstrap peer", "peer", p.ID, "error", err)
			}
		})
	}
	if net.announces && len(n.config.Listen) > 0 {
		running.Go(func() { net.announcer.Run(ctx, net.routing) })
	}
	running.Go(func() { _ = named.Run(ctx) }) // it returns nil
	n.started.push(func() error {
		cancel()
		running.Wait()
		return nil
	})
}

// closedError returns store.ErrClosed if a part of the node was closed, else err.
func closedError(err error) error {
	if errors.Is(err, swarm.ErrClosed) || errors.Is(err, names.ErrClosed) {
		return store.ErrClosed
	}
	return err
}

// naming returns what publishes and resolves names. The first call opens it. It
// works without the network, and uses it once there is one.
func (n *Node) naming(ctx context.Context) (*names.Names, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.openNaming(ctx)
}

// openNaming is naming; the caller holds n.mu.
func (n *Node) openNaming(ctx context.Context) (*names.Names, error) {
	if n.closed {
		return nil, store.ErrClosed
	}
	if n.named != nil {
		return n.named, nil
	}
	dns, err := n.config.DNS.open()
	if err != nil {
		return nil, err
	}
	named, err := names.New(ctx, names.Config{
		State: rowStore{n.store}, DNSLink: dns, Logger: n.config.Logger,
		Key: func(name names.Name) (crypto.PrivKey, error) {
			keys, err := n.keyring()
			if err != nil {
				return nil, err
			}
			return keys.PrivateKey(name)
		},
		StartNetwork: func(ctx context.Context) error {
			_, err := n.network(ctx)
			return err
		},
		AwaitBootstrap: func(ctx context.Context) error {
			net, err := n.network(ctx)
			if err != nil {
				return err
			}
			return net.bootstrap.Wait(ctx)
		},
	})
	if err != nil {
		return nil, errors.Join(err, dns.Close())
	}
	n.started.push(dns.Close)
	n.started.push(named.Close)
	n.named = named
	return named, nil
}

// keysDir is the folder of a repository that holds the keys.
const keysDir = "keys"

// keyring returns the node's keys. The first call opens them.
func (n *Node) keyring() (*names.Keys, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, store.ErrClosed
	}
	if n.keys != nil {
		return n.keys, nil
	}
	self, err := n.identity()
	if err != nil {
		return nil, err
	}
	dir := n.store.Dir()
	if dir != "" {
		dir = filepath.Join(dir, keysDir)
	}
	n.keys, err = names.OpenKeys(names.KeysConfig{Dir: dir, Self: self, Passphrase: n.config.KeyPassphrase})
	return n.keys, err
}

// identityFile holds the node's private key, marshaled as in Kubo (libp2p's
// specification of peer ids), readable by its owner only.
const identityFile = "identity"

// identity returns the node's private key. The first call makes one, if there is
// none. The caller holds n.mu.
func (n *Node) identity() (crypto.PrivKey, error) {
	if n.config.Identity != nil {
		return n.config.Identity, nil
	}
	dir := n.store.Dir()
	if dir == "" {
		key, err := swarm.NewKey()
		n.config.Identity = key
		return key, err
	}
	path := filepath.Join(dir, identityFile)
	data, err := os.ReadFile(path)
	var key crypto.PrivKey
	switch {
	case errors.Is(err, fs.ErrNotExist):
		key, err = makeIdentity(path)
	case err != nil:
		err = fmt.Errorf("the node's identity: %w", err)
	default:
		if key, err = swarm.UnmarshalKey(data); err != nil {
			err = fmt.Errorf("the node's identity, %s: %w", path, err)
		}
	}
	if err != nil {
		return nil, err
	}
	n.config.Identity = key
	return key, nil
}

func makeIdentity(path string) (crypto.PrivKey, error) {
	key, err := swarm.NewKey()
	if err != nil {
		return nil, err
	}
	data, err := swarm.MarshalKey(key)
	if err != nil {
		return nil, err
	}
	err = atomicfile.Write(path, identityFile+".new-*", 0o600, atomicfile.Data(data))
	if err == nil {
		err = atomicfile.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return nil, fmt.Errorf("the node's identity: %w", err)
	}
	return key, nil
}
