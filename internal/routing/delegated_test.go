package routing

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/boxo/ipns"
	boxo "github.com/ipfs/boxo/routing/http/server"
	"github.com/ipfs/boxo/routing/http/types"
	"github.com/ipfs/boxo/routing/http/types/iter"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/routing"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/prometheus/client_golang/prometheus"
)

// A backend has the answers of boxo's server of /routing/v1.
type backend struct {
	mu        sync.Mutex // guards the following
	providers map[cid.Cid][]types.Record
	peers     map[peer.ID][]*types.PeerRecord
	closest   []*types.PeerRecord
	names     map[ipns.Name]*ipns.Record
}

var _ boxo.DelegatedRouter = (*backend)(nil)

func results[T any](all []T) iter.ResultIter[T] {
	return iter.ToResultIter[T](iter.FromSlice(all))
}

func (b *backend) FindProviders(_ context.Context, c cid.Cid, _ int) (iter.ResultIter[types.Record], error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return results(b.providers[c]), nil
}

//lint:ignore SA1019 the interface has it
func (b *backend) ProvideBitswap(context.Context, *boxo.BitswapWriteProvideRequest) (time.Duration, error) {
	return 0, routing.ErrNotSupported
}

func (b *backend) FindPeers(_ context.Context, id peer.ID, _ int) (iter.ResultIter[*types.PeerRecord], error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return results(b.peers[id]), nil
}

func (b *backend) GetIPNS(_ context.Context, name ipns.Name) (*ipns.Record, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.names[name]; r != nil {
		return r, nil
	}
	return nil, routing.ErrNotFound
}

func (b *backend) PutIPNS(_ context.Context, name ipns.Name, record *ipns.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.names[name] = record
	return nil
}

func (b *backend) GetClosestPeers(context.Context, cid.Cid) (iter.ResultIter[*types.PeerRecord], error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return results(b.closest), nil
}

