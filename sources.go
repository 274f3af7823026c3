package cairn

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"syscall"
	"time"

	"github.com/cairn-ipfs/cairn/internal/exchange"
	"github.com/cairn-ipfs/cairn/internal/routing"
	"github.com/cairn-ipfs/cairn/internal/swarm"
	"github.com/cairn-ipfs/cairn/internal/trustless"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

const (
	// maxFound is how many peers and gateways that are found a session is told
	// of: more than it would ask, as some can't be reached. A liar may tell of
	// thousands.
	maxFound = 256
	// headStart is how long the fetch of a single block waits for connected
	// peers alone, if one of them delivered within the time of lately: who reads
	// a file block by block would begin thousands of look-ups for nothing.
	headStart = 200 * time.Millisecond
	lately    = 10 * time.Second
)

// singleKey marks the context of a fetch of one block.
type singleKey struct{}

// findSources yields who may have the DAG below root: the peers that are
// connected, those by which the network is just being entered, and whoever is
// found. None of it waits for another.
func (net *online) findSources(ctx context.Context, root cid.Cid) iter.Seq[exchange.Source] {
	return func(yield func(exchange.Source) bool) {
		told := make(map[string]bool)
		for s := range net.peers.Connected() {
			if told[s.Name()] = true; !yield(s) {
				return
			}
		}
		ctx, cancel := context.WithCancel(ctx)
		found := make(chan exchange.Source)
		emit := func(s exchange.Source) bool {
			select {
			case found <- s:
				return true
			case <-ctx.Done():
				return false
			}
		}
		var looking sync.WaitGroup
		looking.Go(func() { net.lookForProviders(ctx, root, emit) })
		if !net.bootstrap.IsOver() {
			looking.Go(func() { net.connectedMeanwhile(ctx, told, emit) })
		}
		go func() {
			looking.Wait()
			close(found)
		}()
		defer func() {
			cancel()
			for range found { // until all have ended
			}
		}()
		for s := range found {
			if !yield(s) {
				return
			}
		}
	}
}

// lookAgain is how often a session looks who has connected, while the network is
// entered.
const lookAgain = 50 * time.Millisecond

// connectedMeanwhile emits the peers that are connected while the network is
// being entered, be it by that or not. With those that were told of before there
// are no more than a session may begin with.
func (net *online) connectedMeanwhile(ctx context.Context, told map[string]bool, emit func(exchange.Source) bool) {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for over := false; !over; {
		select {
		case <-ctx.Done():
			return
		case <-net.bootstrap.Done():
			over = true
		case <-tick.C:
			over = net.bootstrap.IsOver()
		}
		for s := range net.peers.Connected() {
			if told[s.Name()] {
				continue
			}
			if len(told) == exchange.MaxConnected {
				return
			}
			if told[s.Name()] = true; !emit(s) {
				return
			}
		}
	}
}

