package trustless

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestWellKnown(t *testing.T) {
	h := withWellKnown(http.NotFoundHandler())
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", wellKnownPath, nil))
	if w.Code != 200 || w.Body.String() != wellKnown || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("got %d, %q", w.Code, w.Body)
	}
	w = httptest.NewRecorder()
	if h.ServeHTTP(w, httptest.NewRequest("GET", "/x", nil)); w.Code != 404 {
		t.Errorf("another path: got %d, want 404", w.Code)
	}
}
