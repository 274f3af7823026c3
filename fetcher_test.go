package cairn_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// fetching returns a node that has content, and one without that is connected to
// it.
func fetching(t *testing.T) (theirs, ours *cairn.Node) {
	t.Helper()
	theirs, addr := listening(t, cairn.Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	ours = calling(t, cairn.Config{})
	if _, err := ours.Connect(t.Context(), addr); err != nil {
		t.Fatal(err)
	}
	return theirs, ours
}

// concurrent is how many leaves a slow gateway has to be asked for before it
// answers the first: a file begins with so many, and goes on with more.
const concurrent = 2

// fetchingSlowly returns a node that has content, and one whose only source is its
// gateway, which answers no request for a leaf until as many as concurrent wait at
// the same time.
func fetchingSlowly(t *testing.T) (theirs, ours *cairn.Node) {
	t.Helper()
	theirs = calling(t, cairn.Config{})
	gateway := theirs.Gateway()
	var waiting atomic.Int64
	enough := make(chan struct{})
	release := sync.OnceFunc(func() { close(enough) })
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/bafk") {
			if waiting.Add(1) == concurrent {
				release()
			}
			select {
			case <-enough:
			case <-r.Context().Done():
			}
			waiting.Add(-1)
		}
		gateway.ServeHTTP(w, r)
	}))
	t.Cleanup(web.Close)
	return theirs, calling(t, cairn.Config{Routing: cairn.RoutingNone, Gateways: []string{web.URL}})
}

func random(n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(data)
	return data
}

