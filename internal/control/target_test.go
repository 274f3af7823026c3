package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

func TestBlocks(t *testing.T) {
	d := serve(t, nil)
	d.each(t, func(t *testing.T, c *Target) {
		ctx := t.Context()
		for _, size := range []int{0, 1, 4096, block.MaxSize} {
			b := newBlock(t, block.Raw, noise(size, byte(len(t.Name()))))
			if size > 0 { // the empty block may be here already
				if has, err := has(ctx, c, b.CID()); has || err != nil {
					t.Errorf("%d bytes: got %v, %v before, want none", size, has, err)
				}
			}
			if err := d.node.Put(ctx, b); err != nil {
				t.Fatal(err)
			}
			got, err := c.Get(ctx, b.CID())
			if err != nil || !bytes.Equal(got.Data(), b.Data()) || got.CID() != b.CID() {
				t.Errorf("%d bytes: got %v, %v", size, got.CID(), err)
			}
			if n, err := c.Size(ctx, b.CID()); n != size || err != nil {
				t.Errorf("size of %d bytes: got %d, %v", size, n, err)
			}
			if err := deleteBlock(ctx, c, b.CID()); err != nil {
				t.Error(err)
			}
			if has, err := d.node.Store().Has(ctx, b.CID()); has || err != nil {
				t.Errorf("%d bytes, deleted: got %v, %v", size, has, err)
			}
		}
		inlined := cid.MustParse("bafkqabtimvwgy3yk")
		if b, err := c.Get(ctx, inlined); err != nil || string(b.Data()) != "hello\n" {
			t.Errorf("identity: got %q, %v", b.Data(), err)
		}
	})
}

// TestCutBlocks has a daemon end in the middle of a block: that is no lie.
func TestCutBlocks(t *testing.T) {
	b := newBlock(t, block.Raw, noise(1000, 1))
	for name, cut := range map[string]int{"at the beginning": 0, "in the middle": 500} {
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(httpapi.ContentLength, "1000")
			_, _ = w.Write(b.Data()[:cut])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}))
		defer web.Close()
		_, err := dial(t, web.URL).Get(t.Context(), b.CID())
		if err == nil || errors.Is(err, block.ErrHashMismatch) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: got %v, want %v", name, err, io.ErrUnexpectedEOF)
		}
	}
}

