package exchange

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/cairn-ipfs/cairn/internal/bitswap"
	"github.com/cairn-ipfs/cairn/internal/trustless"
	boxo "github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/exchange/offline"
	boxogw "github.com/ipfs/boxo/gateway"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
)

func (b *bench) host() host.Host {
	b.Helper()
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay(), libp2p.DisableMetrics())
	b.check(err)
	b.Cleanup(func() { h.Close() })
	return h
}

func (b *bench) bitswap(h host.Host) *bitswap.Bitswap {
	b.Helper()
	x, err := bitswap.New(bitswap.Config{Host: h, Blocks: b.theirs})
	b.check(err)
	b.Cleanup(func() { x.Close() })
	return x
}

// boxoStore is their blocks as boxo has them.
func (b *bench) boxoStore() blockstore.Blockstore {
	b.Helper()
	bs := blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
	for c, err := range b.theirs.Blocks(b.Context()) {
		b.check(err)
		k, err := b.theirs.Get(b.Context(), c)
		b.check(err)
		known, err := blocks.NewBlockWithCid(k.Data(), c)
		b.check(err)
		b.check(bs.Put(b.Context(), known))
	}
	return bs
}

// Peers and gateways as they are, ours and boxo's.
func TestRealSources(t *testing.T) {
	b := newBench(t)
	roots := map[string]cid.Cid{"file": b.file(8<<20+1, 1), "empty file": b.file(0, 2), "tree": b.tree(1000), "chain": b.chain(500)}
	trust := trustless.NewHandler(trustless.Config{Blocks: b.theirs})
	gw := func(h http.Handler) Source {
		s := httptest.NewServer(h)
		b.Cleanup(s.Close)
		base, err := url.Parse(s.URL)
		b.check(err)
		return NewGateway(base, &http.Client{Transport: trustless.NewHTTPTransport(nil)})
	}
	us := b.host()
	peers := &Peers{Host: us, Bitswap: b.bitswap(us)}
	at := func(h host.Host) Source {
		us.Peerstore().AddAddrs(h.ID(), h.Addrs(), 1<<40)
		return peers.Peer(h.ID())
	}
	whole, only, streams, foreign := b.host(), b.host(), b.host(), b.host()
	b.bitswap(whole)
	for _, h := range []host.Host{whole, streams} {
		stop := trustless.Serve(h, trust, trustless.ServeConfig{})
		b.Cleanup(func() { stop() })
	}
	b.bitswap(only)
	theirs := b.boxoStore()
	server := boxo.New(t.Context(), bsnet.NewFromIpfsHost(foreign), nil, theirs)
	b.Cleanup(func() { server.Close() })
	backend, err := boxogw.NewBlocksBackend(blockservice.New(theirs, offline.Exchange(theirs)))
	b.check(err)
	for what, src := range map[string]Source{
		"a node":                at(whole),
		"a bitswap peer":        at(only),
		"a peer that streams":   at(streams),
		"boxo's bitswap":        at(foreign),
		"a gateway":             gw(trust),
		"boxo's gateway":        gw(boxogw.NewHandler(boxogw.Config{DeserializedResponses: false}, backend)),
		"a gateway without CAR": gw(rawOnly{trust}),
	} {
		for name, root := range roots {
			t.Run(name+" from "+what, func(t *testing.T) {
				b := &bench{T: t, theirs: b.theirs, ours: b.open()}
				p, err := b.sync(Config{}, root, Options{From: []Source{src}, Alias: "got"})
				b.check(err)
				if n := b.whole(b.ours, root); p.Blocks != int64(n) || p.Duplicates > 0 {
					t.Errorf("got %+v, want %d blocks, none of them twice", p, n)
				}
			})
		}
	}
	// Who is used is kept, until the last use has ended.
	used := func() bool { return us.ConnManager().IsProtected(streams.ID(), usedTag) }
	if used() {
		t.Error("a peer is kept that nobody uses")
	}
	var open []Stream
	for range 2 {
		s, err := at(streams).(Streamer).Stream(t.Context(), roots["file"], nil)
		b.check(err)
		open = append(open, s)
	}
	for _, s := range open {
		if !used() {
			t.Error("a peer isn't kept that is used")
		}
		b.check(s.Close())
	}
	if used() {
		t.Error("a peer is kept that nobody uses any more")
	}
	// Those that are connected are found.
	b = &bench{T: t, theirs: b.theirs, ours: b.open()}
	found := 0
	for src := range peers.Connected() {
		found++
		if id, err := peer.Decode(src.Name()); err != nil || id == us.ID() {
			t.Errorf("found %s", src.Name())
		}
	}
	if found != 4 {
		t.Errorf("found %d connected peers, want 4", found)
	}
}

// rawOnly knows no CARs.
type rawOnly struct{ next http.Handler }

func (h rawOnly) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("format") == "car" {
		http.Error(w, "no CARs here", http.StatusNotImplemented)
		return
	}
	h.next.ServeHTTP(w, r)
}
