package trustless

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/block/blocktest"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
)

// blocks counts reads and lookups.
type blocks struct {
	blocktest.Mem
	gets, sizes, has atomic.Int64
	// hold, if set, is called before each Get.
	hold func(ctx context.Context, c cid.Cid)
}

func (b *blocks) Get(ctx context.Context, c cid.Cid) (block.Block, error) {
	b.gets.Add(1)
	if b.hold != nil {
		b.hold(ctx, c)
	}
	return b.Mem.Get(ctx, c)
}

func (b *blocks) Size(ctx context.Context, c cid.Cid) (int, error) {
	b.sizes.Add(1)
	return b.Mem.Size(ctx, c)
}

func (b *blocks) Has(ctx context.Context, c cid.Cid) (bool, error) {
	b.has.Add(1)
	return b.Mem.Has(ctx, c)
}

// random returns bytes that are the same for the same seed.
func random(n int, seed uint64) []byte {
	p := make([]byte, n)
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	rand.NewChaCha8(key).Read(p)
	return p
}

func small() unixfs.Profile {
	p := unixfs.V1Profile()
	p.Name, p.ChunkSize, p.Width = "", 1000, 8
	return p
}

func addFile(t testing.TB, to block.Putter, data []byte, p unixfs.Profile) cid.Cid {
	t.Helper()
	r, err := unixfs.Import(t.Context(), to, bytes.NewReader(data), unixfs.Options{Profile: p})
	if err != nil {
		t.Fatal(err)
	}
	return r.CID
}

func addTree(t testing.TB, to block.Putter, tree fs.FS, p unixfs.Profile) cid.Cid {
	t.Helper()
	r, err := unixfs.ImportFS(t.Context(), to, tree, unixfs.Options{Profile: p})
	if err != nil {
		t.Fatal(err)
	}
	return r.CID
}

// tree is a directory of directories of files.
func tree(dirs, files, size int) fstest.MapFS {
	m := fstest.MapFS{}
	for d := range dirs {
		for f := range files {
			m[fmt.Sprintf("dir%03d/file%03d", d, f)] = &fstest.MapFile{Data: random(size, uint64(d*files+f))}
		}
	}
	return m
}

// What cborBlock writes: major types of CBOR, and the tag of a link.
const (
	cborBytes = 2
	cborArray = 4
	linkTag   = 42
)

