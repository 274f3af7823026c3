package trustless

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/cairn-ipfs/cairn/block"
)

// A timedWriter counts the bytes that are written between two deadlines.
type timedWriter struct {
	*httptest.ResponseRecorder
	since, most int
}

func (w *timedWriter) SetWriteDeadline(time.Time) error {
	w.since = 0
	return nil
}

func (w *timedWriter) Write(p []byte) (int, error) {
	w.since += len(p)
	w.most = max(w.most, w.since)
	return w.ResponseRecorder.Write(p)
}

// Each piece of a block has its own deadline, also in a range.
func TestRawInPieces(t *testing.T) {
	store := &blocks{}
	b := rawBlock(t, random(block.MaxSize, 1))
	put(t, store, b)
	h := NewHandler(Config{Blocks: store})
	for asked, want := range map[string]int{"": block.MaxSize, "bytes=0-": block.MaxSize, "bytes=100-1000099": 1000000} {
		r := httptest.NewRequest(http.MethodGet, "/ipfs/"+b.CID().String()+"?format=raw", nil)
		if asked != "" {
			r.Header.Set("Range", asked)
		}
		w := &timedWriter{ResponseRecorder: httptest.NewRecorder()}
		h.ServeHTTP(w, r)
		if got := w.Body.Len(); got != want {
			t.Errorf("%q: got %d bytes, want %d", asked, got, want)
		}
		if w.most > writePiece {
			t.Errorf("%q: got %d bytes in the time of a piece, want at most %d", asked, w.most, writePiece)
		}
	}
}
