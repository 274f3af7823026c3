package control

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/ipfs/go-cid"
)

// A meddler stands before a server, counts what it's asked, and may change what
// it writes.
type meddler struct {
	server *httpapi.Server
	change func(verb string, p []byte) []byte // panics to break off

	mu    sync.Mutex // guards the following
	asked map[string]int
}

func (m *meddler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	verb := strings.TrimPrefix(r.URL.Path, httpapi.Prefix+prefix)
	m.mu.Lock()
	m.asked[verb]++
	m.mu.Unlock()
	if m.change != nil {
		w = meddledWriter{w, func(p []byte) []byte { return m.change(verb, p) }}
	}
	m.server.ServeHTTP(w, r)
}

type meddledWriter struct {
	http.ResponseWriter
	change func([]byte) []byte
}

func (w meddledWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w meddledWriter) Write(p []byte) (int, error) {
	_, err := w.ResponseWriter.Write(w.change(p))
	return len(p), err
}

// meddled serves a node through a meddler.
func meddled(t *testing.T, n *cairn.Node, change func(verb string, p []byte) []byte) (*meddler, *Target) {
	m := &meddler{server: httpapi.NewServer(httpapi.Config{Codes: Codes()}, Verbs(n, nil)), change: change, asked: make(map[string]int)}
	s := httptest.NewServer(m)
	t.Cleanup(s.Close)
	return m, dial(t, s.URL)
}

// countOf is how often a verb was asked.
func (m *meddler) countOf(verb string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked[verb]
}

// aTree adds a tree with large and small files, and some that are equal.
func aTree(t *testing.T, n *cairn.Node) cid.Cid {
	t.Helper()
	tree := fstest.MapFS{"large": {Data: noise(5<<20, 1)}, "twice": {Data: slices.Concat(noise(1<<20, 2), noise(1<<20, 2))}}
	for i := range 100 {
		tree[strings.Repeat("d/", i%7)+string(rune('A'+i%26))+strings.Repeat("x", i)] = &fstest.MapFile{Data: noise(1000, byte(i%80))}
	}
	added, err := n.AddFS(t.Context(), tree, cairn.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return added.CID
}

func blocksOf(t *testing.T, n *cairn.Node, root cid.Cid) []block.Block {
	t.Helper()
	var all []block.Block
	for step, err := range dag.Walk(t.Context(), n, []cid.Cid{root}, dag.WalkOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, step.Block)
	}
	return all
}

