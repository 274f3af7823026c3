package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

var (
	errPlain  = errors.New("plain")
	errAbsent = errors.New("absent")
	errBad    = errors.New("bad")
)

// testCodes has an error without a status, and two with one.
var testCodes = []Code{
	{"plain", errPlain, 0},
	{"absent", errAbsent, http.StatusInternalServerError},
	{"bad", errBad, http.StatusBadRequest},
}

func TestErrors(t *testing.T) {
	_, fileError := os.Open(filepath.Join(t.TempDir(), "none"))
	var err error
	url := serve(t, Config{Codes: testCodes}, map[string]Verb{
		"early": {Run: func(*Call) error { return err }},
		"late":  {Run: func(c *Call) error { return errors.Join(c.Line(1), err) }},
		"kubo":  {Run: func(*Call) error { return err }, Message: func(err error) string { return "kubo: " + err.Error() }},
	}) + Prefix
	for _, tt := range []struct {
		err    error
		status int
		code   int // as Kubo numbers errors
		codes  []string
	}{
		{errors.New("unknown"), 500, 0, nil},
		{fmt.Errorf("get: %w", errPlain), 500, 0, []string{"plain"}},
		{fmt.Errorf("get: %w", errAbsent), 500, 0, []string{"absent"}},
		{fmt.Errorf("get: %w", errBad), 400, 1, []string{"bad"}},
		{Tag(errors.New("a tag"), errBad), 400, 1, []string{"bad"}},
		// The first code with a status decides.
		{errors.Join(errPlain, errBad), 400, 1, []string{"plain", "bad"}},
		{errors.Join(errBad, errAbsent), 500, 0, []string{"absent", "bad"}},
		{BadRequest("option x: %d", 5), 400, 1, []string{"bad-request"}},
		{BadRequest("option x: %w", errAbsent), 500, 0, []string{"absent", "bad-request"}},
		{Forbidden("no"), 403, 4, []string{"forbidden"}},
		{fmt.Errorf("add: %w", fileError), 500, 0, []string{"file"}},
	} {
		err = tt.err
		var got ErrorBody
		a := post(t, url+"early", nil)
		if err := json.Unmarshal([]byte(a.body), &got); err != nil {
			t.Fatal(err)
		}
		message := tt.err.Error()
		if a.status != tt.status || got.Type != "error" || got.Code != tt.code || got.Message != message ||
			got.Cairn.Message != message || !slices.Equal(got.Cairn.Codes, tt.codes) {
			t.Errorf("%v: got status %d: %s, want %d", tt.err, a.status, a.body, tt.status)
		}
		if a := post(t, url+"kubo", nil); !strings.Contains(a.body, `{"Message":"kubo: `) || a.status != tt.status {
			t.Errorf("%v: got status %d: %s", tt.err, a.status, a.body)
		}
		a = post(t, url+"late", nil)
		if want := strings.ReplaceAll(message, "\n", " "); a.status != 200 || a.body != "1\n" || a.trailer.Get(StreamError) != want ||
			a.trailer.Get(StreamCodes) != strings.Join(tt.codes, ",") {
			t.Errorf("%v: got status %d, %q and the trailer %v", tt.err, a.status, a.body, a.trailer)
		}
	}
}

func TestIsCode(t *testing.T) {
	for _, c := range slices.Concat(testCodes, requestCodes) {
		for _, target := range []error{errPlain, errAbsent, errBad, ErrBadRequest, ErrForbidden, fs.ErrNotExist, context.Canceled} {
			if got, want := IsCode(testCodes, c.Code, target), c.Err == target; got != want {
				t.Errorf("IsCode(%q, %v): got %v, want %v", c.Code, target, got, want)
			}
		}
	}
}

// TestLongErrors has an error behind an answer that is longer than a trailer may
// be, as one about hundreds of sources is.
func TestLongErrors(t *testing.T) {
	long := fmt.Errorf("sync: %w: %s", errPlain, strings.Repeat("ä: no answer\n", 10_000))
	url := serve(t, Config{Codes: testCodes}, map[string]Verb{"long": {Run: func(c *Call) error {
		return errors.Join(c.Line(1), long)
	}}})
	a := post(t, url+Prefix+"long", nil) // Go's client reads trailers of 4 KiB
	message := a.trailer.Get(StreamError)
	if begin := strings.ReplaceAll(long.Error()[:1000], "\n", " "); !strings.HasPrefix(message, begin) || !utf8.ValidString(message) {
		t.Errorf("got the trailer %.200q", message)
	}
	if codes := a.trailer.Get(StreamCodes); codes != "plain" {
		t.Errorf("got the codes %q, want plain", codes)
	}
}
