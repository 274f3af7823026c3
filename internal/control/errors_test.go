package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
)

// TestErrorsKeepTheirIdentity sends every sentinel over the wire, in the answer
// and behind it.
func TestErrorsKeepTheirIdentity(t *testing.T) {
	_, noFile := os.Open(filepath.Join(t.TempDir(), "none"))
	var sent error
	web := httptest.NewServer(httpapi.NewServer(httpapi.Config{Codes: Codes()}, map[string]httpapi.Verb{
		prefix + "answer": {Run: func(*httpapi.Call) error { return sent }},
		prefix + "behind": {Run: func(c *httpapi.Call) error { return errors.Join(c.Line(1), sent) }},
	}))
	defer web.Close()
	target := dial(t, web.URL)
	for _, path := range []string{"answer", "behind"} {
		verb := Call[struct{}, int]{Path: path}
		for _, code := range Codes() {
			sent = fmt.Errorf("open it: %w", code.Err)
			_, got := verb.Do(t.Context(), target, struct{}{})
			for _, other := range Codes() {
				if is := errors.Is(got, other.Err); is != errors.Is(sent, other.Err) {
					t.Errorf("%s, %s: Is(%v) got %v", path, code.Code, other.Err, is)
				}
			}
			if got == nil || got.Error() != sent.Error() {
				t.Errorf("%s, %s: got the message %q, want %q", path, code.Code, got, sent)
			}
			if back := failureOf(sent).Err(); !errors.Is(back, code.Err) || back.Error() != sent.Error() {
				t.Errorf("%s, as a failure: got %v", code.Code, back)
			}
		}
		sent = fmt.Errorf("read: %w", noFile)
		_, got := verb.Do(t.Context(), target, struct{}{})
		var file *fs.PathError
		if !errors.As(got, &file) || !errors.Is(got, fs.ErrNotExist) {
			t.Errorf("%s: got %#v, want a path error", path, got)
		}
	}
	var file *fs.PathError
	if errors.As(&Error{Message: "x"}, &file) {
		t.Error("an error without a code is a path error")
	}
	if err := failureOf(nil).Err(); err != nil {
		t.Errorf("no failure: got %v", err)
	}
}

// TestLongErrors has an error behind an answer that is longer than a trailer may
// be, as one about hundreds of sources is.
func TestLongErrors(t *testing.T) {
	long := fmt.Errorf("sync: %w: %s", cairn.ErrNoSource, strings.Repeat("ä: no answer\n", 10_000))
	web := httptest.NewServer(httpapi.NewServer(httpapi.Config{Codes: Codes()}, map[string]httpapi.Verb{
		prefix + "long": {Run: func(c *httpapi.Call) error { return errors.Join(c.Line(1), long) }},
	}))
	defer web.Close()
	begins := strings.ReplaceAll(long.Error()[:1000], "\n", " ")
	_, err := Call[struct{}, int]{Path: "long"}.Do(t.Context(), dial(t, web.URL), struct{}{})
	if !errors.Is(err, cairn.ErrNoSource) || !strings.HasPrefix(err.Error(), begins) || !utf8.ValidString(err.Error()) {
		t.Errorf("got %.200v, want %v", err, cairn.ErrNoSource)
	}
}

// TestOtherServers asks servers that are no daemon of ours.
func TestOtherServers(t *testing.T) {
	for what, answer := range map[string]http.HandlerFunc{
		"a page":         func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"a JSON error":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500); fmt.Fprint(w, `{"error":"x"}`) },
		"a redirect":     func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"another result": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"peerId":5}`) },
	} {
		web := httptest.NewServer(answer)
		defer web.Close()
		if id, err := Identify.Do(t.Context(), dial(t, web.URL), struct{}{}); err == nil {
			t.Errorf("%s: got %+v, want an error", what, id)
		}
	}
}

// TestPrivateKeysStayHere refuses to send private keys to other machines.
func TestPrivateKeysStayHere(t *testing.T) {
	for address, far := range map[string]bool{
		"192.0.2.7:5001": true, "https://node.example": true, "http://127.0.0.1.node.example:1": true, "/ip4/192.0.2.7/tcp/1": true,
		"127.0.0.1:1": false, "http://localhost:1": false, "/ip6/::1/tcp/1": false, "unix:/nowhere": false,
	} {
		target := dial(t, address)
		if at := target.daemon.onThisMachine(); at == far {
			t.Errorf("%s: on this machine: got %v", address, at)
		}
		if !far {
			continue
		}
		if _, err := ImportKey.Do(t.Context(), target, ImportKeyArgs{"x", strings.NewReader("x")}); !errors.Is(err, httpapi.ErrForbidden) {
			t.Errorf("import to %s: got %v, want ErrForbidden", address, err)
		}
		if _, err := ExportKey.Do(t.Context(), target, ExportKeyArgs{"self", cairn.KeyPEM}); !errors.Is(err, httpapi.ErrForbidden) {
			t.Errorf("export from %s: got %v, want ErrForbidden", address, err)
		}
	}
}