// cborBlock makes a dag-cbor block {"pad": bytes, "links": [...]}.
func cborBlock(t testing.TB, pad []byte, links ...cid.Cid) block.Block {
	t.Helper()
	p := cborHead([]byte("\xa2\x63pad"), cborBytes, len(pad))
	p = append(append(p, pad...), "\x65links"...)
	p = cborHead(p, cborArray, len(links))
	for _, c := range links {
		p = cborHead(append(p, 0xd8, linkTag), cborBytes, 1+c.ByteLen())
		p = append(append(p, 0), c.Bytes()...)
	}
	b, err := block.New(block.DagCBOR, p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// cborHead appends the head of an item, in the shortest form.
func cborHead(p []byte, major byte, n int) []byte {
	switch {
	case n < 24:
		return append(p, major<<5|byte(n))
	case n < 1<<8:
		return append(p, major<<5|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(p, major<<5|25), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(p, major<<5|26), uint32(n))
}

func rawBlock(t testing.TB, data []byte) block.Block {
	t.Helper()
	b, err := block.New(block.Raw, data)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t testing.TB, to block.Putter, blocks ...block.Block) {
	t.Helper()
	if err := to.Put(t.Context(), blocks...); err != nil {
		t.Fatal(err)
	}
}

// chain puts a chain of blocks of some 240 bytes and returns its head.
func chain(t testing.TB, to block.Putter, n int) cid.Cid {
	t.Helper()
	var head []cid.Cid
	for i := range n {
		b := cborBlock(t, random(180, uint64(i)), head...)
		put(t, to, b)
		head = []cid.Cid{b.CID()}
	}
	return head[0]
}

// dagOf returns the CIDs that a walk of internal/dag visits.
func dagOf(t testing.TB, get block.Getter, root cid.Cid) []cid.Cid {
	t.Helper()
	var cids []cid.Cid
	for s, err := range dag.Walk(t.Context(), get, []cid.Cid{root}, dag.WalkOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		cids = append(cids, s.CID)
	}
	return cids
}

// An endpoint is a server and a client of it.
type endpoint struct {
	client *Client
	// idle reports whether no request is served and no stream open.
	idle func() bool
}

// overHTTP serves a handler on loopback.
func overHTTP(t testing.TB, h http.Handler) endpoint {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := NewHTTPTransport(nil)
	t.Cleanup(transport.CloseIdleConnections)
	return endpoint{client: &Client{HTTP: &http.Client{Transport: transport}, Base: base}, idle: func() bool { return true }}
}

// overHTTP2 serves a handler on loopback with TLS.
func overHTTP2(t testing.TB, h http.Handler) endpoint {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := NewHTTPTransport(nil)
	transport.TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig
	t.Cleanup(transport.CloseIdleConnections)
	return endpoint{client: &Client{HTTP: &http.Client{Transport: transport}, Base: base}, idle: func() bool { return true }}
}

func newHost(t testing.TB) host.Host {
	t.Helper()
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableMetrics(), libp2p.DisableRelay())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func connect(t testing.TB, from, to host.Host) {
	t.Helper()
	if err := from.Connect(t.Context(), peerInfo(to)); err != nil {
		t.Fatal(err)
	}
}

// streams counts the streams of the protocol that a host has open.
func streams(h host.Host) int {
	n := 0
	for _, c := range h.Network().Conns() {
		for _, s := range c.GetStreams() {
			if s.Protocol() == StreamProtocol {
				n++
			}
		}
	}
	return n
}

// overStreams serves a handler on libp2p streams over TCP.
func overStreams(t testing.TB, h http.Handler) endpoint {
	t.Helper()
	server, client := newHost(t), newHost(t)
	closeAll := Serve(server, h, ServeConfig{})
	t.Cleanup(func() { closeAll() })
	connect(t, client, server)
	return endpoint{
		client: &Client{HTTP: &http.Client{Transport: Transport(client, server.ID())}, Base: StreamURL(server.ID())},
		idle:   func() bool { return streams(server) == 0 && streams(client) == 0 },
	}
}

// transports are the ways to reach a handler.
var transports = map[string]func(testing.TB, http.Handler) endpoint{
	"http": overHTTP, "http2": overHTTP2, "streams": overStreams,
}

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
		runtime.Gosched()
		time.Sleep(time.Millisecond)
	}
}

// collect reads a DAG to its end.
func collect(t testing.TB, c *Client, root cid.Cid, rq Request) ([]block.Block, *Response, error) {
	t.Helper()
	r, err := c.DAG(t.Context(), root, rq)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	var got []block.Block
	for b, err := range r.Blocks() {
		if err != nil {
			return got, r, err
		}
		got = append(got, b)
	}
	return got, r, nil
}

func mustCollect(t testing.TB, c *Client, root cid.Cid, rq Request) ([]block.Block, *Response) {
	t.Helper()
	got, r, err := collect(t, c, root, rq)
	if err != nil {
		t.Fatal(err)
	}
	return got, r
}

func cidsOf(blocks []block.Block) []cid.Cid {
	var cids []cid.Cid
	for _, b := range blocks {
		cids = append(cids, b.CID())
	}
	return cids
}

// short formats a list of CIDs by their last letters.
func short(cids []cid.Cid) string {
	var s strings.Builder
	for _, c := range cids {
		text := c.String()
		s.WriteString(" " + text[len(text)-6:])
	}
	return s.String()
}

// statusOf returns the status in an error, or 0.
func statusOf(err error) int {
	var s *StatusError
	if errors.As(err, &s) {
		return s.Status
	}
	return 0
}

func peerInfo(h host.Host) peer.AddrInfo { return peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()} }

// wide makes leaves of a MiB.
func wide() unixfs.Profile { return unixfs.V1Profile() }

// A judge accepts the root, and the blocks that accepted blocks link to, each once.
type judge struct {
	wanted map[string]bool // by multihash and codec; false once it came
	skip   func(cid.Cid) bool
}

func newJudge(root cid.Cid, skip func(cid.Cid) bool) *judge {
	return &judge{map[string]bool{canonical(root): true}, skip}
}

// accept reports whether the block is wanted.
func (j *judge) accept(t testing.TB, b block.Block) bool {
	t.Helper()
	k := canonical(b.CID())
	if !j.wanted[k] {
		return false
	}
	j.wanted[k] = false
	links, err := linksOf(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if _, known := j.wanted[canonical(link)]; !known && (j.skip == nil || !j.skip(link)) {
			j.wanted[canonical(link)] = true
		}
	}
	return true
}

// missing counts the wanted blocks that didn't come.
func (j *judge) missing() (n int) {
	for _, wanted := range j.wanted {
		if wanted {
			n++
		}
	}
	return n
}
