package trustless

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/ipfs/go-cid"
)

// TestHave gets a new version of a tree, and expects the difference, with and
// without leaves.
func TestHave(t *testing.T) {
	store := &blocks{}
	files := tree(20, 20, 3000)
	older := addTree(t, store, files, small())
	files["dir007/file003"] = &fstest.MapFile{Data: random(3000, 1<<40)}
	files["dir007/new"] = &fstest.MapFile{Data: random(100, 1<<41)}
	old := addTree(t, store, files, small())
	delete(files, "dir012/file000")
	root := addTree(t, store, files, small())
	oldest := rawBlock(t, []byte("nothing of it")).CID()
	put(t, store, rawBlock(t, []byte("nothing of it")))
	absent := rawBlock(t, []byte("not here")).CID()

	less := func(have ...cid.Cid) []cid.Cid {
		held := map[cid.Cid]bool{}
		for _, h := range have {
			for _, c := range dagOf(t, store, h) {
				held[c] = true
			}
		}
		return slices.DeleteFunc(dagOf(t, store, root), func(c cid.Cid) bool { return held[c] && c != root })
	}
	for name, transport := range transports {
		e := transport(t, NewHandler(Config{Blocks: store}))
		for _, c := range []struct {
			name           string
			have, honoured []cid.Cid
			want           []cid.Cid
		}{
			{"none", nil, nil, dagOf(t, store, root)},
			{"the last", []cid.Cid{old}, []cid.Cid{old}, less(old)},
			{"older", []cid.Cid{older}, []cid.Cid{older}, less(older)},
			{"two", []cid.Cid{old, older}, []cid.Cid{old, older}, less(old, older)},
			{"itself", []cid.Cid{root}, []cid.Cid{root}, []cid.Cid{root}},
			{"another", []cid.Cid{oldest}, []cid.Cid{oldest}, dagOf(t, store, root)},
			{"absent", []cid.Cid{absent}, nil, dagOf(t, store, root)},
			{"one absent", []cid.Cid{absent, old}, []cid.Cid{old}, less(old)},
		} {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				for _, noLeaves := range []bool{false, true} {
					got, r := mustCollect(t, e.client, root, Request{Have: c.have, NoLeaves: noLeaves})
					want := c.want
					if noLeaves {
						want = slices.DeleteFunc(slices.Clone(want), func(c cid.Cid) bool { return c.Type() == block.Raw })
					}
					if !slices.Equal(cidsOf(got), want) {
						t.Errorf("got %d blocks, want %d", len(got), len(want))
					}
					sortCIDs(c.honoured)
					if !slices.Equal(r.Have, c.honoured) || r.NoLeaves != noLeaves {
						t.Errorf("got the honoured%s and NoLeaves %v, want%s and %v", short(r.Have), r.NoLeaves, short(c.honoured), noLeaves)
					}
				}
			})
		}
	}
}

// joinCIDs formats CIDs for have.
func joinCIDs(cids []cid.Cid) string {
	var texts []string
	for _, c := range cids {
		texts = append(texts, c.String())
	}
	return strings.Join(texts, ",")
}

func sortCIDs(cids []cid.Cid) {
	slices.SortFunc(cids, func(a, b cid.Cid) int { return strings.Compare(a.String(), b.String()) })
}

