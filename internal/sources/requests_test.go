package sources

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"path"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// A fakeGateway has blocks, and counts requests.
type fakeGateway struct {
	blocks map[string][]byte
	asked  atomic.Int32
}

func (g *fakeGateway) RoundTrip(r *http.Request) (*http.Response, error) {
	g.asked.Add(1)
	body := io.NopCloser(bytes.NewReader(g.blocks[path.Base(r.URL.Path)]))
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: body}, nil
}

// fakeBlocks returns a gateway with n blocks.
func fakeBlocks(t *testing.T, n int) (*fakeGateway, []cid.Cid) {
	g := &fakeGateway{blocks: map[string][]byte{}}
	var cids []cid.Cid
	for i := range n {
		b, err := block.New(block.Raw, []byte{byte(i), byte(i >> 8)})
		if err != nil {
			t.Fatal(err)
		}
		g.blocks[b.CID().String()] = b.Data()
		cids = append(cids, b.CID())
	}
	return g, cids
}

// Blocks that wait to be read hold further requests back.
func TestRequestsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake, cids := fakeBlocks(t, 10*maxRequests)
		g := newGateway(&url.URL{Scheme: "http", Host: "x"}, &http.Client{Transport: fake})
		c, err := g.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Want(t.Context(), cids...); err != nil {
			t.Fatal(err)
		}
		for taken := range 10*maxRequests - maxRequests {
			synctest.Wait()
			if n := int(fake.asked.Load()); n != taken+maxRequests {
				t.Fatalf("got %d requests when %d blocks were taken, want %d", n, taken, taken+maxRequests)
			}
			if _, err := c.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
}
