package trustless

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

const someCID = "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"

// FuzzRequest parses any request. What it accepts is within bounds, and the same
// after a second parse.
func FuzzRequest(f *testing.F) {
	for _, seed := range [][2]string{
		{"/ipfs/" + someCID + "?format=raw", ""},
		{"/ipfs/" + someCID + "/a/%2F/b?format=car&dag-scope=entity&entity-bytes=0:-5&car-dups=y", "application/vnd.ipld.car"},
		{"/ipfs/bafkqaaa?have=" + someCID + "&leaves=n", `application/vnd.ipld.car; order="d\"fs"; dups=n, text/html;q=0.8`},
		{"/ipns/x?format=%zz", "*/*"},
		{"//ipfs/..?;", ",,;q=,"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, target, accept string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		r := &http.Request{Method: "GET", URL: u, Header: http.Header{}}
		if accept != "" {
			r.Header.Set("Accept", accept)
		}
		rq, err := parseRequest(r)
		if err != nil {
			if refused, ok := err.(*refusal); !ok || refused.status < 400 || refused.status > 501 {
				t.Fatalf("got %v, want a refusal", err)
			}
			return
		}
		if block.CheckCID(rq.root) != nil || len(rq.path) > maxSegments || len(rq.have) > MaxHave {
			t.Fatalf("got %+v", rq)
		}
		// Go's client and server check these, too, and must find nothing.
		header := http.Header{}
		rq.setCARHeaders(header, rq.have)
		for name, values := range header {
			for _, v := range values {
				if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) {
					t.Fatalf("%s: %q", name, v)
				}
			}
		}
		if !etagMatches([]string{rq.etag(rq.have)}, rq.etag(rq.have)) {
			t.Fatalf("%s doesn't match itself", rq.etag(rq.have))
		}
		// Its Content-Location has the same response.
		if rq.location != "" && len(rq.location) < maxPath {
			u, err := url.ParseRequestURI(rq.location)
			if err != nil {
				t.Fatal(err)
			}
			again, err := parseRequest(&http.Request{Method: "GET", URL: u, Header: http.Header{}})
			if err != nil || again.etag(again.have) != rq.etag(rq.have) || again.contentType() != rq.contentType() {
				t.Fatalf("%s: got %+v, %v, want %+v", rq.location, again, err, rq)
			}
		}
	})
}

// FuzzResponse parses any response headers.
func FuzzResponse(f *testing.F) {
	f.Add(typeCAR+"; version=1", someCID, "n", "5")
	f.Add(typeCAR, "", "y", "Thu, 01 Jan 1970 00:00:00 GMT")
	f.Add("text/html", ","+someCID, "", "-1")
	asked := cid.MustParse(someCID)
	f.Fuzz(func(t *testing.T, media, have, leaves, after string) {
		header := http.Header{"Content-Type": {media}, headerHave: {have}, headerLeaves: {leaves}}
		r, err := newResponse(&watchedBody{}, header, Request{Have: []cid.Cid{asked}})
		if err == nil && (len(r.Have) > 1 || r.NoLeaves || len(r.Have) == 1 && !block.Equal(r.Have[0], asked)) {
			t.Fatalf("got %+v of what wasn't asked for", r)
		}
		if wait := retryTime(after); wait < 0 || wait > maxRetryAfter {
			t.Fatalf("got %s", wait)
		}
	})
}

func FuzzByteRange(f *testing.F) {
	f.Add("0:*", int64(10))
	f.Add("-5:-1", int64(3))
	f.Add("9223372036854775807:-9223372036854775808", int64(1))
	f.Fuzz(func(t *testing.T, s string, size int64) {
		r, err := ParseByteRange(s)
		if err != nil || size < 0 {
			return
		}
		if again, err := ParseByteRange(r.String()); err != nil || again != r {
			t.Fatalf("got %v, %v of %q", again, err, r.String())
		}
		if begin, end := r.within(size); begin < 0 || begin > end || end > size {
			t.Fatalf("%s of %d bytes: got %d to %d", s, size, begin, end)
		}
	})
}

// FuzzChildren extracts the links of hostile blocks, with and without repetition.
func FuzzChildren(f *testing.F) {
	inner := cborBlock(f, []byte("pad"), cid.MustParse(someCID))
	f.Add(inner.Data())
	f.Add([]byte("\x9b\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Add([]byte("\xd8\x2a\x41\x00"))
	f.Fuzz(func(t *testing.T, cbor []byte) {
		b, err := block.New(block.DagCBOR, cbor)
		if err != nil {
			return
		}
		// Repeated links are as many or more.
		if every, once := everyChild(b, child{}), allChildren(b, child{}); len(once) > len(every) {
			for _, c := range once {
				if !slices.Contains(every, c) {
					t.Fatalf("%s is a link only without repetition", c.cid)
				}
			}
		}
	})
}

// FuzzEntity parses entities from hostile dag-pb blocks.
func FuzzEntity(f *testing.F) {
	store := &blocks{}
	for _, root := range []cid.Cid{addFile(f, store, random(10_000, 1), small()), addTree(f, store, tree(3, 3, 10), small())} {
		b, err := store.Get(f.Context(), root)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b.Data(), int64(5000), int64(-10))
	}
	f.Fuzz(func(t *testing.T, data []byte, from, to int64) {
		b, err := block.New(block.DagPB, data)
		if err != nil {
			return
		}
		for _, r := range []*ByteRange{nil, {from, to}} {
			e, err := entityOf(b, r)
			if err != nil {
				continue
			}
			at, partial := int64(0), 0
			for _, c := range e.children(b, child{cid: b.CID(), end: e.size}) {
				if c.begin < at || c.end < c.begin || c.end > e.size {
					t.Fatalf("a child from %d to %d of %d, behind %d", c.begin, c.end, e.size, at)
				}
				at = c.end
				if e.partial != nil && e.partial(c) {
					partial++
				}
			}
			if partial > 2 {
				t.Fatalf("got %d partial children, want two at most", partial)
			}
		}
	})
}
