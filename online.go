package cairn

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/cairn-ipfs/cairn/internal/announce"
	"github.com/cairn-ipfs/cairn/internal/atomicfile"
	"github.com/cairn-ipfs/cairn/internal/bitswap"
	"github.com/cairn-ipfs/cairn/internal/exchange"
	"github.com/cairn-ipfs/cairn/internal/routing"
	"github.com/cairn-ipfs/cairn/internal/sources"
	"github.com/cairn-ipfs/cairn/internal/swarm"
	"github.com/cairn-ipfs/cairn/internal/trustless"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

// ErrOffline: the node was opened without a network (Config.Offline).
var ErrOffline = errors.New("the node is offline")

// An online is a node's network half: who it is among its peers, what it
// answers them, and how it asks them.
type online struct {
	swarm     *swarm.Swarm
	bitswap   *bitswap.Bitswap
	serving   func() error // ends answering over streams
	routing   *routing.Router
	exchange  *exchange.Exchange
	sources   *sources.Sources
	announcer *announce.Announcer
	announces bool // there is a DHT to announce in
	log       *slog.Logger
	bootstrap *routing.Bootstrap
	running   sync.WaitGroup
	stop      context.CancelFunc
}

// online returns the node's network, and starts it with the first call.
func (n *Node) online(ctx context.Context) (*online, error) {
	n.netMu.Lock()
	defer n.netMu.Unlock()
	switch {
	case n.netClosed:
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

func (n *Node) startNetwork(ctx context.Context) (_ *online, err error) {
	c := n.config
	gateways, err := parseURLs(c.Gateways, "a gateway")
	if err != nil {
		return nil, err
	}
	bootstrap, err := parsePeers(c.Bootstrap)
	if err != nil {
		return nil, err
	}
	announcer, err := n.newAnnouncer()
	if err != nil {
		return nil, err
	}
	router, err := n.routingConfig(bootstrap, announcer.List)
	if err != nil {
		return nil, err
	}
	id, err := n.identity()
	if err != nil {
		return nil, err
	}
	named, err := n.openNaming(ctx)
	if err != nil {
		return nil, err
	}
	listen := c.Listen
	if listen == nil {
		listen = []string{}
	}
	connections := c.Connections
	if connections == 0 && router.Mode == routing.ModeAccelerated {
		connections = acceleratedConnections
	}
	net := &online{
		announcer: announcer, log: c.Logger, bootstrap: routing.NewBootstrap(len(bootstrap), routing.FirstPeer),
	}
	if net.log == nil {
		net.log = slog.New(slog.DiscardHandler)
	}
	net.announces = router.Mode != routing.ModeDelegated && router.Mode != routing.ModeNone
	net.swarm, err = swarm.New(ctx, swarm.Config{
		Identity: id, Listen: listen, PSK: c.PSK, Connections: connections, Local: c.Local, MDNS: c.MDNS,
		UserAgent: c.UserAgent, Addresses: addressBook{n.store}, Logger: c.Logger,
	})
	if err != nil {
		return nil, err
	}
	net.bitswap, err = bitswap.New(bitswap.Config{Host: net.swarm.Host(), Blocks: n.store, Logger: c.Logger})
	if err != nil {
		return nil, errors.Join(err, net.swarm.Close())
	}
	net.serving = trustless.Serve(net.swarm.Host(), n.Gateway(), trustless.ServeConfig{})
	router.Host, router.Connecting = net.swarm.Host(), net.bootstrap
	if net.routing, err = routing.New(ctx, router); err != nil {
		return nil, errors.Join(err, net.serving(), net.bitswap.Close(), net.swarm.Close())
	}
	net.sources = sources.New(sources.Config{
		Swarm: net.swarm, Bitswap: net.bitswap, Router: net.routing, Bootstrap: net.bootstrap, Local: c.Local, Logger: net.log,
	})
	fallback := make([]exchange.Source, len(gateways))
	for i, u := range gateways {
		fallback[i] = net.sources.Gateway(u)
	}
	net.exchange = exchange.New(exchange.Config{
		Store: n.store, Logger: c.Logger, Arrived: net.bitswap.Have, Fallback: fallback, FallbackDelay: c.FallbackDelay,
		Sources: net.sources.Find, Ended: net.sources.Learn,
	})
	if err := named.join(net.nameNetwork(router.Mode)); err != nil {
		return nil, errors.Join(err, net.routing.Close(), net.serving(), net.bitswap.Close(), net.swarm.Close())
	}
	running, stop := context.WithCancel(context.Background())
	net.stop = stop
	for _, p := range bootstrap {
		net.running.Go(func() {
			err := net.swarm.Connect(running, p)
			net.bootstrap.Tried(err)
			if err != nil {
				net.log.Info("connecting to a bootstrap peer", "peer", p.ID, "error", err)
			}
		})
	}
	if net.announces && len(c.Listen) > 0 {
		net.running.Go(func() { net.announcer.Run(running, net.routing) })
	}
	return net, nil
}

// close ends what was started, in reverse order.
func (net *online) close() error {
	net.stop()
	net.running.Wait()
	err := net.routing.Close()
	net.sources.Close()
	return errors.Join(err, net.serving(), net.bitswap.Close(), net.swarm.Close())
}

// parsePeers reads addresses of peers, with their ids.
func parsePeers(addrs []string) ([]peer.AddrInfo, error) {
	var all []multiaddr.Multiaddr
	for _, a := range addrs {
		m, err := multiaddr.NewMultiaddr(a)
		if err == nil {
			_, err = peer.AddrInfoFromP2pAddr(m)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrAddress, a, err)
		}
		all = append(all, m)
	}
	return peer.AddrInfosFromP2pAddrs(all...)
}

// identityFile holds the private key by which the node is known, as Kubo
// marshals it (libp2p's peer-ids specification), readable for its owner alone.
const identityFile = "identity"

// identity returns the node's private key, and makes one with the first call.
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

// addressSpace is the space of the store that holds the address book.
const addressSpace = "addresses"

// An addressBook keeps the swarm's addresses in a space, by peer.
type addressBook struct{ store *store.Store }

var _ swarm.AddressStore = addressBook{}

func (b addressBook) LoadAddresses(ctx context.Context) iter.Seq2[swarm.AddressRecord, error] {
	return func(yield func(swarm.AddressRecord, error) bool) {
		for item, err := range b.store.Space(addressSpace).All(ctx, nil) {
			if !yield(swarm.AddressRecord{Peer: peer.ID(item.Key), Data: item.Value}, err) {
				return
			}
		}
	}
}

func (b addressBook) SaveAddresses(ctx context.Context, records []swarm.AddressRecord) error {
	set := b.store.Batch()
	for _, r := range records {
		if r.Data == nil {
			set.Unset(addressSpace, []byte(r.Peer))
		} else {
			set.Set(addressSpace, []byte(r.Peer), r.Data)
		}
	}
	return set.Commit(ctx)
}
