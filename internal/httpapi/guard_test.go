package httpapi

import (
	"net/http"
	"strings"
	"testing"
)

// TestAdmission sends requests of programs, of web pages, and of other methods.
func TestAdmission(t *testing.T) {
	url := serve(t, Config{Hosts: []string{"node.example"}, Origins: []string{"https://page.example"}}, map[string]Verb{"version": {Run: version}})
	for _, tt := range []struct {
		what   string
		header []string
		want   int
	}{
		{"a program", nil, 200},
		{"curl", []string{"User-Agent", "curl/8.0"}, 200},
		{"an allowed page", []string{"Origin", "https://page.example", "User-Agent", "Mozilla/5.0"}, 200},
		{"an allowed page's form", []string{"Referer", "https://page.example/form"}, 200},
		{"a page", []string{"Origin", "https://evil.example", "User-Agent", "Mozilla/5.0"}, 403},
		{"a page on this machine", []string{"Origin", "http://localhost:3000"}, 403},
		{"a page of a file", []string{"Origin", "null"}, 403},
		{"an empty origin", []string{"Origin", ""}, 403},
		{"a prefix of an allowed origin", []string{"Origin", "https://page.example.evil.example"}, 403},
		{"an allowed origin by another scheme", []string{"Origin", "http://page.example"}, 403},
		{"a page's form", []string{"Referer", "https://evil.example/form"}, 403},
		{"an invalid referer", []string{"Referer", "::"}, 403},
		{"a browser without an origin", []string{"User-Agent", "Mozilla/5.0 (X11)"}, 403},
		{"a fetch without an origin", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"localhost", []string{"Host", "localhost:1234"}, 200},
		{"loopback of version 6", []string{"Host", "[::1]:5001"}, 200},
		{"a configured name", []string{"Host", "Node.Example:80"}, 200},
		{"a rebound name", []string{"Host", "evil.example"}, 403},
		{"a rebound name with a port", []string{"Host", "evil.example:5001"}, 403},
		{"another machine's address", []string{"Host", "192.0.2.1:5001"}, 403},
		{"a name that looks like loopback", []string{"Host", "127.0.0.1.evil.example"}, 403},
	} {
		a := post(t, url+Prefix+"version", nil, tt.header...)
		if a.status != tt.want {
			t.Errorf("%s: got status %d, want %d: %s", tt.what, a.status, tt.want, a.body)
		}
		if a.status == 403 && (!strings.Contains(a.body, `"Code":4,"Type":"error"`) || a.header.Get("Access-Control-Allow-Origin") != "") {
			t.Errorf("%s: got %s with %v", tt.what, a.body, a.header)
		}
	}
	if a := post(t, url+Prefix+"version", nil, "Origin", "https://page.example"); a.header.Get("Access-Control-Allow-Origin") != "https://page.example" {
		t.Errorf("an allowed page: got %v", a.header)
	}
	for _, tt := range []struct {
		method, path, origin string
		want                 int
	}{
		{"GET", "/api/v0/version", "", 405},
		{"PUT", "/api/v0/version", "", 405},
		{"HEAD", "/api/v0/version", "", 405},
		{"OPTIONS", "/api/v0/version", "", 405},
		{"OPTIONS", "/api/v0/version", "https://page.example", 204},
		{"OPTIONS", "/api/v0/version", "https://evil.example", 403},
		{"POST", "/api/v0/none", "", 404},
		{"POST", "/api/v0/", "", 404},
		{"POST", "/", "", 404},
		{"POST", "/api/v1/version", "", 404},
		{"POST", "/api/v0/version/", "", 200},
		{"POST", "/api/v0/../v0/version", "", 404},
	} {
		r, err := http.NewRequest(tt.method, url+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tt.origin != "" {
			r.Header.Set("Origin", tt.origin)
		}
		if a := do(t, http.DefaultClient, r); a.status != tt.want {
			t.Errorf("%s %s from %q: got status %d, want %d", tt.method, tt.path, tt.origin, a.status, tt.want)
		}
	}
}
