package trustless

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/gateway"
	blockformat "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	libp2phttp "github.com/libp2p/go-libp2p/p2p/http"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
)

// boxoServer is boxo's gateway over the blocks of a store, less some.
func boxoServer(t testing.TB, store *blocks, less ...cid.Cid) http.Handler {
	t.Helper()
	bs := blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
	for c, err := range store.Blocks(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(less, c) {
			continue
		}
		b, err := store.Get(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := blockformat.NewBlockWithCid(b.Data(), c)
		if err == nil {
			err = bs.Put(t.Context(), theirs)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	backend, err := gateway.NewBlocksBackend(blockservice.New(bs, offline.Exchange(bs)))
	if err != nil {
		t.Fatal(err)
	}
	return gateway.NewHandler(gateway.Config{MetricsRegistry: prometheus.NewRegistry()}, backend)
}

// TestBoxoServes gets DAGs and blocks from boxo's gateway.
func TestBoxoServes(t *testing.T) {
	store := &blocks{}
	file := addFile(t, store, random(200_000, 1), small())
	dir := addTree(t, store, tree(5, 10, 3000), small())
	head := chain(t, store, 200)
	for name, transport := range transports {
		t.Run(name, func(t *testing.T) {
			e := transport(t, boxoServer(t, store))
			for _, root := range []cid.Cid{file, dir, head} {
				got, r := mustCollect(t, e.client, root, Request{Have: []cid.Cid{file, head}, NoLeaves: true})
				if want := dagOf(t, store, root); !slices.Equal(cidsOf(got), want) {
					t.Errorf("got %d blocks, want %d", len(got), len(want))
				}
				if r.Have != nil || r.NoLeaves {
					t.Errorf("got Have %v, NoLeaves %v of a server without the extension", r.Have, r.NoLeaves)
				}
				entity, _ := mustCollect(t, e.client, root, Request{Scope: ScopeEntity, Bytes: &ByteRange{0, -1}})
				alone, _ := mustCollect(t, e.client, root, Request{Scope: ScopeBlock})
				if len(alone) != 1 || root == file && len(entity) != len(got) || root == dir && len(entity) != 1 {
					t.Errorf("got %d blocks of the entity, %d of the block", len(entity), len(alone))
				}
				b, err := e.client.Block(t.Context(), root)
				if err != nil || b.CID() != root {
					t.Errorf("got %s, %v, want %s", b.CID(), err, root)
				}
			}
			if _, err := e.client.Block(t.Context(), rawBlock(t, []byte("absent")).CID()); !errors.Is(err, block.ErrNotFound) {
				t.Errorf("got %v, want it not found", err)
			}
			eventually(t, "streams closed", e.idle)
		})
	}
}

// TestBoxoEndsCleanly gets a DAG of which boxo lacks a block. Its CAR ends without an
// error, so the client has to count.
func TestBoxoEndsCleanly(t *testing.T) {
	store := &blocks{}
	root := addFile(t, store, random(200_000, 1), small())
	all := dagOf(t, store, root)
	for name, transport := range transports {
		t.Run(name, func(t *testing.T) {
			e := transport(t, boxoServer(t, store, all[100]))
			r, err := e.client.DAG(t.Context(), root, Request{})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			a := newJudge(root, nil)
			var end error
			for b, err := range r.Blocks() {
				if end = err; err != nil {
					break
				}
				if !a.accept(t, b) {
					t.Errorf("got %s, which was not asked for", b.CID())
				}
			}
			if a.missing() == 0 {
				t.Errorf("got a whole DAG without one of its blocks")
			}
			if end != nil {
				t.Errorf("got %v: boxo ends with an error by now: update this test", end)
			}
		})
	}
}

// boxoClient is boxo's gateway with our handler as its backend: it verifies what it
// serves.
func boxoClient(t testing.TB, h http.Handler, new func(url string) (gateway.IPFSBackend, error)) string {
	t.Helper()
	ours := httptest.NewServer(h)
	t.Cleanup(ours.Close)
	backend, err := new(ours.URL)
	if err != nil {
		t.Fatal(err)
	}
	theirs := httptest.NewServer(gateway.NewHandler(gateway.Config{DeserializedResponses: true, MetricsRegistry: prometheus.NewRegistry()}, backend))
	t.Cleanup(theirs.Close)
	return theirs.URL
}

// TestBoxoAsks reads files, parts of files and directories through boxo's
// clients for CARs and for raw blocks.
func TestBoxoAsks(t *testing.T) {
	store := &blocks{}
	data := random(300_000, 1)
	files := fstest.MapFS{"a/b/data": {Data: data}, "a/b/zeros": {Data: make([]byte, 50_000)}, "small": {Data: []byte("small")}}
	for i := range 300 {
		files[fmt.Sprintf("sharded/file%03d", i)] = &fstest.MapFile{Data: random(10+i, uint64(i))}
	}
	p := small()
	p.ShardThreshold = 1000
	v0 := unixfs.V0Profile()
	v0.Name, v0.ChunkSize, v0.Width, v0.ShardThreshold = "", 1000, 8, 1000
	roots := []cid.Cid{addTree(t, store, files, p), addTree(t, store, files, v0)}
	backends := map[string]func(url string) (gateway.IPFSBackend, error){
		"car": func(url string) (gateway.IPFSBackend, error) {
			return gateway.NewRemoteCarBackend([]string{url}, nil, gateway.WithPrometheusRegistry(prometheus.NewRegistry()))
		},
		"raw": func(url string) (gateway.IPFSBackend, error) {
			return gateway.NewRemoteBlocksBackend([]string{url}, nil)
		},
	}
	for name, backend := range backends {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			h := NewHandler(Config{Blocks: store})
			url := boxoClient(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				h.ServeHTTP(w, r)
			}), backend)
			get := func(path, ranges string) (int, string) {
				r, err := http.NewRequestWithContext(t.Context(), "GET", url+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				if ranges != "" {
					r.Header.Set("Range", "bytes="+ranges)
				}
				resp, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				p, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Errorf("%s %s: %v", path, ranges, err)
				}
				return resp.StatusCode, string(p)
			}
			for _, root := range roots {
				at := "/ipfs/" + root.String()
				for path, file := range files {
					if strings.HasPrefix(path, "sharded/") && !strings.HasSuffix(path, "7") {
						continue
					}
					if status, got := get(at+"/"+path, ""); status != 200 || got != string(file.Data) {
						t.Errorf("%s: got %d and %d bytes, want 200 and %d", path, status, len(got), len(file.Data))
					}
				}
				for _, r := range []struct {
					ranges     string
					begin, end int
				}{{"1500-1600", 1500, 1601}, {"7999-8000", 7999, 8001}, {"100000-199999", 100_000, 200_000}, {"-10", 299_990, 300_000}, {"299000-", 299_000, 300_000}} {
					if status, got := get(at+"/a/b/data", r.ranges); status != 206 || got != string(data[r.begin:r.end]) {
						t.Errorf("%s: got %d and %d bytes, want 206 and %d", r.ranges, status, len(got), r.end-r.begin)
					}
				}
				if status, got := get(at+"/sharded/", ""); status != 200 || !strings.Contains(got, "file299") {
					t.Errorf("a sharded directory: got %d and %d bytes", status, len(got))
				}
				if status, _ := get(at+"/nothing", ""); status != 404 {
					t.Errorf("what isn't there: got %d, want 404", status)
				}
				// (boxo's backend for CARs can't make a tar of what it got.)
				if name == "raw" {
					if status, got := get(at+"/a?format=tar", ""); status != 200 || !strings.Contains(got, string(data[1000:2000])) {
						t.Errorf("as tar: got %d and %d bytes", status, len(got))
					}
				}
			}
			if asked.Load() == 0 {
				t.Error("nothing came from our handler")
			}
		})
	}
}

