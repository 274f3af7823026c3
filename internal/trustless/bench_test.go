package trustless

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/store"
)

const benchSize = 256 << 20

// openStore opens a store on disk.
func openStore(b *testing.B) *store.Store {
	b.Helper()
	s, err := store.Open(context.Background(), b.TempDir(), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// drain reads a response to its end and counts its bytes.
func drain(b *testing.B, c *http.Client, url string) int64 {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), "GET", url, nil)
	if err != nil {
		b.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || resp.StatusCode != 200 {
		b.Fatalf("%s, %v", resp.Status, err)
	}
	return n
}

// verify gets a DAG, and expects exactly its blocks.
func verify(b *testing.B, c *Client, root cid.Cid, rq Request, skip func(cid.Cid) bool) (n int, bytes int64) {
	b.Helper()
	r, err := c.DAG(b.Context(), root, rq)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	a := newJudge(root, skip)
	for blk, err := range r.Blocks() {
		if err != nil {
			b.Fatal(err)
		}
		if !a.accept(b, blk) {
			b.Fatalf("got %s, which was not asked for", blk.CID())
		}
		n++
		bytes += int64(blk.Size())
	}
	if n := a.missing(); n != 0 {
		b.Fatalf("%d blocks are missing", n)
	}
	return n, bytes
}

// BenchmarkCAR sends 256 MiB as a CAR, and as a file by net/http.
func BenchmarkCAR(b *testing.B) {
	data := random(benchSize, 1)
	path := filepath.Join(b.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		b.Fatal(err)
	}
	s := openStore(b)
	root := addFile(b, s, data, wide())
	if err := s.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	handler := NewHandler(Config{Blocks: s})
	file := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, path) })
	url := "/ipfs/" + root.String() + "?format=car"
	run := func(name string, e func(testing.TB, http.Handler) endpoint, h http.Handler, get func(b *testing.B, e endpoint)) {
		b.Run(name, func(b *testing.B) {
			at := e(b, h)
			b.SetBytes(benchSize)
			for b.Loop() {
				get(b, at)
			}
		})
	}
	plain := func(path string) func(*testing.B, endpoint) {
		return func(b *testing.B, e endpoint) { drain(b, e.client.HTTP, e.client.Base.JoinPath("/").String()+path[1:]) }
	}
	checked := func(b *testing.B, e endpoint) { verify(b, e.client, root, Request{}, nil) }
	run("http/net-http-file", overHTTP, file, plain("/file"))
	run("http/car", overHTTP, handler, plain(url))
	run("http/car-verified", overHTTP, handler, checked)
	run("http2/net-http-file", overHTTP2, file, plain("/file"))
	run("http2/car", overHTTP2, handler, plain(url))
	run("http2/car-verified", overHTTP2, handler, checked)
	b.Run("stream/raw", func(b *testing.B) { rawStream(b, data) })
	run("stream/car", overStreams, handler, plain(url))
	run("stream/car-verified", overStreams, handler, checked)
}

// rawStream sends bytes over one libp2p stream.
func rawStream(b *testing.B, data []byte) {
	server, client := newHost(b), newHost(b)
	server.SetStreamHandler("/bench", func(s network.Stream) {
		for p := data; len(p) > 0; {
			n, err := s.Write(p[:min(len(p), 64<<10)])
			if err != nil {
				return
			}
			p = p[n:]
		}
		s.Close()
	})
	connect(b, client, server)
	b.SetBytes(int64(len(data)))
	buffer := make([]byte, 64<<10)
	for b.Loop() {
		s, err := client.NewStream(b.Context(), server.ID(), "/bench")
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{s}, buffer)
		if err != nil || n != int64(len(data)) {
			b.Fatal(n, err)
		}
		s.Close()
	}
}

