package httpapi

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"testing"
)

const formType = "multipart/form-data; boundary=b"

func readParts(c *Call) error {
	for p, err := range c.Parts() {
		if err != nil {
			return err
		}
		data, err := io.ReadAll(p)
		if err != nil {
			return err
		}
		if err := c.Line(fmt.Sprintf("%s %s %s %s", p.Name, p.Path, p.Kind, data)); err != nil {
			return err
		}
	}
	return c.EndList(nil)
}

const twoParts = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a%2Fb\"\r\nContent-Type: application/x-directory; x=y\r\n\r\none\r\n" +
	"--b\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\ntwo\r\n--b--\r\n"

func TestParts(t *testing.T) {
	url := serve(t, Config{}, map[string]Verb{"parts": {Run: readParts, Body: true}}) + Prefix + "parts"
	a := post(t, url, strings.NewReader(twoParts), "Content-Type", formType)
	if want := "\"file a/b application/x-directory one\"\n\"text  application/octet-stream two\"\n"; a.status != 200 || a.body != want {
		t.Errorf("got status %d: %q, want %q", a.status, a.body, want)
	}
	// The last line's end may be missing. Nothing else.
	for n := range len(twoParts) - len("\r\n") {
		a := post(t, url, strings.NewReader(twoParts[:n]), "Content-Type", formType)
		if a.status == 200 && a.trailer.Get(StreamError) == "" {
			t.Errorf("the first %d of %d bytes: got %q and no error", n, len(twoParts), a.body)
		}
	}
	for _, kind := range []string{"", "text/plain", "multipart/form-data", "nonsense;;"} {
		if a := post(t, url, strings.NewReader(twoParts), "Content-Type", kind); a.status != http.StatusBadRequest {
			t.Errorf("%q: got status %d: %s", kind, a.status, a.body)
		}
	}
}

func TestOnePart(t *testing.T) {
	url := serve(t, Config{}, map[string]Verb{"one": {Body: true, Run: func(c *Call) error {
		data, err := c.OnePart(10)
		if err != nil {
			return err
		}
		return c.Value(string(data))
	}}}) + Prefix + "one"
	part := func(text string) string { return "--b\r\nContent-Disposition: form-data\r\n\r\n" + text + "\r\n" }
	for body, want := range map[string]int{
		part("ten  bytes") + "--b--\r\n":    200,
		part("") + "--b--\r\n":              200,
		part("more than 10") + "--b--\r\n":  400,
		part("1") + part("2") + "--b--\r\n": 400,
		"--b--\r\n":                         400,
		part("cut"):                         500, // found while the part is read
		"":                                  400,
	} {
		if a := post(t, url, strings.NewReader(body), "Content-Type", formType); a.status != want {
			t.Errorf("%q: got status %d, want %d: %s", body, a.status, want, a.body)
		}
	}
}

func TestPartPath(t *testing.T) {
	for name, want := range map[string]string{
		"/a//b": "a/b", "./c": "c", "100%": "100%", "d/.": "d", "b+c%25": "b c%", "a/../b": "b", "": "", "/": "",
	} {
		if got, err := partPath(`form-data; filename="` + name + `"`); got != want || err != nil {
			t.Errorf("%q: got %q, %v, want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"../x", "..%2fx", "a/../../x", "%2e%2e/x", "a%00b/c", "."} {
		if got, err := partPath(`form-data; filename="` + name + `"`); !errors.Is(err, ErrBadRequest) {
			t.Errorf("%q: got %q, %v, want ErrBadRequest", name, got, err)
		}
	}
}

// FuzzPartPath checks that a path stays below its root.
func FuzzPartPath(f *testing.F) {
	for _, s := range []string{"a/b", "..%2Fx", "%2e%2e", "/", "a//b/.", "//", "\x00", "ü", `a"b`} {
		f.Add(`form-data; name="file"; filename="` + s + `"`)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := partPath(s)
		if err != nil {
			if !errors.Is(err, ErrBadRequest) {
				t.Fatalf("%q: got %v", s, err)
			}
			return
		}
		if p != "" && (p != path.Clean(p) || path.IsAbs(p) || p == ".." || strings.HasPrefix(p, "../") || strings.Contains(p, "\x00")) {
			t.Fatalf("%q: got %q", s, p)
		}
	})
}
