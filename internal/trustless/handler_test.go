package trustless

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/car"
	"github.com/cairn-ipfs/cairn/internal/ipld"
	"github.com/ipfs/go-cid"
)

// ask sends a request to a handler. headers are names and values in turn.
func ask(h http.Handler, method, target string, headers ...string) *http.Response {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func bodyOf(t testing.TB, r *http.Response) string {
	t.Helper()
	p, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(p)
}

// carOf reads a CAR from a response, and returns its roots and CIDs.
func carOf(t testing.TB, r *http.Response) (roots, cids []cid.Cid) {
	t.Helper()
	if r.StatusCode != http.StatusOK {
		t.Fatalf("got %s: %s, want a CAR", r.Status, bodyOf(t, r))
	}
	reader, err := car.NewReader(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	for b, err := range reader.Blocks() {
		if err != nil {
			t.Fatal(err)
		}
		cids = append(cids, b.CID())
	}
	return reader.Roots(), cids
}

func wantHeaders(t *testing.T, r *http.Response, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got := r.Header.Get(name); got != value {
			t.Errorf("%s: got %q, want %q", name, got, value)
		}
	}
}

func TestHeaders(t *testing.T) {
	store := &blocks{}
	b := rawBlock(t, []byte("hello"))
	put(t, store, b)
	h := NewHandler(Config{Blocks: store})
	c := b.CID().String()

	for _, method := range []string{"GET", "HEAD"} {
		t.Run("raw "+method, func(t *testing.T) {
			gets := store.gets.Load()
			r := ask(h, method, "/ipfs/"+c+"?format=raw")
			wantHeaders(t, r, map[string]string{
				"Content-Type":           "application/vnd.ipld.raw",
				"Content-Length":         "5",
				"Content-Disposition":    `attachment; filename="` + c + `.bin"`,
				"Content-Location":       "",
				"X-Content-Type-Options": "nosniff",
				"Cache-Control":          "public, max-age=29030400, immutable",
				"Etag":                   `"` + c + `.raw"`,
			})
			if method == "GET" {
				if got := bodyOf(t, r); got != "hello" {
					t.Errorf("got %q, want hello", got)
				}
			} else if got := store.gets.Load() - gets; got != 0 {
				t.Errorf("HEAD read %d blocks, want none", got)
			}
		})
		t.Run("car "+method, func(t *testing.T) {
			gets := store.gets.Load()
			r := ask(h, method, "/ipfs/"+c, "Accept", "application/vnd.ipld.car; version=1; order=dfs; dups=y")
			wantHeaders(t, r, map[string]string{
				"Content-Type":           "application/vnd.ipld.car; version=1; order=dfs; dups=y",
				"Content-Length":         "",
				"Content-Disposition":    `attachment; filename="` + c + `.car"`,
				"Content-Location":       "/ipfs/" + c + "?car-dups=y&car-order=dfs&car-version=1&format=car",
				"Accept-Ranges":          "none",
				"X-Content-Type-Options": "nosniff",
				"Cache-Control":          "public, max-age=29030400, immutable",
			})
			if etag := r.Header.Get("Etag"); !strings.HasPrefix(etag, `W/"`+c+".car.all.") {
				t.Errorf("got the ETag %q, want a weak one with CID, format and scope", etag)
			}
			if method == "HEAD" && store.gets.Load() != gets {
				t.Errorf("HEAD read %d blocks, want none", store.gets.Load()-gets)
			}
		})
	}
	r := ask(h, "GET", "/ipfs/"+c+"?format=raw&filename=%22h%C3%A9llo%0d.txt")
	wantHeaders(t, r, map[string]string{"Content-Disposition": `attachment; filename="_h_llo_.txt"; filename*=UTF-8''%22h%C3%A9llo%0D.txt`})
	r = ask(h, "GET", "/ipfs/"+c+"?format=raw", "Range", "bytes=1-2")
	if got := bodyOf(t, r); r.StatusCode != http.StatusPartialContent || got != "el" {
		t.Errorf("a range: got %s and %q, want 206 and el", r.Status, got)
	}
}

// TestNegotiation expects the served format of the highest quality, and the query
// to override it.
func TestNegotiation(t *testing.T) {
	store := &blocks{}
	b := rawBlock(t, []byte("hello"))
	put(t, store, b)
	h := NewHandler(Config{Blocks: store})
	const raw, dfsN, dfsY, unkN = "application/vnd.ipld.raw", "application/vnd.ipld.car; version=1; order=dfs; dups=n",
		"application/vnd.ipld.car; version=1; order=dfs; dups=y", "application/vnd.ipld.car; version=1; order=unk; dups=n"
	for _, c := range []struct {
		query, accept string
		status        int
		want          string
		located       bool
	}{
		{"", "", 400, "", false},
		{"", "*/*", 406, "", false},
		{"", "text/html,application/xhtml+xml,*/*;q=0.8", 406, "", false},
		{"", raw, 200, raw, true},
		{"", "application/vnd.ipld.car", 200, dfsN, true},
		{"", "application/vnd.ipld.car;order=unk", 200, unkN, true},
		{"", "application/vnd.ipld.car;order=foo, application/vnd.ipld.car;order=dfs;dups=y;q=0.5", 200, dfsY, true},
		{"", "application/vnd.ipld.car;q=0.5, application/vnd.ipld.raw;q=0.9", 200, raw, true},
		{"", "application/vnd.ipld.car;version=2", 406, "", false},
		{"", "application/vnd.ipld.raw;q=0", 406, "", false},
		{"", "application/vnd.ipld.raw;q=NaN", 406, "", false},
		{"", `application/vnd.ipld.car;order="d,x", application/vnd.ipld.car;dups="y"`, 200, dfsY, true},
		{"format=raw", "", 200, raw, false},
		{"format=raw", "application/vnd.ipld.car", 200, raw, false},
		{"format=car", "text/html", 200, dfsN, false},
		{"format=car", "application/vnd.ipld.car;dups=y", 200, dfsY, true},
		{"format=car&car-dups=n", "application/vnd.ipld.car;dups=y", 200, dfsN, true},
		{"format=car&car-order=unk&car-version=1", "", 200, unkN, false},
		{"format=car&car-order=bfs", "", 400, "", false},
		{"format=car&car-dups=maybe", "", 400, "", false},
		{"format=car&car-version=2", "", 400, "", false},
		{"format=tar", "", 406, "", false},
		{"format=dag-json", raw, 406, "", false},
		{"format=car&dag-scope=some", "", 400, "", false},
		{"format=car&entity-bytes=5", "", 400, "", false},
		{"format=car&entity-bytes=5:3", "", 400, "", false},
		{"format=car&entity-bytes=-3:-5", "", 400, "", false},
		{"format=car&entity-bytes=5:7", "", 400, "", false},
		{"format=car&%zz", "", 400, "", false},
		{"format=car&have=", "", 400, "", false},
		{"format=car&have=x", "", 400, "", false},
		{"format=car&dag-scope=block&have=" + b.CID().String(), "", 400, "", false},
		{"format=car&leaves=x", "", 400, "", false},
		{"format=car&leaves=n&car-dups=y", "", 400, "", false},
		{"format=car&leaves=n&dag-scope=entity", "", 400, "", false},
		{"", strings.Repeat("a/b,", 2000), 431, "", false},
		{"x=" + strings.Repeat("a", 20_000), "", 414, "", false},
	} {
		var headers []string
		if c.accept != "" {
			headers = []string{"Accept", c.accept}
		}
		r := ask(h, "GET", "/ipfs/"+b.CID().String()+"?"+c.query, headers...)
		got := r.Header.Get("Content-Type")
		if r.StatusCode != c.status || c.status == 200 && got != c.want {
			t.Errorf("%.60s, Accept: %.80s: got %s and %s, want %d and %s", c.query, c.accept, r.Status, got, c.status, c.want)
		}
		if located := r.Header.Get("Content-Location") != ""; located != c.located {
			t.Errorf("%s, Accept: %s: got a Content-Location: %v, want %v", c.query, c.accept, located, c.located)
		}
		if r.StatusCode != 200 && (r.Header.Get("Cache-Control") != "no-store" || bodyOf(t, r) == "") {
			t.Errorf("%.60s: got an error that is cached or empty", c.query)
		}
	}
}

func TestRefusals(t *testing.T) {
	store := &blocks{}
	leaf := rawBlock(t, []byte("leaf"))
	put(t, store, leaf)
	absent := rawBlock(t, []byte("absent")).CID().String()
	h := NewHandler(Config{Blocks: store})
	l := leaf.CID().String()
	for _, c := range []struct {
		method, target string
		header         []string
		status         int
	}{
		{"POST", "/ipfs/" + l, nil, 405},
		{"GET", "/", nil, 404},
		{"GET", "/ipfs", nil, 404},
		{"GET", "/ipns/example.org", nil, 501},
		{"GET", "/ipfs/?format=raw", nil, 400},
		{"GET", "/ipfs/nonsense?format=raw", nil, 400},
		// A hash too short to be trusted.
		{"GET", "/ipfs/bafkrefak?format=raw", nil, 400},
		{"GET", "/ipfs/" + l + "/a/../b?format=car", nil, 400},
		{"GET", "/ipfs/" + l + strings.Repeat("/a", maxSegments+1) + "?format=car", nil, 400},
		{"GET", "/ipfs/" + l + "/a?format=raw", nil, 406},
		{"GET", "/ipfs/" + l + "/a?format=car", nil, 200},
		{"GET", "/ipfs/" + l + "/?format=raw", nil, 200},
		{"GET", "/ipfs/" + absent + "?format=raw", nil, 404},
		{"HEAD", "/ipfs/" + absent + "?format=raw", nil, 404},
		{"GET", "/ipfs/" + absent + "?format=car", nil, 404},
		{"HEAD", "/ipfs/" + absent + "?format=car", nil, 404},
		{"GET", "/ipfs/" + absent + "/a?format=car", nil, 404},
		{"GET", "/ipfs/" + absent + "?format=raw", []string{"Cache-Control", "max-age=0, only-if-cached"}, 412},
		{"GET", "/ipfs/" + l + "?format=raw", []string{"Cache-Control", "only-if-cached"}, 200},
		{"GET", "/ipfs/bafkqaaa?format=raw", nil, 200},
		{"HEAD", "/ipfs/bafkqaaa?format=raw", nil, 200},
		{"HEAD", "/ipfs/bafkqaaa?format=car", nil, 200},
	} {
		r := ask(h, c.method, c.target, c.header...)
		if r.StatusCode != c.status {
			t.Errorf("%s %.60s %v: got %s (%.80s), want %d", c.method, c.target, c.header, r.Status, bodyOf(t, r), c.status)
		}
	}
	roots, cids := carOf(t, ask(h, "GET", "/ipfs/bafkqaaa?format=car"))
	if !slices.Equal(roots, []cid.Cid{probe}) || cids != nil {
		t.Errorf("the probe: got roots %v and blocks %v, want bafkqaaa and none", roots, cids)
	}
	r := httptest.NewRequest("GET", "/ipfs/"+l+"?format=car", nil)
	r.ProtoMajor, r.ProtoMinor = 1, 0
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusHTTPVersionNotSupported {
		t.Errorf("HTTP/1.0: got %d, want 505", w.Code)
	}
}

func TestIfNoneMatch(t *testing.T) {
	store := &blocks{}
	root := addFile(t, store, random(10_000, 1), small())
	h := NewHandler(Config{Blocks: store})
	etags := map[string]string{}
	for _, query := range []string{
		"format=raw", "format=car", "format=car&dag-scope=block", "format=car&dag-scope=entity", "format=car&car-dups=y",
		"format=car&car-order=unk", "format=car&entity-bytes=0:5", "format=car&entity-bytes=0:6", "format=car&leaves=n",
		"format=car&have=" + root.String(),
	} {
		for _, method := range []string{"GET", "HEAD"} {
			target := "/ipfs/" + root.String() + "?" + query
			etag := ask(h, method, target).Header.Get("Etag")
			if other, ok := etags[etag]; ok && other != query {
				t.Errorf("%s and %s have the same ETag", query, other)
			}
			etags[etag] = query
			for _, match := range []string{etag, `"x", ` + etag, "*", strings.TrimPrefix(etag, "W/")} {
				if r := ask(h, method, target, "If-None-Match", match); r.StatusCode != 304 || bodyOf(t, r) != "" || r.Header.Get("Etag") != etag {
					t.Errorf("%s %s: If-None-Match: %s: got %s, want 304", method, query, match, r.Status)
				}
			}
			if r := ask(h, method, target, "If-None-Match", `"x"`); r.StatusCode != 200 {
				t.Errorf("%s %s: another ETag: got %s, want 200", method, query, r.Status)
			}
		}
	}
}

// TestPaths follows paths through directories, also sharded ones, dag-cbor and
// dag-json.
func TestPaths(t *testing.T) {
	store := &blocks{}
	files := fstest.MapFS{"a/b/file": {Data: random(5000, 1)}, "a/x%2Fy?": {Data: []byte("odd")}}
	for i := range 300 {
		files[fmt.Sprintf("sharded/file%d", i)] = &fstest.MapFile{Data: random(10, uint64(i))}
	}
	p := small()
	p.ShardThreshold = 1000
	root := addTree(t, store, files, p)
	entry := func(path string) cid.Cid {
		c, err := ipld.Resolve(t.Context(), store, root, path)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	leaf := rawBlock(t, []byte("leaf"))
	inner := cborBlock(t, nil, leaf.CID(), root)
	outer := cborBlock(t, []byte("pad"), inner.CID())
	json, err := block.New(block.DagJSON, []byte(`{"bytes":{"/":{"bytes":"AAAA"}},"n":[1,{"to":{"/":"`+outer.CID().String()+`"}}],"other":{"a":[[]]}}`))
	if err != nil {
		t.Fatal(err)
	}
	put(t, store, leaf, inner, outer, json)
	h := NewHandler(Config{Blocks: store})
	shards := 0
	for range blocksOnWay(t, store, root, "sharded/file7") {
		shards++
	}

	for _, c := range []struct {
		root cid.Cid
		path string
		end  cid.Cid
		// through are the blocks before the end; nil: not compared.
		through []cid.Cid
		status  int
	}{
		{root, "/a/b/file", entry("a/b/file"), []cid.Cid{root, entry("a"), entry("a/b")}, 200},
		{root, "//a//b/", entry("a/b"), []cid.Cid{root, entry("a")}, 200},
		{root, "/sharded/file7", entry("sharded/file7"), nil, 200},
		{json.CID(), "/n/1/to/links/0/links/0", leaf.CID(), []cid.Cid{json.CID(), outer.CID(), inner.CID()}, 200},
		{json.CID(), "/n/1/to", outer.CID(), []cid.Cid{json.CID()}, 200},
		{inner.CID(), "/links/1/a/b/file", entry("a/b/file"), []cid.Cid{inner.CID(), root, entry("a"), entry("a/b")}, 200},
		{root, "/nothing", cid.Undef, []cid.Cid{root}, 200},
		{root, "/sharded/nothing", cid.Undef, nil, 200},
		{root, "/a/b/file/below", cid.Undef, []cid.Cid{root, entry("a"), entry("a/b"), entry("a/b/file")}, 200},
		{inner.CID(), "/links/2", cid.Undef, []cid.Cid{inner.CID()}, 200},
		{inner.CID(), "/links/01", cid.Undef, []cid.Cid{inner.CID()}, 200},
		{inner.CID(), "/nothing", cid.Undef, []cid.Cid{inner.CID()}, 200},
		{inner.CID(), "/pad/below", cid.Undef, []cid.Cid{inner.CID()}, 200},
		{inner.CID(), "/pad", cid.Undef, nil, 501},
		{inner.CID(), "/links", cid.Undef, nil, 501},
		{json.CID(), "/n/0", cid.Undef, nil, 501},
		{json.CID(), "/bytes", cid.Undef, nil, 501},
		{json.CID(), "/other", cid.Undef, nil, 501},
		{json.CID(), "/n/2", cid.Undef, []cid.Cid{json.CID()}, 200},
		{json.CID(), "/n/x", cid.Undef, []cid.Cid{json.CID()}, 200},
		{json.CID(), "/nothing", cid.Undef, []cid.Cid{json.CID()}, 200},
	} {
		t.Run(c.path, func(t *testing.T) {
			target := "/ipfs/" + c.root.String() + c.path + "?format=car"
			if r := ask(h, "HEAD", target); r.StatusCode != c.status {
				t.Errorf("HEAD: got %s, want %d", r.Status, c.status)
			}
			r := ask(h, "GET", target)
			if c.status != 200 {
				if message := bodyOf(t, r); r.StatusCode != c.status || !strings.Contains(message, c.root.String()) {
					t.Errorf("got %s: %s, want %d, and which part", r.Status, message, c.status)
				}
				return
			}
			roots, cids := carOf(t, r)
			if !c.end.Defined() {
				if c.through != nil && !slices.Equal(cids, c.through) || len(cids) == 0 {
					t.Errorf("got%s, want the proof%s", short(cids), short(c.through))
				}
				return
			}
			if !slices.Equal(roots, []cid.Cid{c.end}) {
				t.Errorf("got the roots %v, want %v", roots, c.end)
			}
			below := dagOf(t, store, c.end)
			want := slices.Concat(c.through, below)
			if c.through == nil {
				want = append(cids[:len(cids)-len(below):len(cids)-len(below)], below...)
			}
			if !slices.Equal(cids, want) {
				t.Errorf("got%s, want%s", short(cids), short(want))
			}
		})
	}
	_, odd := carOf(t, ask(h, "GET", "/ipfs/"+root.String()+"/a/x%252Fy%3F?format=car&dag-scope=block"))
	if want := []cid.Cid{root, entry("a"), entry("a/x%2Fy?")}; !slices.Equal(odd, want) {
		t.Errorf("a name with odd characters: got%s, want%s", short(odd), short(want))
	}
	_, sharded := carOf(t, ask(h, "GET", "/ipfs/"+root.String()+"/sharded/file7?format=car&dag-scope=block"))
	if len(sharded) != shards+1 || shards < 3 {
		t.Errorf("a sharded directory: got %d blocks, want the %d on the way, and the file", len(sharded), shards)
	}
}

// blocksOnWay returns the blocks that a lookup of the path reads.
func blocksOnWay(t *testing.T, store block.Getter, root cid.Cid, path string) map[cid.Cid]bool {
	t.Helper()
	read := map[cid.Cid]bool{}
	if _, err := ipld.Resolve(t.Context(), getterFunc(func(ctx context.Context, c cid.Cid) (block.Block, error) {
		read[c] = true
		return store.Get(ctx, c)
	}), root, path); err != nil {
		t.Fatal(err)
	}
	return read
}

type getterFunc func(ctx context.Context, c cid.Cid) (block.Block, error)

func (f getterFunc) Get(ctx context.Context, c cid.Cid) (block.Block, error) { return f(ctx, c) }

// TestDups expects a block for each link with dups=y.
func TestDups(t *testing.T) {
	store := &blocks{}
	root := addFile(t, store, bytes.Repeat(random(1000, 1), 20), small())
	h := NewHandler(Config{Blocks: store})
	_, without := carOf(t, ask(h, "GET", "/ipfs/"+root.String()+"?format=car&car-dups=n"))
	_, with := carOf(t, ask(h, "GET", "/ipfs/"+root.String()+"?format=car&car-dups=y"))
	leaves := 0
	for _, c := range with {
		if c.Type() == block.Raw {
			leaves++
		}
	}
	// Two nodes of eight leaves are equal.
	if len(without) != 4 || leaves != 20 || len(with) != 24 {
		t.Errorf("got %d blocks without and %d with duplicates, %d of them leaves, want 4, 24 and 20", len(without), len(with), leaves)
	}
	leaf := rawBlock(t, []byte("leaf"))
	twice := cborBlock(t, nil, leaf.CID(), leaf.CID())
	four := cborBlock(t, random(300, 1), twice.CID(), twice.CID())
	put(t, store, leaf, twice, four)
	_, got := carOf(t, ask(h, "GET", "/ipfs/"+four.CID().String()+"?format=car&car-dups=y"))
	l, tw := leaf.CID(), twice.CID()
	if want := []cid.Cid{four.CID(), tw, l, l, tw, l, l}; !slices.Equal(got, want) {
		t.Errorf("dag-cbor: got%s, want%s", short(got), short(want))
	}
}
