package sources

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/cairn-ipfs/cairn/internal/exchange"
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
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
)

// boxoStore copies their blocks into a blockstore of boxo.
func (f *fixture) boxoStore() blockstore.Blockstore {
	f.Helper()
	bs := blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
	for c, err := range f.theirs.Blocks(f.Context()) {
		f.check(err)
		k, err := f.theirs.Get(f.Context(), c)
		f.check(err)
		known, err := blocks.NewBlockWithCid(k.Data(), c)
		f.check(err)
		f.check(bs.Put(f.Context(), known))
	}
	return bs
}

// Real peers and gateways, ours and boxo's.
func TestRealSources(t *testing.T) {
	f := newFixture(t)
	roots := map[string]cid.Cid{"file": f.file(8<<20+1, 1), "empty file": f.file(0, 2), "tree": f.tree(1000), "chain": f.chain(500)}
	trust := trustless.NewHandler(trustless.Config{Blocks: f.theirs})
	gw := func(h http.Handler) exchange.Source {
		s := httptest.NewServer(h)
		f.Cleanup(s.Close)
		base, err := url.Parse(s.URL)
		f.check(err)
		return newGateway(base, &http.Client{Transport: trustless.NewHTTPTransport(nil)})
	}
	us := f.host()
	ps := &peers{host: us, bitswap: f.bitswap(us), connect: us.Connect}
	at := func(h host.Host) exchange.Source {
		us.Peerstore().AddAddrs(h.ID(), h.Addrs(), 1<<40)
		return ps.peer(h.ID(), nil)
	}
	whole, only, streams, foreign := f.host(), f.host(), f.host(), f.host()
	f.bitswap(whole)
	for _, h := range []host.Host{whole, streams} {
		stop := trustless.Serve(h, trust, trustless.ServeConfig{})
		f.Cleanup(func() { stop() })
	}
	f.bitswap(only)
	theirs := f.boxoStore()
	server := boxo.New(t.Context(), bsnet.NewFromIpfsHost(foreign), nil, theirs)
	f.Cleanup(func() { server.Close() })
	backend, err := boxogw.NewBlocksBackend(blockservice.New(theirs, offline.Exchange(theirs)))
	f.check(err)
	for what, src := range map[string]exchange.Source{
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
				f := &fixture{TB: t, theirs: f.theirs, ours: f.open()}
				p, err := f.sync(root, src)
				f.check(err)
				if n := f.compare(root); p.Blocks != int64(n) || p.Duplicates > 0 {
					t.Errorf("got %+v, want %d blocks, and no duplicates", p, n)
				}
			})
		}
	}
	// A peer is protected while a stream from it is open.
	protected := func() bool { return us.ConnManager().IsProtected(streams.ID(), usedTag) }
	if protected() {
		t.Error("protected before the first use")
	}
	var open []exchange.Stream
	for range 2 {
		s, err := at(streams).(exchange.Streamer).Stream(t.Context(), roots["file"], nil)
		f.check(err)
		open = append(open, s)
	}
	for _, s := range open {
		if !protected() {
			t.Error("not protected while in use")
		}
		f.check(s.Close())
	}
	if protected() {
		t.Error("protected after the last use")
	}
	// Connected peers are sources.
	f = &fixture{TB: t, theirs: f.theirs, ours: f.open()}
	found := 0
	for src := range ps.connected() {
		found++
		if id, err := peer.Decode(src.Name()); err != nil || id == us.ID() {
			t.Errorf("found %s", src.Name())
		}
	}
	if found != 4 {
		t.Errorf("found %d connected peers, want 4", found)
	}
}

// rawOnly serves single blocks, and no CARs.
type rawOnly struct{ next http.Handler }

func (h rawOnly) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("format") == "car" {
		http.Error(w, "no CARs here", http.StatusNotImplemented)
		return
	}
	h.next.ServeHTTP(w, r)
}