// serve starts a server on loopback and returns its URL.
func serve(t testing.TB, h http.Handler) *url.URL {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// newID returns the id of a peer that does not exist.
func newID(t testing.TB) peer.ID {
	t.Helper()
	key, _ := newRecords(t, 0)
	id, ok := isIPNS(key)
	if !ok {
		t.Fatalf("isIPNS(%q) = false, want true", key)
	}
	return id
}

func peerRecord(id peer.ID, protocols []string, addrs ...string) *types.PeerRecord {
	r := &types.PeerRecord{Schema: types.SchemaPeer, ID: &id, Protocols: protocols}
	for _, a := range addrs {
		r.Addrs = append(r.Addrs, types.Multiaddr{Multiaddr: ma.StringCast(a)})
	}
	return r
}

func TestDelegated(t *testing.T) {
	for _, test := range []struct {
		name    string
		options []boxo.Option
	}{{"lines", nil}, {"object", []boxo.Option{boxo.WithStreamingResultsDisabled()}}} {
		t.Run(test.name, func(t *testing.T) {
			c, ours, other, web := newCID(t), newID(t), newID(t), newID(t)
			const addr = "/ip4/127.0.0.1/tcp/4001"
			b := &backend{
				providers: map[cid.Cid][]types.Record{c: {
					peerRecord(other, []string{"transport-graphsync-filecoinv1"}, addr),
					peerRecord(ours, []string{"transport-bitswap"}, addr, "/ip4/127.0.0.1/udp/4001/quic-v1"),
					peerRecord(web, []string{"transport-ipfs-gateway-http"}, "/dns4/localhost/tcp/443/https"),
				}},
				peers:   map[peer.ID][]*types.PeerRecord{ours: {peerRecord(other, nil, addr), peerRecord(ours, nil, addr)}},
				closest: []*types.PeerRecord{peerRecord(ours, nil, addr), peerRecord(other, nil, addr)},
				names:   make(map[ipns.Name]*ipns.Record),
			}
			var mu sync.Mutex
			var asked []string
			handler := boxo.Handler(b, append(test.options, boxo.WithPrometheusRegistry(prometheus.NewRegistry()))...)
			u := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				asked = append(asked, r.URL.RequestURI())
				mu.Unlock()
				handler.ServeHTTP(w, r)
			}))
			r := newRouter(t, Config{Mode: ModeDelegated, Delegated: []*url.URL{u}, FilterAddrs: []string{"tcp", unknownProtocol}})
			all, err := collect(r.FindProviders(testContext(t), c))
			if err != nil || len(all) != 2 || all[0].ID != ours || all[1].ID != web {
				t.Errorf("got %v, %v, want %v and %v", all, err, ours, web)
			} else if p := all[0]; len(p.Addrs) != 1 || p.Addrs[0].String() != addr || p.Source != u.Host ||
				!slices.Equal(p.Protocols, []string{"transport-bitswap"}) {
				t.Errorf("got %+v, want %s and bitswap from %s", p, addr, u.Host)
			}
			mu.Lock()
			want := "/routing/v1/providers/" + c.String() +
				"?filter-addrs=tcp,unknown&filter-protocols=transport-bitswap,transport-ipfs-gateway-http,unknown"
			if asked[0] != want {
				t.Errorf("got %s asked for, want %s", asked[0], want)
			}
			mu.Unlock()
			if all, err := collect(r.FindProviders(testContext(t), newCID(t))); err != nil || len(all) != 0 {
				t.Errorf("got %v, %v for an unknown CID, want nothing", all, err)
			}
			peers, err := collect(r.FindPeer(testContext(t), ours))
			if err != nil || len(peers) != 1 || peers[0].ID != ours || peers[0].Addrs[0].String() != addr {
				t.Errorf("got %v, %v, want %s", peers, err, addr)
			}
			if peers, err = collect(r.ClosestPeers(testContext(t), string(c.Hash()))); err != nil || len(peers) != 2 {
				t.Errorf("got %v, %v, want two peers", peers, err)
			}
			key, records := newRecords(t, 2)
			if _, err := r.GetValue(testContext(t), key); !errors.Is(err, ErrNotFound) {
				t.Errorf("got %v, want %v", err, ErrNotFound)
			}
			if err := r.PutValue(testContext(t), key, records[1]); err != nil {
				t.Fatal(err)
			}
			if got, err := r.GetValue(testContext(t), key); err != nil || !bytes.Equal(got, records[1]) {
				t.Errorf("got %d bytes, %v, want the record", len(got), err)
			}
			if err := r.Provide(testContext(t), c); !errors.Is(err, ErrNoSource) {
				t.Errorf("got %v, want %v", err, ErrNoSource)
			}
		})
	}
}

// TestRedirects: the client follows few redirects, and none from https to http.
func TestRedirects(t *testing.T) {
	requests := 0
	var target *url.URL
	u := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		http.Redirect(w, r, target.String(), http.StatusFound)
	}))
	target = u
	r := newRouter(t, Config{Mode: ModeDelegated, Delegated: []*url.URL{u}})
	if _, err := collect(r.FindProviders(testContext(t), newCID(t))); err == nil || !strings.Contains(err.Error(), "redirects") {
		t.Errorf("got %v, want too many redirects", err)
	}
	if requests != maxRedirects+1 {
		t.Errorf("got %d requests, want %d", requests, maxRedirects+1)
	}
	check := httpClient(nil).CheckRedirect
	secure, plain := &http.Request{URL: &url.URL{Scheme: "https"}}, &http.Request{URL: &url.URL{Scheme: "http"}}
	if check(plain, []*http.Request{secure}) == nil {
		t.Error("got no error for a redirect from https to http, want one")
	}
	if err := check(secure, []*http.Request{plain}); err != nil {
		t.Errorf("got %v for one from http to https, want nil", err)
	}
}