func TestNobodyAnswers(t *testing.T) {
	for _, address := range []string{"unix:" + filepath.Join(t.TempDir(), "none"), "127.0.0.1:1", "/ip4/127.0.0.1/tcp/1"} {
		_, err := Identify.Do(t.Context(), dial(t, address), struct{}{})
		if !errors.Is(err, ErrNoDaemon) || !strings.Contains(err.Error(), address) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v, want ErrNoDaemon", address, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Identify.Do(ctx, dial(t, "127.0.0.1:1"), struct{}{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

func TestAddresses(t *testing.T) {
	for _, tt := range []struct{ in, network, host string }{
		{"unix:/run/api.sock", "unix", "/run/api.sock"},
		{"unix:api.sock", "unix", "api.sock"},
		{"unix:///run/api.sock", "unix", "/run/api.sock"},
		{"/unix/run/api.sock", "unix", "/run/api.sock"},
		{"127.0.0.1:5001", "tcp", "127.0.0.1:5001"},
		{"[::1]:5001", "tcp", "[::1]:5001"},
		{"localhost:5001", "tcp", "localhost:5001"},
		{"/ip4/127.0.0.1/tcp/5001", "tcp", "127.0.0.1:5001"},
		{"/dns4/localhost/tcp/5001", "tcp", "localhost:5001"},
		{"http://127.0.0.1:5001", "tcp", "http://127.0.0.1:5001"},
		{"https://node.example/behind", "tcp", "https://node.example/behind"},
		{"", "", ""}, {"unix:", "", ""}, {"5001", "", ""}, {":5001", "", ""}, {"host:port", "", ""}, {"host:70000", "", ""},
		{"http://", "", ""}, {"http://user@host", "", ""}, {"http://host?x=y", "", ""}, {"/ip4/127.0.0.1/udp/1", "", ""}, {"/ip4/x", "", ""},
	} {
		network, host, err := parseAddress(tt.in)
		if network != tt.network || host != tt.host || (err == nil) != (tt.network != "") {
			t.Errorf("%q: got %q, %q, %v, want %q, %q", tt.in, network, host, err, tt.network, tt.host)
		}
	}
}

func TestBatch(t *testing.T) {
	d := serve(t, nil)
	d.each(t, func(t *testing.T, c *Target) {
		ctx := t.Context()
		var blocks []block.Block
		for i := range 20 {
			blocks = append(blocks, newBlock(t, block.Raw, append(noise(100_000, byte(i)), t.Name()...)))
		}
		name := t.Name()
		b := c.Batch()
		defer b.Discard()
		for _, k := range blocks {
			if err := b.Put(ctx, k); err != nil {
				t.Fatal(err)
			}
		}
		b.Alias(name, blocks[0].CID(), store.AliasOptions{})
		if _, err := getAlias(ctx, c, name); !errors.Is(err, store.ErrNoAlias) {
			t.Errorf("before Commit: got %v", err)
		}
		if err := b.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		if a, err := getAlias(ctx, c, name); err != nil || a.Root != blocks[0].CID() {
			t.Errorf("got %v, %v", a.Root, err)
		}
		for _, k := range blocks {
			if has, err := has(ctx, c, k.CID()); !has || err != nil {
				t.Errorf("%s: got %v, %v", k.CID(), has, err)
			}
		}
		if err := b.Commit(ctx); err == nil {
			t.Errorf("a second Commit: got %v", err)
		}
		if err := b.Put(ctx, blocks[0]); err == nil {
			t.Errorf("Put after Commit: got %v", err)
		}

		// All or nothing.
		bad := c.Batch()
		bad.Alias(name+"/x", blocks[1].CID(), store.AliasOptions{})
		bad.RemoveAlias("there is none")
		if err := bad.Commit(ctx); !errors.Is(err, store.ErrNoAlias) {
			t.Errorf("got %v, want ErrNoAlias", err)
		}
		if _, err := getAlias(ctx, c, name+"/x"); !errors.Is(err, store.ErrNoAlias) {
			t.Errorf("half of a batch was done: %v", err)
		}

		// Discarded, and cancelled.
		gone := c.Batch()
		if err := gone.Put(ctx, blocks[2]); err != nil {
			t.Fatal(err)
		}
		gone.Alias(name+"/y", blocks[2].CID(), store.AliasOptions{})
		gone.Discard()
		gone.Discard()
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		late := c.Batch()
		late.Alias(name+"/y", blocks[2].CID(), store.AliasOptions{})
		if err := late.Commit(cancelled); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: got %v", err)
		}
		if _, err := getAlias(ctx, c, name+"/y"); !errors.Is(err, store.ErrNoAlias) {
			t.Errorf("a discarded batch was done: %v", err)
		}
	})
}

// TestBatchToldAtOnce puts until the daemon, whose disk is full, has answered.
func TestBatchToldAtOnce(t *testing.T) {
	n := newNode(t, cairn.Config{Dir: filepath.Join(t.TempDir(), "repo"), Offline: true, Store: store.Options{Reserve: 1 << 60}})
	d := serve(t, n)
	d.each(t, func(t *testing.T, c *Target) {
		b := c.Batch()
		defer b.Discard()
		var err error
		for i := 0; err == nil && i < 100_000; i++ {
			err = b.Put(t.Context(), newBlock(t, block.Raw, noise(10_000, byte(i))))
		}
		if err == nil {
			err = b.Commit(t.Context())
		}
		if !errors.Is(err, store.ErrDiskFull) {
			t.Errorf("got %v, want ErrDiskFull", err)
		}
	})
}

// TestErrorBehind reads a file of which a block is missing: what is there comes,
// and then the error.
func TestErrorBehind(t *testing.T) {
	d := serve(t, nil)
	file := addFile(t, d.node, noise(3<<20, 2), cairn.AddOptions{NoPin: true})
	root, err := d.node.Get(t.Context(), file.CID)
	if err != nil {
		t.Fatal(err)
	}
	links, err := d.node.Store().Links(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.node.Store().Delete(t.Context(), links[2]); err != nil {
		t.Fatal(err)
	}
	d.each(t, func(t *testing.T, c *Target) {
		var out bytes.Buffer
		err := Cat.Do(t.Context(), c, CatArgs{CID: file.CID}, &out, nil)
		if !errors.Is(err, block.ErrNotFound) || out.Len() != 2<<20 {
			t.Errorf("got %d bytes and %v, want 2 MiB and ErrNotFound", out.Len(), err)
		}
		if err := ExportCAR.Do(t.Context(), c, RootArgs{file.CID}, io.Discard, nil); !errors.Is(err, block.ErrNotFound) {
			t.Errorf("export: got %v", err)
		}
		var missing []cid.Cid
		for k, err := range ListMissing.Do(t.Context(), c, RootArgs{file.CID}) {
			if err != nil {
				t.Fatal(err)
			}
			missing = append(missing, k)
		}
		if !slices.Equal(missing, links[2:3]) {
			t.Errorf("missing: got %v, want %v", missing, links[2:3])
		}
		if st, err := CountDAG.Do(t.Context(), c, RootArgs{file.CID}); err != nil || st.Blocks != 3 || st.Missing != 1 {
			t.Errorf("stat: got %+v, %v", st, err)
		}
	})
}

// TestAdd adds the same by all ways, and compares.
func TestAdd(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tree")
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{"a": 3, "big": 3 << 20, "sub/b": 70_000, "sub/c.tmp": 1} {
		if err := os.WriteFile(filepath.Join(dir, name), noise(size, byte(size)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	wrap := false
	request := func() (AddRequest, *[]string) {
		var entries []string
		return AddRequest{
			Items: []AddItem{{Path: dir}, {In: strings.NewReader("from stdin")}, {Path: filepath.Join(dir, "a")}},
			Wrap:  wrap,
			Options: cairn.AddOptions{
				Chunker: "size-65536", Exclude: []string{"*.tmp", "!x&y"}, Progress: new(cairn.AddProgress),
			},
			Entry: func(item int, e cairn.AddEntry) error {
				entries = append(entries, fmt.Sprintf("%d %s %s %v %d", item, e.Path, e.CID, e.Type, e.Size))
				return nil
			},
		}, &entries
	}
	r, wantEntries := request()
	want, err := Hash(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	d := serve(t, nil)
	d.each(t, func(t *testing.T, c *Target) {
		r, entries := request()
		got, err := AddAll(t.Context(), c, r)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) || !slices.Equal(*entries, *wantEntries) {
			t.Fatalf("got %d and %q, want %d and %q", len(got), *entries, len(want), *wantEntries)
		}
		for i := range want {
			if got[i].CID != want[i].CID || got[i].Size != want[i].Size || got[i].DAGSize != want[i].DAGSize || got[i].Files != want[i].Files {
				t.Errorf("%d: got %+v, want %+v", i, got[i], want[i])
			}
			if _, err := getAlias(t.Context(), c, cairn.PinName(want[i].CID)); err != nil {
				t.Error(err)
			}
		}
		// What a name is for.
		r, _ = request()
		r.Options.Alias = "name"
		if _, err := AddAll(t.Context(), c, r); err == nil || !strings.Contains(err.Error(), "one root only") {
			t.Errorf("one alias for three: got %v", err)
		}
		// An error names its item, and ends all.
		r, _ = request()
		r.Options.Alias = ""
		r.Items = []AddItem{{In: strings.NewReader("never kept " + t.Name())}, {Path: filepath.Join(dir, "none")}}
		var of *AddError
		if _, err := AddAll(t.Context(), c, r); !errors.As(err, &of) || of.Item != 1 || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v, want one about item 1", err)
		}
		stop := errors.New("stop")
		r, _ = request()
		r.Entry = func(int, cairn.AddEntry) error { return stop }
		if _, err := AddAll(t.Context(), c, r); !errors.Is(err, stop) {
			t.Errorf("got %v, want the caller's error", err)
		}
	})
	wrap = true
	r, wantEntries = request()
	if want, err = Hash(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	d.each(t, func(t *testing.T, c *Target) {
		r, entries := request()
		got, err := AddAll(t.Context(), c, r)
		if err != nil || got[0].CID != want[0].CID || got[2].CID != want[2].CID || !slices.Equal(*entries, *wantEntries) {
			t.Errorf("wrapped: got %+v and %q, %v, want %q", got, *entries, err, *wantEntries)
		}
	})
	wrap = false
	r, _ = request()
	if want, err = Hash(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	// Over the Unix socket what hasn't changed is not read again.
	r, _ = request()
	r.Items = r.Items[:1]
	if got, err := AddAll(t.Context(), d.unix, r); err != nil || got[0].CID != want[0].CID {
		t.Errorf("again: got %+v, %v", got, err)
	}
	for _, err := range Add.Do(t.Context(), d.tcp, AddArgs{Paths: []string{dir}}) {
		if !errors.Is(err, httpapi.ErrForbidden) {
			t.Errorf("paths over TCP: got %v", err)
		}
	}
	if _, err := AddAll(t.Context(), d.tcp, AddRequest{Items: r.Items, Options: cairn.AddOptions{NoCopy: true}}); !errors.Is(err, httpapi.ErrForbidden) {
		t.Errorf("nocopy over TCP: got %v", err)
	}
}

// TestAddNoCopy leaves the bytes in the files.
func TestAddNoCopy(t *testing.T) {
	n := newNode(t, cairn.Config{Dir: filepath.Join(t.TempDir(), "repo"), Offline: true})
	d := serve(t, n)
	file := filepath.Join(t.TempDir(), "big")
	data := noise(2<<20, 7)
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := AddAll(t.Context(), d.unix, AddRequest{Items: []AddItem{{Path: file}}, Options: cairn.AddOptions{NoCopy: true}})
	if err != nil {
		t.Fatal(err)
	}
	if st, err := Stats.Do(t.Context(), d.unix, struct{}{}); err != nil || st.PackBytes > 1<<20 {
		t.Errorf("got %d bytes in packs, %v, want no copy", st.PackBytes, err)
	}
	var out bytes.Buffer
	if err := Cat.Do(t.Context(), d.unix, CatArgs{CID: got[0].CID}, &out, nil); err != nil || !bytes.Equal(out.Bytes(), data) {
		t.Errorf("got %d bytes, %v", out.Len(), err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	var path *fs.PathError
	if err := Cat.Do(t.Context(), d.unix, CatArgs{CID: got[0].CID}, &out, nil); !errors.As(err, &path) {
		t.Errorf("gone: got %v, want an error about a file", err)
	}
}

func has(ctx context.Context, c *Target, k cid.Cid) (bool, error) {
	_, err := c.Size(ctx, k)
	if errors.Is(err, block.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func getAlias(ctx context.Context, c *Target, name string) (store.Alias, error) {
	return ResolveAlias.Do(ctx, c, AliasArgs{name})
}

func deleteBlock(ctx context.Context, c *Target, k cid.Cid) error {
	_, err := DeleteBlocks.Do(ctx, c, DeleteArgs{[]cid.Cid{k}})
	return err
}