// TestHaveHeaders expects the honoured CIDs in the headers, and caching only if all
// were honoured.
func TestHaveHeaders(t *testing.T) {
	store := &blocks{}
	root := addFile(t, store, random(10_000, 1), small())
	old := addFile(t, store, random(9000, 1), small())
	absent := rawBlock(t, []byte("not here")).CID()
	h := NewHandler(Config{Blocks: store})
	for _, c := range []struct {
		have     []cid.Cid
		honoured string
		control  string
	}{
		{[]cid.Cid{old}, old.String(), cacheForever},
		{[]cid.Cid{old, absent}, old.String(), cacheNever},
		{[]cid.Cid{absent}, "", cacheNever},
	} {
		sortCIDs(c.have)
		for _, method := range []string{"GET", "HEAD"} {
			gets := store.gets.Load()
			r := ask(h, method, "/ipfs/"+root.String()+"?format=car&leaves=n&have="+joinCIDs(c.have))
			values, ok := r.Header[headerHave]
			if !ok || len(values) != 1 || values[0] != c.honoured || r.Header.Get(headerLeaves) != "n" || r.Header.Get("Cache-Control") != c.control {
				t.Errorf("%s %v: got %v", method, c.have, r.Header)
			}
			if method == "HEAD" && store.gets.Load() != gets {
				t.Errorf("HEAD read %d blocks", store.gets.Load()-gets)
			}
			// A partial response doesn't match the next request.
			etag := r.Header.Get("Etag")
			again := ask(h, "GET", "/ipfs/"+root.String()+"?format=car&leaves=n&have="+joinCIDs(c.have), "If-None-Match", etag)
			if want := map[string]int{cacheForever: 304, cacheNever: 200}[c.control]; again.StatusCode != want {
				t.Errorf("If-None-Match after %s: got %s, want %d", c.control, again.Status, want)
			}
		}
	}
	// As the request spelled them.
	odd, err := old.StringOfBase('k')
	if err != nil {
		t.Fatal(err)
	}
	if r := ask(h, "GET", "/ipfs/"+root.String()+"?format=car&have="+odd); r.Header.Get(headerHave) != odd {
		t.Errorf("got %q, want %q", r.Header.Get(headerHave), odd)
	}
	plain := ask(h, "GET", "/ipfs/"+root.String()+"?format=car")
	if plain.Header[headerHave] != nil || plain.Header[headerLeaves] != nil {
		t.Errorf("got %v without have and leaves", plain.Header)
	}
	texts := []string{old.String(), absent.String()}
	slices.Sort(texts)
	slices.Reverse(texts)
	for _, have := range []string{strings.Join(texts, ","), old.String() + "," + old.String(), strings.Repeat(old.String()+",", MaxHave) + old.String()} {
		if r := ask(h, "GET", "/ipfs/"+root.String()+"?format=car&have="+have); r.StatusCode != 400 {
			t.Errorf("unsorted, twice or too many: got %s, want 400", r.Status)
		}
	}
}

// TestHaveReads names old DAGs that are far larger than the new one, and bounds the
// reads.
func TestHaveReads(t *testing.T) {
	for _, linksOf := range []bool{false, true} {
		store := &blocks{}
		root := chain(t, store, 10)
		var have []cid.Cid
		for i := range MaxHave {
			leaf := cborBlock(t, random(10, uint64(1000+i)))
			put(t, store, leaf)
			last := leaf.CID()
			for j := range 1000 {
				b := cborBlock(t, random(8, uint64(i*1000+j)), last)
				put(t, store, b)
				last = b.CID()
			}
			have = append(have, last)
		}
		links := 0
		config := Config{Blocks: store}
		if linksOf {
			config.LinksOf = func(ctx context.Context, c cid.Cid) ([]cid.Cid, error) {
				links++
				b, err := store.Mem.Get(ctx, c)
				if err != nil {
					return nil, err
				}
				return dag.Links(b)
			}
		}
		e := overHTTP(t, NewHandler(config))
		before := store.gets.Load()
		got, r := mustCollect(t, e.client, root, Request{Have: have})
		if len(got) != 10 || len(r.Have) != MaxHave {
			t.Errorf("got %d blocks and %d honoured, want 10 and %d", len(got), len(r.Have), MaxHave)
		}
		// The new side is read twice: to compare and to send.
		reads := int(store.gets.Load()-before) + links
		if most := 2*10 + 2*10 + 1000 + 1; reads > most {
			t.Errorf("got %d reads, want at most %d", reads, most)
		}
	}
}

