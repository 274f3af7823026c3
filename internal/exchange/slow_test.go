package exchange

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
	"github.com/cairn-ipfs/cairn/internal/simnet"
	"github.com/cairn-ipfs/cairn/internal/trustless"
	"github.com/ipfs/go-cid"
)

// A slowLine carries what a handler answers, so many bytes a second.
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

// A block may take longer than Stall, as long as something comes; but not for
// ever.
func TestSlowSource(t *testing.T) {
	for _, c := range []struct {
		what string
		rate int
		wrap func(http.Handler) http.Handler
		want error
	}{
		{"streams", 30_000, func(h http.Handler) http.Handler { return h }, nil},
		{"is asked", 30_000, func(h http.Handler) http.Handler { return rawOnly{h} }, nil},
		{"is found", 30_000, func(h http.Handler) http.Handler { return rawOnly{h} }, nil},
		{"is found and sends hardly anything", 3_000, func(h http.Handler) http.Handler { return rawOnly{h} }, ErrStalled},
		{"streams hardly anything", 3_000, func(h http.Handler) http.Handler { return h }, ErrStalled},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				k, err := block.New(block.Raw, make([]byte, block.MaxSize))
				b.check(err)
				b.check(b.theirs.Put(t.Context(), k))
				line := slowLine{c.wrap(trustless.NewHandler(trustless.Config{Blocks: b.theirs})), c.rate}
				src := NewGateway(&url.URL{Scheme: "http", Host: "x"}, &http.Client{Transport: line})
				conf, o, from := Config{}, Options{From: []Source{src}}, []Source{src}
				if strings.HasPrefix(c.what, "is found") {
					conf.Sources = func(context.Context, cid.Cid) iter.Seq[Source] { return slices.Values(from) }
					o = Options{}
				}
				if _, err := b.sync(conf, k.CID(), o); !errors.Is(err, c.want) {
					t.Errorf("got %v, want %v", err, c.want)
				}
			})
		})
	}
}

// So it is with a peer at the end of a slow line.
func TestSlowPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		net := simnet.New(simnet.Link{RTT: 50 * time.Millisecond, Bandwidth: 240_000})
		defer net.Close()
		us, they := net.Host(t), net.Host(t)
		defer us.Close()
		defer they.Close()
		ours, theirs := b.bitswap(us), b.bitswap(they)
		defer ours.Close()
		defer theirs.Close()
		us.Peerstore().AddAddrs(they.ID(), they.Addrs(), time.Hour)
		k, err := block.New(block.Raw, make([]byte, block.MaxSize))
		b.check(err)
		b.check(b.theirs.Put(t.Context(), k))
		src := (&Peers{Host: us, Bitswap: ours}).Peer(they.ID())
		_, err = b.sync(Config{}, k.CID(), Options{From: []Source{src}})
		b.check(err)
	})
}