// BenchmarkChain gets a chain of 10,000 blocks of some 240 bytes.
func BenchmarkChain(b *testing.B) {
	s := openStore(b)
	root := chain(b, s, 10_000)
	if err := s.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"http", "http2", "streams"} {
		b.Run(name, func(b *testing.B) {
			e := transports[name](b, NewHandler(Config{Blocks: s}))
			for b.Loop() {
				if n, _ := verify(b, e.client, root, Request{}, nil); n != 10_000 {
					b.Fatal(n)
				}
			}
		})
	}
}

// BenchmarkHave gets a tree of 12,800 files, one in 200 of which changed, with and
// without have.
func BenchmarkHave(b *testing.B) {
	s := openStore(b)
	files := fstest.MapFS{}
	for i := range 12_800 {
		files[fmt.Sprintf("d%03d/f%03d", i/100, i%100)] = &fstest.MapFile{Data: random(8000, uint64(i))}
	}
	p := wide()
	old := addTree(b, s, files, p)
	changed := int64(0)
	for i := 0; i < 12_800; i += 200 {
		files[fmt.Sprintf("d%03d/f%03d", i/100, i%100)] = &fstest.MapFile{Data: random(8000, uint64(1<<40+i))}
		changed += 8000
	}
	root := addTree(b, s, files, p)
	if err := s.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	held := map[cid.Cid]bool{}
	for _, c := range dagOf(b, s, old) {
		held[c] = true
	}
	e := overHTTP(b, NewHandler(Config{Blocks: s}))
	for _, c := range []struct {
		name string
		rq   Request
		skip func(cid.Cid) bool
	}{
		{"whole", Request{}, nil},
		{"have", Request{Have: []cid.Cid{old}}, func(c cid.Cid) bool { return held[c] }},
		{"have, no leaves", Request{Have: []cid.Cid{old}, NoLeaves: true}, func(c cid.Cid) bool { return held[c] || c.Type() == block.Raw }},
	} {
		b.Run(c.name, func(b *testing.B) {
			var n int
			var bytes int64
			for b.Loop() {
				n, bytes = verify(b, e.client, root, c.rq, c.skip)
			}
			b.ReportMetric(float64(n), "blocks/op")
			b.ReportMetric(float64(bytes)/float64(changed), "bytes/changed")
		})
	}
}

// BenchmarkRaw asks for one block repeatedly over one connection, and for a file of
// that size by net/http.
func BenchmarkRaw(b *testing.B) {
	s := openStore(b)
	leaf := rawBlock(b, random(32<<10, 1))
	put(b, s, leaf)
	if err := s.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(b.TempDir(), "file")
	if err := os.WriteFile(path, leaf.Data(), 0o600); err != nil {
		b.Fatal(err)
	}
	file := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, path) })
	for name, h := range map[string]http.Handler{"net-http-file": file, "block": NewHandler(Config{Blocks: s, MaxEach: 100})} {
		b.Run(name, func(b *testing.B) {
			server := httptest.NewServer(h)
			defer server.Close()
			request := "GET /ipfs/" + leaf.CID().String() + "?format=raw HTTP/1.1\r\nHost: x\r\n\r\n"
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				c, err := net.Dial("tcp", server.Listener.Addr().String())
				if err != nil {
					b.Error(err)
					return
				}
				defer c.Close()
				r := bufio.NewReaderSize(c, 64<<10)
				for pb.Next() {
					io.WriteString(c, request)
					resp, err := http.ReadResponse(r, nil)
					if err != nil {
						b.Error(err)
						return
					}
					io.Copy(io.Discard, resp.Body)
				}
			})
		})
	}
}

// BenchmarkBlocks asks for small blocks one after the other.
func BenchmarkBlocks(b *testing.B) {
	s := &blocks{}
	leaf := rawBlock(b, random(1000, 1))
	put(b, s, leaf)
	for _, name := range []string{"http", "http2", "streams"} {
		b.Run(name, func(b *testing.B) {
			e := transports[name](b, NewHandler(Config{Blocks: s}))
			for b.Loop() {
				if _, err := e.client.Block(b.Context(), leaf.CID()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
