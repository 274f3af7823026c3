package control

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// FuzzAddress reads addresses of daemons.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"unix:/x", "127.0.0.1:1", "http://h:1/x", "/ip4/127.0.0.1/tcp/1", "/unix/x", "[::1]:5", ":"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		network, host, err := parseAddress(s)
		if err == nil && (host == "" || network != "unix" && network != "tcp") || err != nil && (network != "" || host != "") {
			t.Fatalf("%q: got %q, %q, %v", s, network, host, err)
		}
	})
}

// FuzzLines reads answers.
func FuzzLines(f *testing.F) {
	f.Add("{}\n{\"a\":1}\n", 3)
	f.Add("\n\n x", 1)
	f.Fuzz(func(t *testing.T, s string, piece int) {
		in := strings.NewReader(s)
		var got []string
		for line, err := range readLines(readerFunc(func(p []byte) (int, error) { return in.Read(p[:min(len(p), max(1, piece))]) })) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(line))
		}
		var want []string
		for _, line := range strings.Split(s, "\n") {
			if line = strings.TrimSpace(line); line != "" {
				want = append(want, line)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

// FuzzArguments gives any verb any arguments and body: an answer is JSON where it
// says so, an error has its shape, and nothing panics. Verbs that use the disk, or
// wait, are left out.
func FuzzArguments(f *testing.F) {
	n, err := cairn.Open(context.Background(), cairn.Config{Offline: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = n.Close() })
	file, err := n.Add(context.Background(), strings.NewReader("hello"), cairn.AddOptions{})
	if err != nil {
		f.Fatal(err)
	}
	verbs := Verbs(n, nil)
	for _, name := range []string{Events.Path, Add.Path, Backup.Path} {
		delete(verbs, prefix+name)
	}
	server := httpapi.NewServer(httpapi.Config{Codes: Codes()}, verbs)
	names := slices.Sorted(maps.Keys(verbs))
	k := file.CID.String()
	for i := range names {
		f.Add(i, `{"cid":"`+k+`"}`, "hello")
	}
	for i, args := range []string{
		`{"name":"x","to":"y"}`, `{"cids":["` + k + `"]}`, `{"prefix":""}`, `{"boundary":"b"}`, `{"cid":"` + k + `","offset":-1,"length":-5}`,
		`{"interval":1e300}`, `{"record":"AQ=="}`, `[]`, `{`, `null`, `{"path":"/ipfs/x","ttl":-1}`, `{"peer":"x","count":1}`,
	} {
		f.Add(i*3, args, changesBody(`{"alias":"x","cid":"`+k+`"}`))
	}
	f.Fuzz(func(t *testing.T, which int, args, body string) {
		path := names[(which%len(names)+len(names))%len(names)]
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.URL, r.Host, r.RemoteAddr = &url.URL{Path: httpapi.Prefix + path, RawQuery: url.Values{"args": {args}}.Encode()}, "localhost", "127.0.0.1:1"
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		if w.Code >= 400 {
			var e httpapi.ErrorBody
			if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Type != "error" || e.Message == "" {
				t.Fatalf("%s %s: got status %d and %q", path, args, w.Code, w.Body)
			}
			return
		}
		if w.Header().Get("Content-Type") != "application/json" {
			return
		}
		for line := range strings.SplitSeq(strings.TrimSpace(w.Body.String()), "\n") {
			if line != "" && !jsontext.Value(line).IsValid() {
				t.Fatalf("%s %s: got the line %q", path, args, line)
			}
		}
	})
}

// FuzzResults reads any line as the result of any verb that has one.
func FuzzResults(f *testing.F) {
	f.Add(`{"type":"question","peerId":"x","distance":"00","closer":["x"],"took":1e99}`)
	f.Add(`{"name":"x","record":"AQ==","steps":[{"record":{"record":"AQ=="}}]}`)
	f.Add(`[{"peerId":"x","address":"/ip4/x","since":"never"}]`)
	f.Fuzz(func(t *testing.T, line string) {
		for _, to := range []any{
			new(AddEvent), new(store.Alias), new(cid.Cid), new(cairn.SyncProgress), new(VerifyEvent), new(store.Event), new([]cairn.Peer), new(Finding),
			new(cairn.ProvideStats), new(KeyItem), new(Publication), new(cairn.Resolution),
		} {
			if decodeResult([]byte(line), to) != nil {
				continue
			}
			if _, err := JSON(to); err != nil && !strings.Contains(err.Error(), "Time") { // a year beyond 9999
				t.Errorf("%T of %s: %v", to, line, err)
			}
		}
	})
}
