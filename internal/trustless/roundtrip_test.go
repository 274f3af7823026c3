package trustless

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/ipfs/go-cid"
)

// TestDAGs sends DAGs of several shapes over all transports, and expects the blocks of
// a walk, in its order.
func TestDAGs(t *testing.T) {
	store := &blocks{}
	leaf := rawBlock(t, []byte("a leaf"))
	shared := cborBlock(t, nil, leaf.CID())
	diamond := cborBlock(t, nil, shared.CID(), leaf.CID(), shared.CID())
	inline := cid.NewCidV1(block.DagCBOR, identityHash(t, cborBlock(t, nil, leaf.CID()).Data()))
	through := cborBlock(t, []byte("x"), inline)
	put(t, store, leaf, shared, diamond, through)
	many := unixfs.V1Profile()
	many.ShardThreshold = 1000
	roots := map[string]cid.Cid{
		"leaf":             leaf.CID(),
		"diamond":          diamond.CID(),
		"identity, linked": through.CID(),
		"identity, root":   inline,
		"file":             addFile(t, store, random(100_000, 1), small()),
		"zeros":            addFile(t, store, make([]byte, 100_000), small()),
		"v0":               addFile(t, store, random(600_000, 2), unixfs.V0Profile()),
		"large leaves":     addFile(t, store, random(9<<20, 3), unixfs.V1Profile()),
		"tree":             addTree(t, store, tree(10, 30, 3000), small()),
		"sharded":          addTree(t, store, tree(3, 300, 10), many),
		"chain":            chain(t, store, 3000),
	}
	for name, transport := range transports {
		e := transport(t, NewHandler(Config{Blocks: store}))
		for shape, root := range roots {
			t.Run(name+"/"+shape, func(t *testing.T) {
				want := dagOf(t, store, root)
				if block.IsIdentity(root) {
					want = want[1:] // which the CID itself holds
				}
				got, r := mustCollect(t, e.client, root, Request{})
				if !slices.Equal(cidsOf(got), want) {
					t.Errorf("got %d blocks%s, want %d%s", len(got), short(cidsOf(got)), len(want), short(want))
				}
				if r.Have != nil || r.NoLeaves {
					t.Errorf("got Have %v, NoLeaves %v, want neither", r.Have, r.NoLeaves)
				}
				noLeaves, r := mustCollect(t, e.client, root, Request{NoLeaves: true})
				wantLess := slices.DeleteFunc(slices.Clone(want), func(c cid.Cid) bool { return c.Type() == block.Raw && c != root })
				if !r.NoLeaves || !slices.Equal(cidsOf(noLeaves), wantLess) {
					t.Errorf("leaves=n: got %d blocks and NoLeaves %v, want %d and true", len(noLeaves), r.NoLeaves, len(wantLess))
				}
			})
		}
		eventually(t, name+": streams closed", e.idle)
	}
}

func TestBlock(t *testing.T) {
	store := &blocks{}
	largest, empty := rawBlock(t, random(block.MaxSize, 1)), rawBlock(t, nil)
	put(t, store, largest, empty)
	for name, transport := range transports {
		t.Run(name, func(t *testing.T) {
			e := transport(t, NewHandler(Config{Blocks: store}))
			for _, want := range []block.Block{largest, empty} {
				got, err := e.client.Block(t.Context(), want.CID())
				if err != nil || string(got.Data()) != string(want.Data()) {
					t.Errorf("got %d bytes and %v, want %d", got.Size(), err, want.Size())
				}
			}
			gets := store.gets.Load()
			if b, err := e.client.Block(t.Context(), probe); err != nil || b.Size() != 0 || store.gets.Load() != gets {
				t.Errorf("an identity CID: got %d bytes, %v, want none, and no request", b.Size(), err)
			}
			absent := rawBlock(t, []byte("absent")).CID()
			if _, err := e.client.Block(t.Context(), absent); !errors.Is(err, block.ErrNotFound) || statusOf(err) != 404 {
				t.Errorf("absent: got %v, want a 404 that wraps ErrNotFound", err)
			}
			if _, err := e.client.DAG(t.Context(), absent, Request{}); !errors.Is(err, block.ErrNotFound) || statusOf(err) != 404 {
				t.Errorf("absent DAG: got %v, want a 404 that wraps ErrNotFound", err)
			}
			eventually(t, "streams closed", e.idle)
		})
	}
}

