package trustless

import (
	"bytes"
	"net/http"
	"strconv"
	"time"
)

// serveRaw serves a block.
func (h *handler) serveRaw(w http.ResponseWriter, r *http.Request, rq *request) error {
	etag := rq.etag(nil)
	size, read, err := h.find(r.Context(), rq.root)
	if err != nil {
		return err
	}
	var data []byte
	if r.Method != http.MethodHead && !etagMatches(r.Header.Values("If-None-Match"), etag) {
		if err := h.memory.take(r.Context(), rq.remote, size); err != nil {
			return err
		}
		defer h.memory.give(rq.remote, size)
		b, err := read(r.Context())
		if err != nil {
			return err
		}
		data = b.Data()
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
		_, _ = out.Write(data) // an error means that the client is gone
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
