package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

func TestBlocks(t *testing.T) {
	d := newDaemon(t, nil, Config{})
	d.both(t, func(t *testing.T, c *Client) {
		ctx := t.Context()
		for _, size := range []int{0, 1, 4096, block.MaxSize} {
			b := newBlock(t, block.Raw, noise(size, byte(len(t.Name()))))
			if size > 0 { // the empty block may be here already
				if has, err := c.Has(ctx, b.CID()); has || err != nil {
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
			if err := c.Delete(ctx, b.CID()); err != nil {
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
			w.Header().Set(contentLength, "1000")
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

// TestErrorsKeepTheirIdentity sends every sentinel over the wire, in the answer
// and behind it.
func TestErrorsKeepTheirIdentity(t *testing.T) {
	for _, want := range codes {
		shape, _ := shapeOf(fmt.Errorf("open it: %w", want.err))
		got := &Error{shape.Cairn.Message, shape.Cairn.Codes}
		for _, c := range codes {
			if is := errors.Is(got, c.err); is != (errors.Is(want.err, c.err)) {
				t.Errorf("%s: Is(%v) got %v", want.code, c.err, is)
			}
		}
		if got.Error() != "open it: "+want.err.Error() {
			t.Errorf("%s: got the message %q", want.code, got)
		}
	}
	_, err := os.Open(filepath.Join(t.TempDir(), "none"))
	shape, _ := shapeOf(fmt.Errorf("read: %w", err))
	got := &Error{shape.Cairn.Message, shape.Cairn.Codes}
	var path *fs.PathError
	if !errors.As(got, &path) || !errors.Is(got, fs.ErrNotExist) {
		t.Errorf("got %#v, want a path error", got)
	}
	if errors.As(&Error{Message: "x"}, &path) {
		t.Error("an error without a code is a path error")
	}
}

// TestLongErrors has errors behind an answer that say more than goes into a
// trailer, as one about hundreds of sources that failed does.
func TestLongErrors(t *testing.T) {
	s := NewServer(newNode(t, cairn.Config{Offline: true}), Config{})
	long := fmt.Errorf("sync: %w: %s", cairn.ErrNoSource, strings.Repeat("ä: no answer\n", 10_000))
	s.verbs["long"] = verb{run: func(c *call) error {
		if err := c.line(1); err != nil {
			return err
		}
		return long
	}}
	web := httptest.NewServer(s)
	defer web.Close()
	begins := strings.ReplaceAll(long.Error()[:1000], "\n", " ")
	err := dial(t, web.URL).call(t.Context(), request{verb: "long"}, nil)
	if !errors.Is(err, cairn.ErrNoSource) || !strings.HasPrefix(err.Error(), begins) || !utf8.ValidString(err.Error()) {
		t.Errorf("our client: got %.200v, want %v", err, cairn.ErrNoSource)
	}
	// Others read trailers of 4 KiB.
	resp, err := http.Post(web.URL+Prefix+"long", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || !strings.HasPrefix(resp.Trailer.Get(streamError), begins) {
		t.Errorf("another client: got %v, and the trailer %.200q", err, resp.Trailer)
	}
}

func TestClientErrors(t *testing.T) {
	d := newDaemon(t, nil, Config{})
	ctx := t.Context()
	kept := newBlock(t, block.Raw, []byte("kept"))
	if err := d.node.Put(ctx, kept); err != nil {
		t.Fatal(err)
	}
	if err := d.unix.SetAlias(ctx, "kept", kept.CID(), store.AliasOptions{}); err != nil {
		t.Fatal(err)
	}
	absent := newBlock(t, block.Raw, []byte("absent")).CID()
	for _, tt := range []struct {
		name string
		do   func(*Client) error
		here func() error // the same without a daemon
		want error
	}{
		{"get", func(c *Client) error { _, err := c.Get(ctx, absent); return err },
			func() error { _, err := d.node.Get(ctx, absent); return err }, block.ErrNotFound},
		{"size", func(c *Client) error { _, err := c.Size(ctx, absent); return err },
			func() error { _, err := d.node.Store().Size(ctx, absent); return err }, block.ErrNotFound},
		{"resolve", func(c *Client) error { _, err := c.GetAlias(ctx, "none"); return err },
			func() error { _, err := d.node.Store().GetAlias(ctx, "none"); return err }, store.ErrNoAlias},
		{"remove alias", func(c *Client) error { return c.RemoveAlias(ctx, "none") }, nil, store.ErrNoAlias},
		{"delete", func(c *Client) error { return c.Delete(ctx, kept.CID()) },
			func() error { return d.node.Store().Delete(ctx, kept.CID()) }, store.ErrLive},
		{"cat", func(c *Client) error { return c.Cat(ctx, &bytes.Buffer{}, absent, 0, -1, nil) }, nil, block.ErrNotFound},
		{"export", func(c *Client) error { return c.ExportCAR(ctx, &bytes.Buffer{}, absent) }, nil, block.ErrNotFound},
		{"alias of an unknown codec", func(c *Client) error {
			return c.SetAlias(ctx, "x", cid.MustParse("bafzaajaiaejca4syrpdu6gdx4wsdnokxkprgzxf4wrstuc34gxw5k5jrag2so5gk"), store.AliasOptions{})
		}, nil, block.ErrUnknownCodec},
		{"peers", func(c *Client) error { _, err := c.Peers(ctx); return err }, nil, cairn.ErrOffline},
		{"shutdown", func(c *Client) error { return c.Shutdown(ctx) }, nil, ErrForbidden},
		{"too many arguments", func(c *Client) error {
			return c.call(ctx, request{verb: "cairn/alias/get", args: []string{"a", "b"}}, nil)
		}, nil, ErrBadRequest},
	} {
		for _, c := range []*Client{d.unix, d.tcp} {
			err := tt.do(c)
			if !errors.Is(err, tt.want) {
				t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
				continue
			}
			if tt.here != nil {
				if here := tt.here(); here.Error() != err.Error() {
					t.Errorf("%s: got %q, want what is said without a daemon: %q", tt.name, err, here)
				}
			}
		}
	}
}

func TestNobodyAnswers(t *testing.T) {
	for _, address := range []string{"unix:" + filepath.Join(t.TempDir(), "none"), "127.0.0.1:1", "/ip4/127.0.0.1/tcp/1"} {
		_, err := dial(t, address).Version(t.Context())
		if !errors.Is(err, ErrNoDaemon) || !strings.Contains(err.Error(), address) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v, want ErrNoDaemon", address, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := dial(t, "127.0.0.1:1").Version(ctx); !errors.Is(err, context.Canceled) {
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

func TestAliases(t *testing.T) {
	d := newDaemon(t, nil, Config{})
	d.both(t, func(t *testing.T, c *Client) {
		ctx := t.Context()
		root := newBlock(t, block.Raw, []byte(t.Name()))
		if err := d.node.Put(ctx, root); err != nil {
			t.Fatal(err)
		}
		sel := store.Selection{Share: 1, Of: 3, Skip: []cid.Cid{newBlock(t, block.Raw, []byte("skipped")).CID()}}
		names := []string{t.Name() + "/a b&c", t.Name() + "/ü\n"}
		for _, name := range names {
			if err := c.SetAlias(ctx, name, root.CID(), store.AliasOptions{Selection: sel}); err != nil {
				t.Fatal(err)
			}
			want, err := d.node.Store().GetAlias(ctx, name)
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.GetAlias(ctx, name)
			if err != nil || got.Name != name || got.Root != want.Root || !slices.Equal(got.Selection.Skip, sel.Skip) || got.Selection.Of != 3 {
				t.Errorf("%q: got %+v, %v, want %+v", name, got, err, want)
			}
		}
		for what, list := range map[string]func(yield func(store.Alias, error) bool){
			"aliases": c.Aliases(ctx, t.Name()+"/"), "why": c.ReverseAlias(ctx, root.CID()),
		} {
			var got []string
			for a, err := range list {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, a.Name)
			}
			if slices.Sort(got); !slices.Equal(got, names) {
				t.Errorf("%s: got %q, want %q", what, got, names)
			}
		}
		if err := c.RemoveAlias(ctx, names[0]); err != nil {
			t.Error(err)
		}
		for range c.Aliases(ctx, "nothing begins so") {
			t.Error("got an alias, want none")
		}
	})
}

func TestBatch(t *testing.T) {
	d := newDaemon(t, nil, Config{})
	d.both(t, func(t *testing.T, c *Client) {
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
		if _, err := c.GetAlias(ctx, name); !errors.Is(err, store.ErrNoAlias) {
			t.Errorf("before Commit: got %v", err)
		}
		if err := b.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		if a, err := c.GetAlias(ctx, name); err != nil || a.Root != blocks[0].CID() {
			t.Errorf("got %v, %v", a.Root, err)
		}
		for _, k := range blocks {
			if has, err := c.Has(ctx, k.CID()); !has || err != nil {
				t.Errorf("%s: got %v, %v", k.CID(), has, err)
			}
		}
		if err := b.Commit(ctx); !errors.Is(err, errBatchEnded) {
			t.Errorf("a second Commit: got %v", err)
		}
		if err := b.Put(ctx, blocks[0]); !errors.Is(err, errBatchEnded) {
			t.Errorf("Put after Commit: got %v", err)
		}

		// All or nothing.
		bad := c.Batch()
		bad.Alias(name+"/x", blocks[1].CID(), store.AliasOptions{})
		bad.RemoveAlias("there is none")
		if err := bad.Commit(ctx); !errors.Is(err, store.ErrNoAlias) {
			t.Errorf("got %v, want ErrNoAlias", err)
		}
		if _, err := c.GetAlias(ctx, name+"/x"); !errors.Is(err, store.ErrNoAlias) {
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
		if _, err := c.GetAlias(ctx, name+"/y"); !errors.Is(err, store.ErrNoAlias) {
			t.Errorf("a discarded batch was done: %v", err)
		}
	})
}

// TestBatchToldAtOnce puts until the daemon, whose disk is full, has answered.
func TestBatchToldAtOnce(t *testing.T) {
	n := newNode(t, cairn.Config{Dir: filepath.Join(t.TempDir(), "repo"), Offline: true, Store: store.Options{Reserve: 1 << 60}})
	d := newDaemon(t, n, Config{})
	d.both(t, func(t *testing.T, c *Client) {
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

func TestCat(t *testing.T) {
	d := newDaemon(t, nil, Config{})
	data := noise(5<<20, 1)
	file := d.added(t, data, cairn.AddOptions{})
	d.both(t, func(t *testing.T, c *Client) {
		for _, tt := range []struct{ offset, length int64 }{
			{0, -1}, {0, 0}, {1, 1}, {1 << 20, 1 << 20}, {3 << 20, 10 << 20}, {5 << 20, -1}, {6 << 20, 3},
		} {
			var out bytes.Buffer
			size := int64(-1)
			err := c.Cat(t.Context(), &out, file.CID, tt.offset, tt.length, func(n int64) { size = n })
			want := data[min(tt.offset, int64(len(data))):]
			if tt.length >= 0 {
				want = want[:min(tt.length, int64(len(want)))]
			}
			if err != nil || !bytes.Equal(out.Bytes(), want) || size != int64(len(want)) {
				t.Errorf("%+v: got %d bytes, of %d announced, %v, want %d", tt, out.Len(), size, err, len(want))
			}
		}
	})
}

// TestErrorBehind reads a file of which a block is missing: what is there comes,
// and then the error.
func TestErrorBehind(t *testing.T) {
	d := newDaemon(t, nil, Config{})
	file := d.added(t, noise(3<<20, 2), cairn.AddOptions{NoPin: true})
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
	d.both(t, func(t *testing.T, c *Client) {
		var out bytes.Buffer
		err := c.Cat(t.Context(), &out, file.CID, 0, -1, nil)
		if !errors.Is(err, block.ErrNotFound) || out.Len() != 2<<20 {
			t.Errorf("got %d bytes and %v, want 2 MiB and ErrNotFound", out.Len(), err)
		}
		if err := c.ExportCAR(t.Context(), &bytes.Buffer{}, file.CID); !errors.Is(err, block.ErrNotFound) {
			t.Errorf("export: got %v", err)
		}
		var missing []cid.Cid
		for k, err := range c.Missing(t.Context(), file.CID, store.Selection{}) {
			if err != nil {
				t.Fatal(err)
			}
			missing = append(missing, k)
		}
		if !slices.Equal(missing, links[2:3]) {
			t.Errorf("missing: got %v, want %v", missing, links[2:3])
		}
		if st, err := c.StatDAG(t.Context(), file.CID); err != nil || st.Blocks != 3 || st.Missing != 1 {
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
	d := newDaemon(t, nil, Config{})
	d.both(t, func(t *testing.T, c *Client) {
		r, entries := request()
		got, err := c.Add(t.Context(), r)
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
			if _, err := c.GetAlias(t.Context(), cairn.PinName(want[i].CID)); err != nil {
				t.Error(err)
			}
		}
		// What a name is for.
		r, _ = request()
		r.Options.Alias = "name"
		if _, err := c.Add(t.Context(), r); err == nil || !strings.Contains(err.Error(), "one root only") {
			t.Errorf("one alias for three: got %v", err)
		}
		// An error names its item, and ends all.
		r, _ = request()
		r.Options.Alias = ""
		r.Items = []AddItem{{In: strings.NewReader("never kept " + t.Name())}, {Path: filepath.Join(dir, "none")}}
		var of *AddError
		if _, err := c.Add(t.Context(), r); !errors.As(err, &of) || of.Item != 1 || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v, want one about item 1", err)
		}
		stop := errors.New("stop")
		r, _ = request()
		r.Entry = func(int, cairn.AddEntry) error { return stop }
		if _, err := c.Add(t.Context(), r); !errors.Is(err, stop) {
			t.Errorf("got %v, want the caller's error", err)
		}
	})
	wrap = true
	r, wantEntries = request()
	if want, err = Hash(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	d.both(t, func(t *testing.T, c *Client) {
		r, entries := request()
		got, err := c.Add(t.Context(), r)
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
	if got, err := d.unix.Add(t.Context(), r); err != nil || got[0].CID != want[0].CID {
		t.Errorf("again: got %+v, %v", got, err)
	}
	if a := d.post(t, "cairn/add", "arg="+dir, "", nil); a.status != 403 {
		t.Errorf("paths over TCP: got status %d: %s", a.status, a.body)
	}
	if a := d.post(t, "cairn/add", "arg=-", "text/plain", strings.NewReader("x")); a.status != 200 {
		t.Errorf("a body over TCP: got status %d: %s", a.status, a.body)
	}
	if _, err := d.tcp.Add(t.Context(), AddRequest{Items: r.Items, Options: cairn.AddOptions{NoCopy: true}}); !errors.Is(err, ErrForbidden) {
		t.Errorf("nocopy over TCP: got %v", err)
	}
}

// TestAddNoCopy leaves the bytes in the files.
func TestAddNoCopy(t *testing.T) {
	n := newNode(t, cairn.Config{Dir: filepath.Join(t.TempDir(), "repo"), Offline: true})
	d := newDaemon(t, n, Config{})
	file := filepath.Join(t.TempDir(), "big")
	data := noise(2<<20, 7)
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := d.unix.Add(t.Context(), AddRequest{Items: []AddItem{{Path: file}}, Options: cairn.AddOptions{NoCopy: true}})
	if err != nil {
		t.Fatal(err)
	}
	if st, err := d.unix.Stats(t.Context()); err != nil || st.PackBytes > 1<<20 {
		t.Errorf("got %d bytes in packs, %v, want no copy", st.PackBytes, err)
	}
	var out bytes.Buffer
	if err := d.unix.Cat(t.Context(), &out, got[0].CID, 0, -1, nil); err != nil || !bytes.Equal(out.Bytes(), data) {
		t.Errorf("got %d bytes, %v", out.Len(), err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	var path *fs.PathError
	if err := d.unix.Cat(t.Context(), &out, got[0].CID, 0, -1, nil); !errors.As(err, &path) {
		t.Errorf("gone: got %v, want an error about a file", err)
	}
}

func TestUpkeep(t *testing.T) {
	dir := t.TempDir()
	n := newNode(t, cairn.Config{Dir: filepath.Join(dir, "repo"), Offline: true})
	d := newDaemon(t, n, Config{Version: "1.2.3", Commit: "abc"})
	file := d.added(t, noise(1<<20, 3), cairn.AddOptions{})
	d.added(t, noise(1<<20, 4), cairn.AddOptions{NoPin: true})
	d.both(t, func(t *testing.T, c *Client) {
		ctx := t.Context()
		if v, err := c.Version(ctx); err != nil || v.Version != "1.2.3" || v.Commit != "abc" {
			t.Errorf("version: got %+v, %v", v, err)
		}
		if got, err := c.Dir(ctx); err != nil || got != n.Store().Dir() {
			t.Errorf("dir: got %q, %v", got, err)
		}
		r, err := c.Verify(ctx, store.VerifyOptions{Data: true, Progress: func(int64, int64) {}})
		if err != nil || !r.OK() || r.Blocks < 1 {
			t.Errorf("verify: got %+v, %v", r, err)
		}
		want, err := n.Store().Evict(ctx, store.EvictOptions{DryRun: true})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Evict(ctx, store.EvictOptions{DryRun: true}); err != nil || got != want {
			t.Errorf("evict: got %+v, %v, want %+v", got, err, want)
		}
		me, err := c.Identity(ctx)
		if err != nil || me.Agent != "cairn/1.2.3" || me.ID.Validate() != nil {
			t.Errorf("id: got %+v, %v", me, err)
		}
	})
	copied := filepath.Join(dir, "copy")
	if err := d.tcp.Backup(t.Context(), copied); !errors.Is(err, ErrForbidden) {
		t.Errorf("backup over TCP: got %v", err)
	}
	if err := d.unix.Backup(t.Context(), copied); err != nil {
		t.Fatal(err)
	}
	if err := d.unix.Backup(t.Context(), copied); !errors.Is(err, fs.ErrExist) {
		t.Errorf("backup to what is there: got %v", err)
	}
	back := newNode(t, cairn.Config{Dir: copied, Offline: true})
	if _, err := back.Get(t.Context(), file.CID); err != nil {
		t.Error(err)
	}
	done, err := d.unix.Evict(t.Context(), store.EvictOptions{})
	if err != nil || done.Blocks == 0 {
		t.Errorf("evict: got %+v, %v", done, err)
	}
}

// TestVerifyFindsDamage expects the report to come through whole.
func TestVerifyFindsDamage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repo")
	n := newNode(t, cairn.Config{Dir: dir, Offline: true})
	text := []byte("bytes that are easily found again")
	b := newBlock(t, block.Raw, text)
	if err := errors.Join(n.Put(t.Context(), b), n.Store().Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	packs, err := filepath.Glob(filepath.Join(dir, "packs", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, pack := range packs {
		data, err := os.ReadFile(pack)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(data, text); at >= 0 {
			f, err := os.OpenFile(pack, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.WriteAt([]byte{'B'}, int64(at))
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	d := newDaemon(t, n, Config{})
	want, err := n.Store().Verify(t.Context(), store.VerifyOptions{Data: true})
	if err != nil || want.OK() {
		t.Fatalf("got %+v, %v, want damage", want, err)
	}
	got, err := d.tcp.Verify(t.Context(), store.VerifyOptions{Data: true})
	if err != nil || !slices.Equal(got.Damaged, want.Damaged) || got.DamagedBlocks != want.DamagedBlocks || got.Blocks != want.Blocks {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestEvents(t *testing.T) {
	d := newDaemon(t, nil, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	root := newBlock(t, block.Raw, []byte("evented")).CID()
	resp, err := d.unix.do(ctx, request{verb: "cairn/events"})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() // the listening has begun, for the header is here
	if err := d.tcp.SetAlias(ctx, "it", root, store.AliasOptions{}); err != nil {
		t.Fatal(err)
	}
	for line, err := range readLines(resp.Body) {
		if err != nil {
			t.Fatal(err)
		}
		equalJSON(t, "event", string(line), `{"kind":"alias","name":"it","cid":"`+root.String()+`"}`)
		break
	}
	cancel()
	for _, err := range d.unix.Events(ctx) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
}

// TestLongPath listens at a path that no socket's address can hold.
func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30), strings.Repeat("longer", 20))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "api.sock")
	l, err := ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 || info.Mode()&os.ModeSocket == 0 {
		t.Errorf("got %v, %v, want a socket of mode 0600", info, err)
	}
	accepted := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			err = c.Close()
		}
		accepted <- err
	}()
	if !Answers(path) {
		t.Error("nobody answers")
	}
	if err := <-accepted; err != nil {
		t.Error(err)
	}
	// A second one takes its place; a closed one doesn't answer.
	again, err := ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	if Answers(path) || Answers(dir) || Answers(filepath.Join(dir, "none")) {
		t.Error("something answers where nobody listens")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("got %v, %v, want the socket alone", entries, err)
	}
	var _ net.Listener = l
}