// TestFetcherFile reads a file of 128 blocks that only a peer has: from its
// middle, and as a whole.
func TestFetcherFile(t *testing.T) {
	ctx := t.Context()
	const blocks, size = 128, 16 << 10
	theirs, ours := fetching(t)
	data := random(blocks * size)
	added, err := theirs.Add(ctx, bytes.NewReader(data), cairn.AddOptions{Chunker: "size-16384"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ours.OpenFile(ctx, added.CID); !errors.Is(err, block.ErrNotFound) || errors.Is(err, cairn.ErrNoSource) {
		t.Errorf("without a Fetcher: got %v, want ErrNotFound", err)
	}
	f, err := ours.Fetcher().OpenFile(ctx, added.CID)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Size() != int64(len(data)) {
		t.Errorf("got a size of %d, want %d", f.Size(), len(data))
	}
	middle := make([]byte, 100)
	if _, err := f.Seek(-50*size-10, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(f, middle); err != nil || !bytes.Equal(middle, data[78*size-10:][:100]) {
		t.Errorf("in the middle: got %v, or other bytes", err)
	}
	if n := countBlocks(t, ours); n > 6 {
		t.Errorf("a seek and a read fetched %d blocks, want 6 at most", n)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(f)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("got %d bytes, %v", len(got), err)
	}
	// What came is here.
	if f, err := ours.OpenFile(ctx, added.CID); err != nil {
		t.Error(err)
	} else if n, err := f.WriteTo(io.Discard); err != nil || n != int64(len(data)) {
		t.Errorf("read again without a Fetcher: got %d bytes, %v", n, err)
	}
}

func countBlocks(t *testing.T, n *cairn.Node) int {
	t.Helper()
	count := 0
	for _, err := range n.Store().Blocks(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		count++
	}
	return count
}

// TestFetcherFS serves a directory over HTTP that only a peer has.
func TestFetcherFS(t *testing.T) {
	ctx := t.Context()
	theirs, ours := fetching(t)
	tree := fstest.MapFS{"index.html": {Data: []byte("<p>hello")}, "sub/a.txt": {Data: []byte("a")}, "sub/big": {Data: random(300_000)}}
	added, err := theirs.AddFS(ctx, tree, cairn.AddOptions{Chunker: "size-65536"})
	if err != nil {
		t.Fatal(err)
	}
	fsys := ours.Fetcher().FS(ctx, added.CID)
	server := httptest.NewServer(http.FileServerFS(fsys))
	defer server.Close()
	get := func(path string, header ...string) (int, string) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	if status, body := get("/"); status != 200 || body != "<p>hello" {
		t.Errorf("the index: got %d, %q", status, body)
	}
	if status, body := get("/sub/"); status != 200 || !strings.Contains(body, "a.txt") {
		t.Errorf("a listing: got %d, %q", status, body)
	}
	if status, body := get("/sub/big", "Range", "bytes=200000-200099"); status != 206 || body != string(tree["sub/big"].Data[200000:200100]) {
		t.Errorf("a range: got %d, %d bytes", status, len(body))
	}
	if status, _ := get("/none"); status != 404 {
		t.Errorf("a name that is not there: got %d, want 404", status)
	}
	if err := fstest.TestFS(fsys, "index.html", "sub/a.txt", "sub/big"); err != nil {
		t.Error(err)
	}
}

// TestFetcherEdit changes a directory whose nodes only a peer has: no file's
// content is fetched.
func TestFetcherEdit(t *testing.T) {
	ctx := t.Context()
	theirs, ours := fetching(t)
	tree := fstest.MapFS{"sub/deep/old": {Data: []byte("old")}, "sub/deep/big": {Data: random(3 << 20)}, "other/x": {Data: []byte("x")}}
	added, err := theirs.AddFS(ctx, tree, cairn.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if tree, err := ours.Edit(ctx, added.CID, cairn.EditOptions{}); !errors.Is(err, block.ErrNotFound) {
		t.Errorf("without a Fetcher: got %v, %v, want ErrNotFound", tree, err)
	}
	edit, err := ours.Fetcher().Edit(ctx, added.CID, cairn.EditOptions{Alias: "edited"})
	if err != nil {
		t.Fatal(err)
	}
	defer edit.Discard()
	err = errors.Join(
		edit.Write(ctx, "sub/deep/new", strings.NewReader("new")),
		edit.Remove(ctx, "sub/deep/old"),
	)
	if err != nil {
		t.Fatal(err)
	}
	root, err := edit.Commit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	delete(tree, "sub/deep/old")
	tree["sub/deep/new"] = &fstest.MapFile{Data: []byte("new")}
	if want, err := theirs.AddFS(ctx, tree, cairn.AddOptions{}); err != nil || root != want.CID {
		t.Errorf("got %s, %v, want %s", root, err, want.CID)
	}
	missing := 0
	for _, err := range ours.Store().Missing(ctx, root, store.Selection{}) {
		if err != nil {
			t.Fatal(err)
		}
		missing++
	}
	if missing != 2 {
		t.Errorf("got %d blocks missing of the new root, want the big file's root and the other directory's", missing)
	}
}

// TestFetcherAhead reads a file that only a slow gateway has: several blocks are
// asked for at the same time.
func TestFetcherAhead(t *testing.T) {
	theirs, ours := fetchingSlowly(t)
	data := random(2 << 20)
	added, err := theirs.Add(t.Context(), bytes.NewReader(data), cairn.AddOptions{Chunker: "size-16384"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := ours.Fetcher().OpenFile(t.Context(), added.CID)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, data) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

// TestFetcherExportCAR exports a DAG that only a slow gateway has: several blocks
// are asked for at the same time.
func TestFetcherExportCAR(t *testing.T) {
	ctx := t.Context()
	const blocks, size = 128, 16 << 10
	theirs, ours := fetchingSlowly(t)
	added, err := theirs.Add(ctx, bytes.NewReader(random(blocks*size)), cairn.AddOptions{Chunker: "size-16384"})
	if err != nil {
		t.Fatal(err)
	}
	var want, got bytes.Buffer
	if err := theirs.ExportCAR(ctx, &want, added.CID); err != nil {
		t.Fatal(err)
	}
	if err := ours.ExportCAR(ctx, &got, added.CID); !errors.Is(err, block.ErrNotFound) {
		t.Errorf("without a Fetcher: got %v, want ErrNotFound", err)
	}
	got.Reset()
	if err := ours.Fetcher().ExportCAR(ctx, &got, added.CID); err != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Fatalf("got %d bytes, %v, want %d", got.Len(), err, want.Len())
	}
}

// TestFetcherFails: nobody has it, the node is offline, and the caller gives up.
func TestFetcherFails(t *testing.T) {
	absent := cid.MustParse("bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e")
	root := cid.MustParse("bafybeifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e")
	fail := func(what string, n *cairn.Node, ctx context.Context, want error) {
		t.Helper()
		f := n.Fetcher()
		_, getErr := f.Get(ctx, absent)
		_, openErr := f.OpenFile(ctx, absent)
		_, editErr := f.Edit(ctx, root, cairn.EditOptions{})
		_, fsErr := fs.ReadFile(f.FS(ctx, root), "a")
		for which, err := range map[string]error{
			"Get": getErr, "OpenFile": openErr, "Edit": editErr, "FS": fsErr, "ExportCAR": f.ExportCAR(ctx, io.Discard, root),
		} {
			if !errors.Is(err, want) {
				t.Errorf("%s: %s: got %v, want %v", what, which, err, want)
			}
		}
	}
	_, ours := fetching(t)
	fail("no source", ours, t.Context(), cairn.ErrNoSource)

	alone, err := cairn.Open(t.Context(), cairn.Config{Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	defer alone.Close()
	fail("offline", alone, t.Context(), cairn.ErrOffline)
	here, err := alone.Add(t.Context(), strings.NewReader("here"), cairn.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if f, err := alone.Fetcher().OpenFile(t.Context(), here.CID); err != nil {
		t.Errorf("offline, a file that is here: got %v", err)
	} else if got, err := io.ReadAll(f); err != nil || string(got) != "here" {
		t.Errorf("offline, a file that is here: got %q, %v", got, err)
	}

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	fail("cancelled", ours, cancelled, context.Canceled)
}

// TestFetcherCancelled ends a read while the answer is on its way.
func TestFetcherCancelled(t *testing.T) {
	asked := make(chan struct{})
	ask := sync.OnceFunc(func() { close(asked) })
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ask()
		<-r.Context().Done()
	}))
	defer web.Close()
	ours := calling(t, cairn.Config{Routing: cairn.RoutingNone, Gateways: []string{web.URL}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		<-asked
		cancel()
	}()
	_, err := ours.Fetcher().OpenFile(ctx, cid.MustParse("bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
	ask() // the goroutine ends, whatever happened
}