// TestHaveBounded remembers few CIDs of either side, and still sends all new blocks.
func TestHaveBounded(t *testing.T) {
	store := &blocks{}
	files := tree(20, 20, 3000)
	old := addTree(t, store, files, small())
	files["dir019/file019"] = &fstest.MapFile{Data: random(3000, 1<<40)}
	root := addTree(t, store, files, small())
	e := overHTTP(t, NewHandler(Config{Blocks: store, MaxDiffBlocks: 10}))
	got, r := mustCollect(t, e.client, root, Request{Have: []cid.Cid{old}})
	held := map[cid.Cid]bool{}
	for _, c := range dagOf(t, store, old) {
		held[c] = true
	}
	for _, c := range cidsOf(got) {
		held[c] = true
	}
	for _, c := range dagOf(t, store, root) {
		if !held[c] {
			t.Fatalf("%s is missing", c)
		}
	}
	if len(r.Have) != 1 || len(got) == 0 {
		t.Errorf("got %d honoured, %d blocks", len(r.Have), len(got))
	}
}

// TestBusy expects 429 and 503 with Retry-After, for comparisons and for requests.
func TestBusy(t *testing.T) {
	for _, c := range []struct {
		name   string
		config Config
		query  bool // with have
		status int
	}{
		{"comparisons", Config{MaxDiffs: 1}, true, http.StatusTooManyRequests},
		{"one remote", Config{MaxEach: 1}, false, http.StatusTooManyRequests},
		{"all", Config{MaxRequests: 1}, false, http.StatusServiceUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := &blocks{}
			root := chain(t, store, 5)
			second := dagOf(t, store, root)[1]
			entered, release := make(chan struct{}), make(chan struct{})
			var once sync.Once
			store.hold = func(_ context.Context, c cid.Cid) {
				if c == second {
					once.Do(func() {
						close(entered)
						<-release
					})
				}
			}
			c.config.Blocks = store
			h := NewHandler(c.config)
			target := "/ipfs/" + root.String() + "?format=car"
			if c.query {
				target += "&have=" + root.String()
			}
			done := make(chan *http.Response)
			go func() { done <- ask(h, "GET", target) }()
			<-entered
			r := ask(h, "GET", target)
			if r.StatusCode != c.status || r.Header.Get("Retry-After") == "" {
				t.Errorf("got %s, Retry-After %q, want %d", r.Status, r.Header.Get("Retry-After"), c.status)
			}
			close(release)
			if r := <-done; r.StatusCode != 200 {
				t.Errorf("the first: got %s, want 200", r.Status)
			}
			if r := ask(h, "GET", target); r.StatusCode != 200 {
				t.Errorf("afterwards: got %s, want 200", r.Status)
			}
		})
	}
}

// TestCompareBesideBlocks has a remote compare DAGs while its quota of unread blocks
// is used up: the comparison waits a while for room.
func TestCompareBesideBlocks(t *testing.T) {
	for name, read := range map[string]int{"read": block.MaxSize / 2, "not read": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &blocks{}
				root := chain(t, store, 5)
				h := NewHandler(Config{Blocks: store}).(*handler)
				remote := remoteOf(httptest.NewRequest("GET", "/", nil))
				if err := h.memory.take(t.Context(), remote, blocksEach); err != nil {
					t.Fatal(err)
				}
				answer := make(chan *http.Response, 1)
				go func() { answer <- ask(h, "GET", "/ipfs/"+root.String()+"?format=car&have="+root.String()) }()
				synctest.Wait()
				if len(answer) > 0 {
					t.Fatalf("got %s, want it to wait", (<-answer).Status)
				}
				h.memory.give(remote, read)
				want := http.StatusOK
				if read == 0 {
					want = http.StatusTooManyRequests
				}
				if r := <-answer; r.StatusCode != want {
					t.Errorf("got %s, want %d", r.Status, want)
				}
				if h.memory.all != blocksEach-read {
					t.Errorf("%d bytes are held afterwards, want %d", h.memory.all, blocksEach-read)
				}
			})
		})
	}
}
