package ipld

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/block/blocktest"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/ipfs/go-cid"
)

// put stores a block of data.
func put(t testing.TB, to block.Putter, codec uint64, data []byte) cid.Cid {
	t.Helper()
	b, err := block.New(codec, data)
	if err == nil {
		err = to.Put(t.Context(), b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.CID()
}

// putValue stores a value written as dag-json.
func putValue(t testing.TB, to block.Putter, codec uint64, text string) cid.Cid {
	t.Helper()
	from, err := CodecByName("dag-json")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range Codecs() {
		if c.Code != codec {
			continue
		}
		b, err := ReadValue(strings.NewReader(text), from, c, cid.Prefix{Version: 1, Codec: codec, MhType: 0x12, MhLength: -1})
		if err != nil {
			t.Fatal(err)
		}
		return put(t, to, codec, b.Data())
	}
	t.Fatalf("no codec 0x%x", codec)
	return cid.Undef
}

// A world is a store with a directory, plain and sharded, and values that link to
// each other and to it.
type world struct {
	*blocktest.Mem
	dir, file, sharded, last, inner, outer, chain, plain cid.Cid
}

func newWorld(t testing.TB) world {
	w := world{Mem: &blocktest.Mem{}}
	files := fstest.MapFS{
		"a/b/c":    {Data: []byte("c")},
		"a/link":   {Data: []byte("b"), Mode: fs.ModeSymlink},
		"top":      {Data: []byte("top")},
		"Links":    {Data: []byte("an entry with the name of a field")},
		"a/..x/.y": {Data: []byte("odd")},
	}
	for i := range 300 {
		files[fmt.Sprintf("sharded/file%d", i)] = &fstest.MapFile{Data: fmt.Append(nil, i)}
	}
	p := unixfs.V1Profile()
	p.Name, p.ShardThreshold = "", 1000
	r, err := unixfs.ImportFS(t.Context(), w, files, unixfs.Options{Profile: p})
	if err != nil {
		t.Fatal(err)
	}
	w.dir = r.CID
	for path, c := range map[string]*cid.Cid{"a/b/c": &w.file, "sharded": &w.sharded, "sharded/file7": &w.last} {
		if *c, err = Resolve(t.Context(), w, w.dir, path); err != nil {
			t.Fatal(err)
		}
	}
	w.inner = putValue(t, w, block.DagCBOR, fmt.Sprintf(`{"dir":{"/":%q},"list":[1,[true,{"/":%q}]],"pad":{"/":{"bytes":"AAAA"}}}`, w.dir, w.file))
	w.outer = put(t, w, block.DagJSON, fmt.Appendf(nil, `{"bytes":{"/":{"bytes":"AAAA"}},"n":[1,{"to":{"/":%q}}],"other":{"a":[[]]}}`, w.inner))
	w.chain = putValue(t, w, block.DagCBOR, fmt.Sprintf(`{"/":%q}`, w.outer))
	w.plain = put(t, w, block.JSON, []byte(`{"a":["x",{"b":2}]}`))
	return w
}

func TestResolve(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		root cid.Cid
		path string
		want cid.Cid // Undef: any
		err  error
	}{
		{w.dir, "", w.dir, nil},
		{w.dir, "/", w.dir, nil},
		{w.dir, "top", cid.Undef, nil},
		{w.dir, "/a//b/./c/", w.file, nil},
		{w.dir, "a/b/../../a/b/c", w.file, nil},
		{w.dir, "a/link", cid.Undef, nil},
		{w.dir, "sharded/file7", w.last, nil},
		{w.dir, "a/..x/.y", cid.Undef, nil},
		{w.dir, "sharded/none", cid.Undef, fs.ErrNotExist},
		{w.dir, "a/link/c", cid.Undef, unixfs.ErrNotDirectory},
		{w.dir, "top/x", cid.Undef, unixfs.ErrNotDirectory},
		{w.dir, "a/x/c", cid.Undef, fs.ErrNotExist},
		{w.dir, "Links/0/Hash", cid.Undef, unixfs.ErrNotDirectory},
		{w.dir, "..", cid.Undef, block.ErrMalformed},
		{w.dir, "a/../../a", cid.Undef, block.ErrMalformed},
		{w.inner, "dir/a/b/c", w.file, nil},
		{w.inner, "list/1/1", w.file, nil},
		{w.inner, "list/1/01", cid.Undef, fs.ErrNotExist},
		{w.inner, "list/1/2", cid.Undef, fs.ErrNotExist},
		{w.inner, "none", cid.Undef, fs.ErrNotExist},
		{w.inner, "pad/below", cid.Undef, fs.ErrNotExist},
		{w.inner, "pad", cid.Undef, ErrNotBlock},
		{w.inner, "list/1", cid.Undef, ErrNotBlock},
		{w.outer, "n/1/to/dir/sharded/file7", w.last, nil},
		{w.outer, "bytes", cid.Undef, ErrNotBlock},
		{w.outer, "n/2", cid.Undef, fs.ErrNotExist},
		{w.chain, "n/1/to", w.inner, nil},
		{w.chain, "", w.chain, nil},
		{w.plain, "a/1", cid.Undef, block.ErrUnknownCodec},
		{cid.NewCidV1(cid.Libp2pKey, w.file.Hash()), "a", cid.Undef, block.ErrUnknownCodec},
		{put(t, w, block.DagCBOR, []byte{0x9f}), "a", cid.Undef, block.ErrMalformed},
		{cid.MustParse("bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"), "a", cid.Undef, block.ErrNotFound},
	} {
		got, err := Resolve(t.Context(), w, tt.root, tt.path)
		if !errors.Is(err, tt.err) || err == nil && (!got.Defined() || tt.want.Defined() && got != tt.want) {
			t.Errorf("%s/%s: got %s, %v, want %s, %v", tt.root, tt.path, got, err, tt.want, tt.err)
		}
	}
	_, err := Resolve(t.Context(), w, w.inner, "dir/a/x/c")
	var at *PathError
	if !errors.As(err, &at) || strings.Join(at.Path, "/") != "dir/a/x" || !strings.HasPrefix(err.Error(), "resolve "+w.inner.String()+"/dir/a/x: ") {
		t.Errorf("got %v, want an error that names dir/a/x", err)
	}
}

// TestNodeAt follows paths to values, and to blocks as Resolve does.
func TestNodeAt(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		root cid.Cid
		path string
		want string // as dag-json; "": not compared
		at   cid.Cid
		rest string
		err  error
	}{
		{w.inner, "pad", `{"/":{"bytes":"AAAA"}}`, w.inner, "pad", nil},
		{w.inner, "/list//0/", `1`, w.inner, "list/0", nil},
		{w.inner, "list/1/0", `true`, w.inner, "list/1/0", nil},
		{w.inner, "list/1/1", `{"/":{"bytes":"Yw"}}`, w.file, "", nil},
		{w.inner, "list/1/00", ``, cid.Undef, "", errSkip},
		{w.inner, "list/2", ``, cid.Undef, "", fs.ErrNotExist},
		{w.inner, "none", ``, cid.Undef, "", fs.ErrNotExist},
		{w.inner, "pad/x", ``, cid.Undef, "", fs.ErrNotExist},
		{w.inner, "dir/a/b", ``, cid.Undef, "", nil},
		{w.inner, "dir/a/./b", ``, cid.Undef, "", fs.ErrNotExist},
		{w.chain, "n/0", `1`, w.outer, "n/0", nil},
		{w.chain, "n/1/to/list/0", `1`, w.inner, "list/0", nil},
		{w.plain, "a/1/b", `2`, w.plain, "a/1/b", nil},
		{w.plain, "a/1", `{"b":2}`, w.plain, "a/1", nil},
		{w.plain, "b", ``, cid.Undef, "", fs.ErrNotExist},
		{w.dir, "sharded/file7", `{"/":{"bytes":"Nw"}}`, w.last, "", nil},
		{w.dir, "sharded/none", ``, cid.Undef, "", fs.ErrNotExist},
		{w.dir, "Links/1/Name", `"a"`, w.dir, "Links/1/Name", nil},
		{w.dir, "Links/1/Hash/b/c", `{"/":{"bytes":"Yw"}}`, w.file, "", nil},
		{w.dir, "Links/99", ``, cid.Undef, "", fs.ErrNotExist},
		{w.dir, "Data", ``, w.dir, "Data", nil},
		{w.file, "x", ``, cid.Undef, "", fs.ErrNotExist},
		{cid.NewCidV1(cid.Libp2pKey, w.file.Hash()), "a", ``, cid.Undef, "", block.ErrUnknownCodec},
	} {
		got, err := NodeAt(t.Context(), w, tt.root, tt.path)
		if tt.err == errSkip {
			if err == nil {
				t.Errorf("%s: got %v, want an error", tt.path, got)
			}
			continue
		}
		if !errors.Is(err, tt.err) {
			t.Errorf("%s/%s: got %v, want %v", tt.root, tt.path, err, tt.err)
			continue
		}
		if err != nil {
			continue
		}
		if tt.at.Defined() && (got.CID != tt.at || strings.Join(got.Rest, "/") != tt.rest) {
			t.Errorf("%s: got the place %s %q, want %s %q", tt.path, got.CID, got.Rest, tt.at, tt.rest)
		}
		text, err := Codecs()[0].Bytes(got.Node)
		if err != nil || tt.want != "" && string(text) != tt.want {
			t.Errorf("%s: got %s, %v, want %s", tt.path, text, err, tt.want)
		}
	}
	if _, err := NodeAt(t.Context(), w, w.inner, "list/1/none"); err == nil || !strings.HasPrefix(err.Error(), "none: ") {
		t.Errorf("got %v, want an error that names the part", err)
	}
}

