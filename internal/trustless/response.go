package trustless

import (
	"fmt"
	"iter"
	"mime"
	"net/http"
	"slices"
	"sync"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/car"
	"github.com/ipfs/go-cid"
)

// A Response is a CAR on its way.
type Response struct {
	// Have are the roots of Request.Have whose DAGs are left out: none if the
	// server doesn't know the extension.
	Have []cid.Cid
	// NoLeaves: raw blocks are left out.
	NoLeaves bool

	body  *watchedBody
	close func() error
}

// newResponse parses the headers of an answer.
func newResponse(body *watchedBody, header http.Header, rq Request) (*Response, error) {
	media, params, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil || media != typeCAR {
		return nil, fmt.Errorf("%w: its content is %.60q, not %s", ErrProtocol, header.Get("Content-Type"), typeCAR)
	}
	if v := params["version"]; v != "" && v != "1" {
		return nil, fmt.Errorf("%w: a CAR of version %.10q", ErrProtocol, v)
	}
	r := &Response{body: body, close: sync.OnceValue(body.Close)}
	if r.Have, err = honoured(header.Values(headerHave), rq.Have); err != nil {
		return nil, err
	}
	switch l := header.Get(headerLeaves); {
	case l == "n" && !rq.NoLeaves:
		return nil, fmt.Errorf("%w: leaves are left out that were asked for", ErrProtocol)
	case l == "n":
		r.NoLeaves = true
	case l != "" && l != "y":
		return nil, fmt.Errorf("%w: %s: %.40q", ErrProtocol, headerLeaves, l)
	}
	return r, nil
}

// honoured parses the header that names the roots that the server honours.
func honoured(values []string, asked []cid.Cid) ([]cid.Cid, error) {
	if len(values) == 0 || values[0] == "" && len(values) == 1 {
		return nil, nil
	}
	if len(values) > 1 {
		return nil, fmt.Errorf("%w: %s twice", ErrProtocol, headerHave)
	}
	cids, err := ParseCIDs(values[0])
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrProtocol, headerHave, err)
	}
	for _, c := range cids {
		if !slices.ContainsFunc(asked, func(o cid.Cid) bool { return block.Equal(o, c) }) {
			return nil, fmt.Errorf("%w: %s names %s, which was not in the request", ErrProtocol, headerHave, c)
		}
	}
	return cids, nil
}

// Blocks yields the blocks as they come; each matches its CID. It can be ranged over
// once. A block may not be wanted, and the end doesn't mean that all came. It yields
// nothing after an error: a CAR that is malformed or cut off,
// block.ErrHashMismatch, ErrStalled, the context's.
func (r *Response) Blocks() iter.Seq2[block.Block, error] {
	return func(yield func(block.Block, error) bool) {
		reader, err := car.NewReader(r.body)
		if err != nil {
			yield(block.Block{}, fmt.Errorf("trustless: %w", err))
			return
		}
		for b, err := range reader.Blocks() {
			if err != nil {
				err = fmt.Errorf("trustless: %w", err)
			}
			if !yield(b, err) {
				return
			}
		}
	}
}

// Close ends the response, and cancels the rest. It may be called at any time, by
// any goroutine.
func (r *Response) Close() error { return r.close() }
