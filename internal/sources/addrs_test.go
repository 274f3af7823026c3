package sources

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/trustless"
	"github.com/multiformats/go-multiaddr"
)

func TestGatewayURL(t *testing.T) {
	for _, c := range []struct{ addr, want string }{
		{"/dns4/example.org/tcp/443/https", "https://example.org:443/"},
		{"/dns/example.org/tcp/443/tls/http", "https://example.org:443/"},
		{"/dns/example.org/tcp/443/tls/sni/example.org/http", "https://example.org:443/"},
		{"/dns/example.org/tcp/443/tls/sni/other.org/http", ""},
		{"/ip6/2001:db8::1/tcp/8080/http", "http://[2001:db8::1]:8080/"},
		{"/ip4/192.0.2.1/tcp/4001", ""},
		{"/ip4/192.0.2.1/tcp/4001/ws", ""},
		{"/dns4/example.org/tcp/443/tls/ws", ""},
		{"/ip4/192.0.2.1/udp/4001/quic-v1", ""},
		{"/dns4/example.org/https", ""},
		{"/dns4/a.org/dns4/b.org/tcp/443/https", ""},
	} {
		m, err := multiaddr.NewMultiaddr(c.addr)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if u := gatewayURL(m); u != nil {
			got = u.String()
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.addr, got, c.want)
		}
	}
}

func FuzzGatewayURL(f *testing.F) {
	for _, s := range []string{"/dns4/example.org/tcp/443/https", "/ip6/::1/tcp/1/tls/sni/x/http", "/ip4/1.2.3.4/udp/1/quic-v1"} {
		f.Add(multiaddr.StringCast(s).Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := multiaddr.NewMultiaddrBytes(data)
		if err != nil {
			return
		}
		u := gatewayURL(m)
		if u == nil {
			return
		}
		if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Port() == "" || u.User != nil {
			t.Errorf("%s: got %q", m, u)
		}
		if _, err := http.NewRequest(http.MethodGet, u.String(), nil); err != nil {
			t.Logf("%s: no request can be made: %v", m, err)
		}
	})
}

func TestSplitAddrs(t *testing.T) {
	var addrs []multiaddr.Multiaddr
	for _, s := range []string{
		"/dns4/a.org/tcp/80/http", "/dns4/a.org/tcp/443/https", "/dns4/b.org/tcp/443/https", "/dns4/c.org/tcp/443/https", "/ip4/192.0.2.1/tcp/4001",
	} {
		addrs = append(addrs, multiaddr.StringCast(s))
	}
	urls, others := splitAddrs(addrs, false)
	if len(urls) != maxGateways || urls[0].Scheme != "https" || len(others) != 1 {
		t.Errorf("got %v, %v, want two gateways by https, and one address", urls, others)
	}
	if urls, _ := splitAddrs(addrs, true); urls[0].Scheme != "http" {
		t.Errorf("in a local network: got %v, want the first as it is", urls)
	}
}

// A gateway that the router found can't make us dial our own network, by an
// address, by a name, or by a redirect.
func TestUntrusted(t *testing.T) {
	called := 0
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called++ }))
	defer inside.Close()
	for _, u := range []string{inside.URL, strings.Replace(inside.URL, "127.0.0.1", "localhost", 1)} {
		if _, err := newUntrusted(false).Get(u); !errors.Is(err, errNotPublic) {
			t.Errorf("%s: got %v, want %v", u, err, errNotPublic)
		}
	}
	for _, ip := range []string{
		"10.0.0.1:443", "192.168.1.1:443", "169.254.169.254:80", "100.64.0.1:443", "0.0.0.0:1", "224.0.0.1:1",
		"[::1]:443", "[fe80::1%eth0]:443", "[fc00::1]:443", "[::ffff:127.0.0.1]:443", "[::]:1", "nonsense",
	} {
		if err := publicOnly("tcp", ip, nil); err == nil {
			t.Errorf("%s: got no error", ip)
		}
	}
	for _, ip := range []string{"1.1.1.1:443", "[2606:4700:4700::1111]:443"} {
		if err := publicOnly("tcp", ip, nil); err != nil {
			t.Errorf("%s: %v", ip, err)
		}
	}
	b, err := block.New(block.Raw, []byte("block"))
	if err != nil {
		t.Fatal(err)
	}
	leads := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case path == "/here":
			_, _ = w.Write(b.Data())
		case strings.HasPrefix(path, "/away"):
			http.Redirect(w, r, inside.URL, http.StatusFound)
		default:
			http.Redirect(w, r, "/here", http.StatusFound)
		}
	}))
	defer leads.Close()
	base, err := url.Parse(leads.URL)
	if err != nil {
		t.Fatal(err)
	}
	away := &trustless.Client{HTTP: newUntrusted(true), Base: base.JoinPath("away")}
	if _, err := away.Block(t.Context(), b.CID()); !errors.Is(err, trustless.ErrRedirect) {
		t.Errorf("a redirect to another host: got %v, want %v", err, trustless.ErrRedirect)
	}
	near := &trustless.Client{HTTP: newUntrusted(true), Base: base}
	if _, err := near.Block(t.Context(), b.CID()); err != nil {
		t.Errorf("a redirect within the host: %v", err)
	}
	if called != 0 {
		t.Errorf("the server inside got %d requests, want 0", called)
	}
}