// errSkip stands for any error.
var errSkip = errors.New("any error")

// TestLongPath refuses a path through more blocks than maxSteps.
func TestLongPath(t *testing.T) {
	m := &blocktest.Mem{}
	at := putValue(t, m, block.DagCBOR, `{"end":{"/":"bafkqaaa"}}`)
	for range maxSteps {
		at = putValue(t, m, block.DagCBOR, fmt.Sprintf(`{"/":%q}`, at))
	}
	if _, err := Resolve(t.Context(), m, at, "end"); !errors.Is(err, block.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
	b, err := m.Get(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	shorter, _, err := cborLink(b.Data(), []string{"end"})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := Resolve(t.Context(), m, shorter, "end"); err != nil || c.String() != "bafkqaaa" {
		t.Errorf("one block less: got %s, %v", c, err)
	}
}

func TestCBORLinks(t *testing.T) {
	w := newWorld(t)
	c := putValue(t, w, block.DagCBOR, fmt.Sprintf(`[{"/":%q},{"a":{"/":%q},"b":[{"/":%q}]}]`, w.file, w.dir, w.file))
	b, err := w.Get(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	got, err := CBORLinks(b.Data())
	if want := []cid.Cid{w.file, w.dir, w.file}; err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if _, err := CBORLinks([]byte("\xd8\x2a\x41\x00\x9f")); !errors.Is(err, block.ErrMalformed) {
		t.Errorf("got %v, want ErrMalformed", err)
	}
}

// FuzzPaths follows paths through hostile blocks. Whatever Resolve finds, NodeAt
// agrees on, as far as it decodes the blocks.
func FuzzPaths(f *testing.F) {
	w := newWorld(f)
	f.Add([]byte("\xa1\x61a\x81\xd8\x2a\x46\x00\x01\x55\x00\x01x"), []byte(`{"a":[1,{"/":"bafkqaaa"}]}`), "a/0")
	f.Add([]byte("\x9b\xff\xff\xff\xff\xff\xff\xff\xff"), []byte(`{"/":{"bytes":"AA"}}`), "a/1")
	f.Add([]byte("\xd8\x2a\x41\x00"), []byte(`[[[[`), "0/0/0")
	f.Fuzz(func(t *testing.T, cbor, json []byte, path string) {
		parts := strings.Split(path, "/")
		for _, tt := range []struct {
			data   []byte
			codec  uint64
			follow func([]byte, []string) (cid.Cid, int, error)
		}{{cbor, block.DagCBOR, cborLink}, {json, block.DagJSON, jsonLink}} {
			c, used, err := tt.follow(tt.data, parts)
			if used > len(parts) || err == nil && block.CheckCID(c) != nil {
				t.Fatalf("got %s, %d of %d, %v", c, used, len(parts), err)
			}
			b, err := block.New(tt.codec, tt.data)
			if err != nil {
				continue
			}
			get := overlay{w, b}
			_, _ = NodeAt(t.Context(), get, b.CID(), path)
			if c, err := ResolveParts(t.Context(), get, b.CID(), parts); err == nil && !c.Defined() {
				t.Fatalf("%q: got no CID and no error", path)
			} else if at := new(PathError); err != nil && !errors.As(err, &at) {
				t.Fatalf("%q: got %v, want a PathError", path, err)
			}
		}
	})
}

// An overlay is a Getter with one block more.
type overlay struct {
	block.Getter
	b block.Block
}

func (o overlay) Get(ctx context.Context, c cid.Cid) (block.Block, error) {
	if bytes.Equal(c.Hash(), o.b.CID().Hash()) {
		return o.b, nil
	}
	return o.Getter.Get(ctx, c)
}