// lookForProviders emits who is found to have root.
func (net *online) lookForProviders(ctx context.Context, root cid.Cid, emit func(exchange.Source) bool) {
	delivered := time.Unix(0, net.delivered.Load())
	if ctx.Value(singleKey{}) != nil && time.Since(delivered) < lately {
		timer := time.NewTimer(headStart)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
	told := 0
	tell := func(s exchange.Source) bool {
		told++
		return told <= maxFound && emit(s)
	}
	peers := make(map[peer.ID]*foundPeer)
	defer func() {
		for _, f := range peers {
			f.tell(true)
		}
	}()
	for p, err := range net.routing.FindProviders(ctx, root) {
		if err != nil {
			net.log.Debug("looking for providers", "cid", root, "error", err)
			return
		}
		urls, addrs := splitAddrs(p.Addrs, net.local)
		for _, u := range urls {
			if !tell(&foundGateway{exchange.NewGateway(u, net.strange), p}) {
				return
			}
		}
		if len(urls) > 0 && len(addrs) == 0 {
			continue
		}
		for _, a := range addrs {
			// One that can't be kept is one that can't be dialled.
			_ = net.swarm.AddAddr(p.ID, a, swarm.SourceRouting)
		}
		if f := peers[p.ID]; f != nil {
			f.tell(false)
			continue
		}
		f := &foundPeer{net: net, id: p.ID, news: make(chan struct{})}
		peers[p.ID] = f
		if !tell(net.peers.Found(p.ID, f.connect)) {
			return
		}
	}
}

// learn tells the router what came of a session's sources. Who delivered a single
// block is not remembered, or reading a file block by block would leave room for
// nothing else; what was found of it stays.
func (net *online) learn(root cid.Cid, sources []exchange.SourceProgress) {
	delivered := make(map[peer.ID]bool)
	var blocks int64
	for _, s := range sources {
		blocks += s.Blocks
	}
	for _, s := range sources {
		if p, ok := net.providerOf(s); ok && s.Blocks > 0 {
			delivered[p.ID] = true
			net.delivered.Store(time.Now().UnixNano())
			if blocks > 1 {
				net.routing.ReportSuccess(root, p)
			}
		}
	}
	for _, s := range sources {
		if p, ok := net.providerOf(s); ok && s.Err != nil && !delivered[p.ID] {
			net.routing.ReportFailure(root, p.ID)
		}
	}
}

// providerOf is the provider that a source was, if it was one.
func (net *online) providerOf(s exchange.SourceProgress) (routing.Provider, bool) {
	if g, ok := s.Source.(*foundGateway); ok {
		return g.provider, true
	}
	id, err := peer.Decode(s.Name)
	if err != nil {
		return routing.Provider{}, false
	}
	p := routing.Provider{AddrInfo: peer.AddrInfo{ID: id}}
	for _, a := range net.swarm.KnownAddrs(id) {
		p.Addrs = append(p.Addrs, a.Addr)
	}
	return p, true
}

// A foundGateway is a gateway that somebody told of.
type foundGateway struct {
	*exchange.Gateway
	provider routing.Provider
}

var (
	_ exchange.Streamer = (*foundGateway)(nil)
	_ exchange.Asker    = (*foundGateway)(nil)
)

// A foundPeer is a peer that somebody told of. The addresses that were told
// first may be old, and better ones may still come.
type foundPeer struct {
	net *online
	id  peer.ID

	mu   sync.Mutex    // guards the following
	news chan struct{} // closed when there are more addresses, or over is set
	over bool          // nothing more is told
}

// tell tells of more addresses, or that there will be none.
func (f *foundPeer) tell(over bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = f.over || over
	close(f.news)
	f.news = make(chan struct{})
}

// connect connects to the peer, as soon as one of its addresses answers.
func (f *foundPeer) connect(ctx context.Context) error {
	if len(f.net.swarm.KnownAddrs(f.id)) == 0 {
		f.net.findAddrs(ctx, f.id)
	}
	for {
		f.mu.Lock()
		news, over := f.news, f.over
		f.mu.Unlock()
		err := f.net.swarm.Connect(ctx, peer.AddrInfo{ID: f.id})
		if err == nil || over || ctx.Err() != nil {
			return err
		}
		select {
		case <-news:
		case <-ctx.Done():
			return err
		}
	}
}

// findAddrs looks for a peer's addresses, until there are some.
func (net *online) findAddrs(ctx context.Context, id peer.ID) {
	for p, err := range net.routing.FindPeer(ctx, id) {
		if err != nil {
			return // the dial says that there are none
		}
		for _, a := range p.Addrs {
			// One that can't be kept is one that can't be dialled.
			_ = net.swarm.AddAddr(id, a, swarm.SourceRouting)
		}
		if len(net.swarm.KnownAddrs(id)) > 0 {
			return
		}
	}
}

// maxGateways is how many gateways are taken from one provider's addresses:
// more names of one server are no help.
const maxGateways = 2

// splitAddrs parts a provider's addresses into gateways and the others. Plain
// HTTP is for local networks alone.
func splitAddrs(addrs []multiaddr.Multiaddr, local bool) (urls []*url.URL, others []multiaddr.Multiaddr) {
	for _, a := range addrs {
		u := gatewayURL(a)
		switch {
		case u == nil:
			others = append(others, a)
		case len(urls) < maxGateways && (local || u.Scheme == "https"):
			urls = append(urls, u)
		}
	}
	return urls, others
}

// gatewayURL returns what an address of an HTTP server means, nil if it is
// another's: /dns4/example.org/tcp/443/https, or /tls/http in place of /https.
func gatewayURL(a multiaddr.Multiaddr) *url.URL {
	var host, port, sni string
	secure, speaks := false, false
	for _, c := range a {
		switch c.Protocol().Code {
		case multiaddr.P_IP4, multiaddr.P_IP6, multiaddr.P_DNS, multiaddr.P_DNS4, multiaddr.P_DNS6:
			if host != "" {
				return nil
			}
			host = c.Value()
		case multiaddr.P_TCP:
			port = c.Value()
		case multiaddr.P_TLS:
			secure = true
		case multiaddr.P_SNI:
			sni = c.Value()
		case multiaddr.P_HTTP:
			speaks = true
		case multiaddr.P_HTTPS:
			speaks, secure = true, true
		case multiaddr.P_P2P:
		default:
			return nil
		}
	}
	if !speaks || host == "" || port == "" || sni != "" && sni != host {
		return nil
	}
	scheme := "http"
	if secure {
		scheme = "https"
	}
	return &url.URL{Scheme: scheme, Host: net.JoinHostPort(host, port), Path: "/"}
}

// strangers returns what asks gateways that somebody told of: unless local,
// nothing but the internet is dialled, whatever a name resolves to. Redirects
// are the trustless.Client's, which stays with the host.
func strangers(local bool) *http.Client {
	dialer := &net.Dialer{}
	if !local {
		dialer.Control = publicOnly
	}
	return &http.Client{Transport: trustless.NewHTTPTransport(dialer.DialContext)}
}

// errNotPublic: an address isn't one of the internet.
var errNotPublic = errors.New("not an address of the internet")

// publicOnly is a net.Dialer's Control: it sees what is dialled in the end.
func publicOnly(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	ip := at.Addr().Unmap()
	m, err := manet.FromIP(ip.WithZone("").AsSlice())
	if err != nil {
		return err
	}
	if !ip.IsGlobalUnicast() || !manet.IsPublicAddr(m) {
		return fmt.Errorf("%s: %w", ip, errNotPublic)
	}
	return nil
}