// TestMissingChild expects a CAR to be aborted at a missing block, after those before
// it.
func TestMissingChild(t *testing.T) {
	store := &blocks{}
	root := addFile(t, store, random(500_000, 1), small())
	all := dagOf(t, store, root)
	for _, at := range []int{1, 5, len(all) - 1} {
		lacking := &blocks{}
		for _, c := range all {
			b, err := store.Get(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			put(t, lacking, b)
		}
		if err := lacking.Delete(t.Context(), all[at]); err != nil {
			t.Fatal(err)
		}
		for name, transport := range transports {
			t.Run(fmt.Sprintf("%s/%d", name, at), func(t *testing.T) {
				e := transport(t, NewHandler(Config{Blocks: lacking}))
				got, _, err := collect(t, e.client, root, Request{})
				if err == nil {
					t.Fatalf("got a clean end after %d blocks, want an error", len(got))
				}
				// A reader drops what is buffered when the end is an error.
				if len(got) > at || len(got) < at-1 || !slices.Equal(cidsOf(got), all[:len(got)]) {
					t.Errorf("got %d blocks, want the %d before the missing one", len(got), at)
				}
				eventually(t, "streams closed", e.idle)
			})
		}
	}
}

// TestCancel cancels within a DAG, in each way, and expects nothing to be left over
// on either side.
func TestCancel(t *testing.T) {
	store := &blocks{}
	root := addFile(t, store, random(30<<20, 1), unixfs.V1Profile())
	for name, transport := range transports {
		for _, how := range []string{"close", "context", "break"} {
			t.Run(name+"/"+how, func(t *testing.T) {
				serving := make(chan struct{}, 1)
				h := NewHandler(Config{Blocks: store})
				e := transport(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					defer func() { serving <- struct{}{} }()
					h.ServeHTTP(w, r)
				}))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				r, err := e.client.DAG(ctx, root, Request{})
				if err != nil {
					t.Fatal(err)
				}
				n := 0
				for _, err := range r.Blocks() {
					if n++; n == 3 {
						switch how {
						case "close":
							r.Close()
						case "context":
							cancel()
						}
					}
					if err != nil {
						if !errors.Is(err, context.Canceled) {
							t.Errorf("got %v, want it canceled", err)
						}
						break
					}
					if n == 3 && how == "break" {
						break
					}
				}
				if n >= 30 {
					t.Errorf("got all %d blocks, want an end before", n)
				}
				r.Close()
				<-serving // the handler has returned
				eventually(t, "streams closed", e.idle)
			})
		}
	}
}

// TestManyRequests asks for thousands of blocks, concurrently and in sequence.
func TestManyRequests(t *testing.T) {
	store := &blocks{}
	var all []block.Block
	for i := range 3000 {
		all = append(all, rawBlock(t, random(100, uint64(i))))
	}
	put(t, store, all...)
	for name, transport := range transports {
		t.Run(name, func(t *testing.T) {
			e := transport(t, NewHandler(Config{Blocks: store}))
			work := make(chan block.Block)
			done := make(chan error)
			const workers = 16
			for range workers {
				go func() {
					var failed error
					for want := range work {
						got, err := e.client.Block(t.Context(), want.CID())
						if err == nil && string(got.Data()) != string(want.Data()) {
							err = io.ErrUnexpectedEOF
						}
						failed = errors.Join(failed, err)
					}
					done <- failed
				}()
			}
			for _, b := range all {
				work <- b
			}
			close(work)
			for range workers {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			eventually(t, "streams closed", e.idle)
		})
	}
}

// TestConnectionsAreKept expects one connection for many requests, also refused ones.
func TestConnectionsAreKept(t *testing.T) {
	store := &blocks{}
	root := addFile(t, store, random(3<<20, 1), wide())
	var made atomic.Int64
	server := httptest.NewUnstartedServer(NewHandler(Config{Blocks: store}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			made.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := NewHTTPTransport(nil)
	defer transport.CloseIdleConnections()
	c := &Client{HTTP: &http.Client{Transport: transport}, Base: base}
	for range 20 {
		if _, err := c.Block(t.Context(), root); err != nil {
			t.Fatal(err)
		}
		mustCollect(t, c, root, Request{})
		if _, err := c.Block(t.Context(), rawBlock(t, []byte("absent")).CID()); !errors.Is(err, block.ErrNotFound) {
			t.Fatal(err)
		}
	}
	// net/http closes a connection whose writer isn't scheduled within 50 ms of
	// the answer.
	if made.Load() > 5 {
		t.Errorf("got %d connections for 60 requests, want one, or hardly more", made.Load())
	}
}