// TestDAGReader reads a tree with one request.
func TestDAGReader(t *testing.T) {
	n := newNode(t, cairn.Config{Offline: true})
	root := aTree(t, n)
	m, c := meddled(t, n, nil)
	d, err := c.ReadDAG(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var got, want bytes.Buffer
	if err := unixfs.ExportTar(t.Context(), d, root, "tree", &got, unixfs.ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := unixfs.ExportTar(t.Context(), n, root, "tree", &want, unixfs.ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Errorf("got an archive of %d bytes, want that of the node, of %d", got.Len(), want.Len())
	}
	if streams, blocks := m.countOf("dag/export"), m.countOf("block/get"); streams != 1 || blocks != 0 {
		t.Errorf("got %d streams and %d requests for blocks, want one and none", streams, blocks)
	}
}

// TestDAGReaderOutOfOrder asks from the end to the beginning, and again when
// everything has been forgotten, and for what isn't part of the DAG.
func TestDAGReaderOutOfOrder(t *testing.T) {
	n := newNode(t, cairn.Config{Offline: true})
	// More than a DAGReader holds.
	added, err := n.Add(t.Context(), bytes.NewReader(noise(50<<20, 3)), cairn.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	other, err := n.Add(t.Context(), strings.NewReader("other"), cairn.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, c := meddled(t, n, nil)
	d, err := c.ReadDAG(t.Context(), added.CID)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	blocks := blocksOf(t, n, added.CID)
	slices.Reverse(blocks)
	for range 2 {
		for _, want := range blocks {
			got, err := d.Get(t.Context(), want.CID())
			if err != nil || !got.CID().Equals(want.CID()) || !bytes.Equal(got.Data(), want.Data()) {
				t.Fatalf("%s: got %v, %v", want.CID(), got.CID(), err)
			}
		}
	}
	if got, err := d.Get(t.Context(), other.CID); err != nil || string(got.Data()) != "other" {
		t.Errorf("a block of something else: got %q, %v", got.Data(), err)
	}
	inlined := cid.MustParse("bafkqabtimvwgy3yk")
	if b, err := d.Get(t.Context(), inlined); err != nil || string(b.Data()) != "hello\n" {
		t.Errorf("identity: got %q, %v", b.Data(), err)
	}
}

// TestDAGReaderOfAPart has everything of a DAG but one leaf.
func TestDAGReaderOfAPart(t *testing.T) {
	whole, part := newNode(t, cairn.Config{Offline: true}), newNode(t, cairn.Config{Offline: true})
	root := aTree(t, whole)
	blocks := blocksOf(t, whole, root)
	lost := slices.IndexFunc(blocks, func(b block.Block) bool { return b.CID().Type() == block.Raw })
	if err := part.Put(t.Context(), slices.Concat(blocks[:lost], blocks[lost+1:])...); err != nil {
		t.Fatal(err)
	}
	_, c := meddled(t, part, nil)
	d, err := c.ReadDAG(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for i, want := range blocks {
		got, err := d.Get(t.Context(), want.CID())
		if i == lost {
			_, here := part.Get(t.Context(), want.CID())
			if !errors.Is(err, block.ErrNotFound) || err.Error() != here.Error() {
				t.Errorf("got %v, want %v", err, here)
			}
		} else if err != nil || !bytes.Equal(got.Data(), want.Data()) {
			t.Errorf("got %v, %v, want %v", got.CID(), err, want.CID())
		}
	}
	absent := newBlock(t, block.Raw, []byte("absent")).CID()
	none, err := c.ReadDAG(t.Context(), absent)
	if err != nil {
		t.Fatal(err)
	}
	defer none.Close()
	if _, err := none.Get(t.Context(), absent); !errors.Is(err, block.ErrNotFound) {
		t.Errorf("a root that isn't here: got %v, want ErrNotFound", err)
	}
}

// TestDAGReaderMeddled breaks the stream off, and changes it.
func TestDAGReaderMeddled(t *testing.T) {
	n := newNode(t, cairn.Config{Offline: true})
	root := aTree(t, n)
	blocks := blocksOf(t, n, root)
	read := func(c *Target) error {
		d, err := c.ReadDAG(t.Context(), root)
		if err != nil {
			return err
		}
		defer d.Close()
		for _, b := range blocks {
			if _, err := d.Get(t.Context(), b.CID()); err != nil {
				return err
			}
		}
		return nil
	}
	const after = 3 << 20
	var sent atomic.Int64
	_, c := meddled(t, n, func(verb string, p []byte) []byte {
		if sent.Add(int64(len(p))) > after && verb == "dag/export" {
			panic(http.ErrAbortHandler)
		}
		return p
	})
	if err := read(c); err == nil || errors.Is(err, block.ErrNotFound) || !strings.Contains(err.Error(), "broke off") {
		t.Errorf("cut: got %v, want that it broke off", err)
	}
	sent.Store(0)
	_, c = meddled(t, n, func(verb string, p []byte) []byte {
		if sent.Add(int64(len(p))) > after && verb == "dag/export" {
			p = slices.Clone(p)
			p[len(p)-1] ^= 1
		}
		return p
	})
	if err := read(c); !errors.Is(err, block.ErrHashMismatch) {
		t.Errorf("changed: got %v, want ErrHashMismatch", err)
	}
	_, c = meddled(t, n, func(verb string, p []byte) []byte {
		if verb == "dag/export" {
			return []byte("no CAR at all, but a line of text that is as long as one")[:min(40, len(p))]
		}
		return p
	})
	if err := read(c); !errors.Is(err, block.ErrMalformed) && !errors.Is(err, block.ErrTooLarge) {
		t.Errorf("no CAR: got %v, want ErrMalformed", err)
	}

	// A reader that waits ends with its context.
	reached := make(chan struct{})
	var once sync.Once
	_, c = meddled(t, n, func(verb string, p []byte) []byte {
		if sent.Add(int64(len(p))) > after {
			once.Do(func() { close(reached) })
			<-t.Context().Done()
		}
		return p
	})
	sent.Store(0)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	d, err := c.ReadDAG(ctx, root)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-reached
		cancel()
	}()
	for _, b := range blocks {
		if _, err = d.Get(ctx, b.CID()); err != nil {
			break
		}
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
	d.Close()
}
