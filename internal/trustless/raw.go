package trustless

import (
	"bytes"
	"net/http"
	"strconv"
	"time"
)

// serveRaw answers with a block.
func (h *handler) serveRaw(w http.ResponseWriter, r *http.Request, rq *request) error {
	etag := rq.etag(nil)
	size, err := 0, error(nil)
	noBody := r.Method == http.MethodHead || etagMatches(r.Header.Values("If-None-Match"), etag)
	var data []byte
	if noBody {
		size, err = h.sizeOf(r.Context(), rq.root)
	} else {
		if size, err = h.sizeOf(r.Context(), rq.root); err == nil {
			err = h.memory.take(r.Context(), rq.remote, size)
		}
		if err == nil {
			defer h.memory.give(rq.remote, size)
			b, errGet := getInlined(r.Context(), h.Blocks, rq.root)
			data, err = b.Data(), errGet
		}
	}
	if err != nil {
		return err
	}
	header := w.Header()
	rq.setHeaders(header)
	setCaching(header, etag, cacheForever)
	out := &pieceWriter{w: w, control: http.NewResponseController(w), timeout: h.WriteTimeout}
	switch {
	case etagMatches(r.Header.Values("If-None-Match"), etag):
		w.WriteHeader(http.StatusNotModified)
	case r.Method == http.MethodHead:
		header["Accept-Ranges"] = []string{"bytes"}
		header["Content-Length"] = []string{strconv.Itoa(size)}
		w.WriteHeader(http.StatusOK)
	case r.Header.Get("Range") != "":
		http.ServeContent(rangeWriter{w, out}, r, "", time.Time{}, bytes.NewReader(data))
	default:
		header["Accept-Ranges"] = []string{"bytes"}
		header["Content-Length"] = []string{strconv.Itoa(size)}
		_, _ = out.Write(data) // an error means that nobody is listening
	}
	return nil
}

// A rangeWriter is a ResponseWriter that writes in pieces.
type rangeWriter struct {
	http.ResponseWriter
	out *pieceWriter
}

// Write implements http.ResponseWriter.
func (w rangeWriter) Write(p []byte) (int, error) { return w.out.Write(p) }