// TestEntity compares the blocks of entity and entity-bytes with boxo's, which sends
// a few more to find the beginning.
func TestEntity(t *testing.T) {
	store := &blocks{}
	data := random(100_000, 1)
	file := addFile(t, store, data, small())
	repeated := addFile(t, store, bytes.Repeat(random(8000, 2), 12), small())
	ours := NewHandler(Config{Blocks: store})
	theirs := boxoServer(t, store)
	for _, root := range []cid.Cid{file, repeated} {
		size := int64(100_000)
		if root == repeated {
			size = 96_000
		}
		for _, r := range []ByteRange{{0, -1}, {0, 0}, {999, 1000}, {5000, 8999}, {7000, 9000}, {12_345, 67_890}, {-1000, -1}, {-20_000, -10_000}, {90_000, 200_000}, {499, -1000}, {-200_000, 10}} {
			target := "/ipfs/" + root.String() + "?format=car&dag-scope=entity&entity-bytes=" + r.String()
			_, got := carOf(t, ask(ours, "GET", target))
			// These blocks suffice to read the range.
			have := &blocks{}
			for _, c := range got {
				b, err := store.Get(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				put(t, have, b)
			}
			f, err := unixfs.Open(t.Context(), have, root)
			if err != nil {
				t.Fatal(err)
			}
			begin, end := r.within(size)
			part := make([]byte, end-begin)
			if _, err := f.ReadAt(part, begin); err != nil {
				t.Errorf("%s: the blocks sent don't hold it: %v", r, err)
			}
			f.Close()
			seen := map[cid.Cid]bool{}
			for _, c := range got {
				if seen[c] {
					t.Errorf("%s: a block twice", r)
				}
				seen[c] = true
			}
			// Each of them is needed.
			for _, c := range got {
				lacking := getterFunc(func(ctx context.Context, k cid.Cid) (block.Block, error) {
					if k == c {
						return block.Block{}, block.ErrNotFound
					}
					return have.Get(ctx, k)
				})
				f, err := unixfs.Open(t.Context(), lacking, root)
				if err == nil {
					_, err = f.ReadAt(part, begin)
					f.Close()
				}
				if !errors.Is(err, block.ErrNotFound) {
					t.Errorf("%s: %s isn't needed", r, c)
				}
			}
			// boxo fails after the end of a file.
			if r.To < size && r.From > -size {
				if _, want := carOf(t, ask(theirs, "GET", target)); len(got) > len(want) {
					t.Errorf("%s: got %d blocks, boxo sends %d", r, len(got), len(want))
				}
			}
		}
		_, got := carOf(t, ask(ours, "GET", "/ipfs/"+root.String()+"?format=car&dag-scope=entity"))
		if want := dagOf(t, store, root); !slices.Equal(got, want) {
			t.Errorf("a whole file: got %d blocks, want %d", len(got), len(want))
		}
		for _, outside := range []string{"100000:*", "200000:300000", "-300000:-200000"} {
			if r := ask(ours, "GET", "/ipfs/"+root.String()+"?format=car&entity-bytes="+outside); r.StatusCode != 400 {
				t.Errorf("entity-bytes=%s: got %s, want 400", outside, r.Status)
			}
		}
	}
}

// TestEntityScopes compares the blocks of directories and other data with boxo's.
func TestEntityScopes(t *testing.T) {
	store := &blocks{}
	p := small()
	p.ShardThreshold = 1000
	empty := addFile(t, store, nil, small())
	link := cborBlock(t, nil, empty)
	put(t, store, link)
	roots := map[string]cid.Cid{
		"directory": addTree(t, store, tree(3, 3, 3000), small()),
		"sharded":   addTree(t, store, fstest.MapFS(flat(400)), p),
		"empty":     empty,
		"dag-cbor":  link.CID(),
	}
	ours, theirs := NewHandler(Config{Blocks: store}), boxoServer(t, store)
	for name, root := range roots {
		for _, query := range []string{"dag-scope=entity", "dag-scope=block", "dag-scope=entity&entity-bytes=0:*"} {
			target := "/ipfs/" + root.String() + "?format=car&" + query
			_, got := carOf(t, ask(ours, "GET", target))
			_, want := carOf(t, ask(theirs, "GET", target))
			if !slices.Equal(got, want) {
				t.Errorf("%s, %s: got%s, boxo sends%s", name, query, short(got), short(want))
			}
			if name == "sharded" && query != "dag-scope=block" && len(got) < 10 {
				t.Errorf("%s, %s: got %d blocks, want all shards", name, query, len(got))
			}
		}
	}
}

func flat(n int) map[string]*fstest.MapFile {
	m := map[string]*fstest.MapFile{}
	for i := range n {
		m[fmt.Sprintf("file%04d", i)] = &fstest.MapFile{Data: random(10, uint64(i))}
	}
	return m
}

// TestStockStreams runs against go-libp2p's HTTP over streams, as client and as
// server.
func TestStockStreams(t *testing.T) {
	store := &blocks{}
	root := addFile(t, store, random(500_000, 1), small())
	want := dagOf(t, store, root)

	t.Run("their client", func(t *testing.T) {
		server, client := newHost(t), newHost(t)
		closeAll := Serve(server, NewHandler(Config{Blocks: store}), ServeConfig{})
		defer closeAll()
		connect(t, client, server)
		theirs := &libp2phttp.Host{StreamHost: client}
		hc, err := theirs.NamespacedClient("/ipfs/gateway", peerInfo(server))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := hc.Get("/ipfs/" + root.String() + "?format=car")
		if err != nil {
			t.Fatal(err)
		}
		_, got := carOf(t, resp)
		resp.Body.Close()
		if !slices.Equal(got, want) {
			t.Errorf("got %d blocks, want %d", len(got), len(want))
		}
	})
	t.Run("their server", func(t *testing.T) {
		server, client := newHost(t), newHost(t)
		theirs := &libp2phttp.Host{StreamHost: server}
		theirs.SetHTTPHandlerAtPath("/ipfs/gateway", "/", NewHandler(Config{Blocks: store}))
		served := make(chan error)
		go func() { served <- theirs.Serve() }()
		defer func() { theirs.Close(); <-served }()
		connect(t, client, server)
		rt := Transport(client, server.ID())
		c := &Client{HTTP: &http.Client{Transport: rt}, Base: StreamURL(server.ID())}
		eventually(t, "their server answers", func() bool {
			speaks, err := client.Peerstore().SupportsProtocols(server.ID(), StreamProtocol)
			return err == nil && len(speaks) > 0
		})
		got, _ := mustCollect(t, c, root, Request{})
		if !slices.Equal(cidsOf(got), want) {
			t.Errorf("got %d blocks, want %d", len(got), len(want))
		}
	})
}
