package sources

import (
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/exchange"
	"github.com/cairn-ipfs/cairn/internal/simnet"
	"github.com/cairn-ipfs/cairn/internal/trustless"
	"github.com/ipfs/go-cid"
)

// A slowLine carries a handler's answers at rate bytes a second.
type slowLine struct {
	h    http.Handler
	rate int
}

func (l slowLine) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	l.h.ServeHTTP(w, r)
	resp := w.Result()
	resp.Body = slowBody{resp.Body, r, l.rate}
	return resp, nil
}

type slowBody struct {
	io.ReadCloser
	r    *http.Request
	rate int
}

func (b slowBody) Read(p []byte) (int, error) {
	select {
	case <-time.After(time.Second):
	case <-b.r.Context().Done():
		return 0, b.r.Context().Err()
	}
	return b.ReadCloser.Read(p[:min(len(p), b.rate)])
}

// A block may take longer than Config.Stall while bytes arrive, but not forever.
func TestSlowSource(t *testing.T) {
	for _, c := range []struct {
		what string
		rate int
		wrap func(http.Handler) http.Handler
		want error
	}{
		{"streams", 30_000, func(h http.Handler) http.Handler { return h }, nil},
		{"sends single blocks", 30_000, func(h http.Handler) http.Handler { return rawOnly{h} }, nil},
		{"is found", 30_000, func(h http.Handler) http.Handler { return rawOnly{h} }, nil},
		{"is found, and too slow", 3_000, func(h http.Handler) http.Handler { return rawOnly{h} }, exchange.ErrStalled},
		{"streams too slowly", 3_000, func(h http.Handler) http.Handler { return h }, exchange.ErrStalled},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				k, err := block.New(block.Raw, make([]byte, block.MaxSize))
				f.check(err)
				f.check(f.theirs.Put(t.Context(), k))
				line := slowLine{c.wrap(trustless.NewHandler(trustless.Config{Blocks: f.theirs})), c.rate}
				src := newGateway(&url.URL{Scheme: "http", Host: "x"}, &http.Client{Transport: line})
				conf, o, from := exchange.Config{}, exchange.Options{From: []exchange.Source{src}}, []exchange.Source{src}
				if strings.HasPrefix(c.what, "is found") {
					conf.Sources = func(context.Context, cid.Cid, bool) iter.Seq[exchange.Source] { return slices.Values(from) }
					o = exchange.Options{}
				}
				if _, err := f.syncWith(conf, k.CID(), o); !errors.Is(err, c.want) {
					t.Errorf("got %v, want %v", err, c.want)
				}
			})
		})
	}
}

// The same holds for a bitswap peer on a slow link.
func TestSlowPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		net := simnet.New(simnet.Link{RTT: 50 * time.Millisecond, Bandwidth: 240_000})
		defer net.Close()
		us, they := net.Host(t), net.Host(t)
		defer us.Close()
		defer they.Close()
		ours, theirs := f.bitswap(us), f.bitswap(they)
		defer ours.Close()
		defer theirs.Close()
		us.Peerstore().AddAddrs(they.ID(), they.Addrs(), time.Hour)
		k, err := block.New(block.Raw, make([]byte, block.MaxSize))
		f.check(err)
		f.check(f.theirs.Put(t.Context(), k))
		src := (&peers{host: us, bitswap: ours, connect: us.Connect}).peer(they.ID(), nil)
		_, err = f.syncWith(exchange.Config{}, k.CID(), exchange.Options{From: []exchange.Source{src}})
		f.check(err)
	})
}
