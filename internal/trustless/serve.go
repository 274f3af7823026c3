package trustless

import (
	"context"
	"net/http"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// serveCAR serves a CAR. It returns errors until the first byte is written; after
// that they abort the connection.
func (h *handler) serveCAR(w http.ResponseWriter, r *http.Request, rq *request) error {
	if !r.ProtoAtLeast(1, 1) {
		return refuse(http.StatusHTTPVersionNotSupported, "over HTTP/1.0 a CAR that broke off would look whole")
	}
	ctx := r.Context()
	way, err := resolve(ctx, h.Blocks, rq.root, rq.path)
	if err != nil {
		return err
	}
	header := w.Header()
	if !way.end.Defined() {
		return h.serveProof(w, r, rq, way)
	}
	if r.Method == http.MethodHead {
		return h.headCAR(w, r, rq, way.end)
	}
	// The DAG below a CID never changes, so a client that had it has it.
	if etag := rq.etag(rq.have); etagMatches(r.Header.Values("If-None-Match"), etag) {
		if _, _, err := h.find(ctx, way.end); err != nil {
			return err
		}
		setCaching(header, etag, cacheForever)
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	root, err := getInlined(ctx, h.Blocks, way.end)
	if err != nil {
		return err
	}
	content, err := h.contentOf(ctx, rq, root)
	if err != nil {
		return err
	}
	defer content.release()
	rq.setCARHeaders(header, content.honoured)
	h.stream(w, r, rq.remote, way, content)
	return nil
}

// serveProof answers with the blocks of a path that leads nowhere, which prove
// it. (boxo's client for CARs takes a 404 for a fault of the gateway.)
func (h *handler) serveProof(w http.ResponseWriter, r *http.Request, rq *request, way resolved) error {
	rq.setCARHeaders(w.Header(), nil)
	switch {
	case etagMatches(r.Header.Values("If-None-Match"), rq.etag(nil)):
		w.WriteHeader(http.StatusNotModified)
	case r.Method == http.MethodHead:
		w.WriteHeader(http.StatusOK)
	default:
		h.stream(w, r, rq.remote, way, content{root: child{cid: rq.root}})
	}
	return nil
}

// headCAR answers a HEAD without reading the DAG.
func (h *handler) headCAR(w http.ResponseWriter, r *http.Request, rq *request, end cid.Cid) error {
	if _, _, err := h.find(r.Context(), end); err != nil {
		return err
	}
	var honoured []cid.Cid
	for _, c := range rq.have {
		here, err := h.Blocks.Has(r.Context(), c)
		if err != nil {
			return err
		}
		if here {
			honoured = append(honoured, c)
		}
	}
	rq.setCARHeaders(w.Header(), honoured)
	if etagMatches(r.Header.Values("If-None-Match"), rq.etag(rq.have)) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// setCARHeaders sets the headers of a CAR without the DAGs of the honoured roots.
func (rq *request) setCARHeaders(header http.Header, honoured []cid.Cid) {
	rq.setHeaders(header)
	header["Accept-Ranges"] = []string{"none"}
	control := cacheForever
	if len(rq.have) > 0 {
		header[headerHave] = []string{rq.textOf(honoured)}
		if len(honoured) < len(rq.have) {
			control = cacheNever
		}
	}
	if rq.noLeaves {
		header[headerLeaves] = []string{"n"}
	}
	setCaching(header, rq.etag(honoured), control)
}

// A content is the part of a CAR below its path.
type content struct {
	walk     *walk
	root     child
	honoured []cid.Cid
	release  func() // gives back memory
}

// contentOf returns the content of a CAR with that root.
func (h *handler) contentOf(ctx context.Context, rq *request, root block.Block) (content, error) {
	state := &share{quota: h.state, remote: rq.remote}
	w := &walk{get: h.Blocks, root: root, children: allChildren, state: state}
	c := content{walk: w, root: child{cid: root.CID()}, release: state.release}
	if rq.dups {
		w.children = everyChild
	}
	switch rq.scope {
	case ScopeBlock:
		w.children = noChildren
	case ScopeEntity:
		e, err := entityOf(root, rq.bytes)
		if err != nil {
			return content{}, err
		}
		w.children, w.partial, w.parts = e.children, e.partial, make(map[string]bool)
		c.root.end = e.size
	}
	if !rq.dups {
		w.seen = newSeenSet(state)
	}
	if rq.noLeaves {
		w.skip = func(c cid.Cid) bool { return c.Type() == block.Raw }
	}
	if len(rq.have) > 0 {
		d, err := h.compare(ctx, rq, root, state)
		if err != nil {
			return content{}, err
		}
		w.children, c.honoured = d.children, d.Honoured
	}
	return c, nil
}
