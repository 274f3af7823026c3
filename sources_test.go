package cairn

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/exchange"
	"github.com/cairn-ipfs/cairn/internal/trustless"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/test"
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
			t.Logf("%s: a URL that can't be asked: %v", m, err)
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

// A gateway that a stranger told of can't get us to call our own network, by an
// address, by a name, or by a redirect.
func TestStrangers(t *testing.T) {
	called := 0
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called++ }))
	defer inside.Close()
	for _, u := range []string{inside.URL, strings.Replace(inside.URL, "127.0.0.1", "localhost", 1)} {
		if _, err := strangers(false).Get(u); !errors.Is(err, errNotPublic) {
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
	away := &trustless.Client{HTTP: strangers(true), Base: base.JoinPath("away")}
	if _, err := away.Block(t.Context(), b.CID()); !errors.Is(err, trustless.ErrRedirect) {
		t.Errorf("a redirect to another host: got %v, want %v", err, trustless.ErrRedirect)
	}
	near := &trustless.Client{HTTP: strangers(true), Base: base}
	if _, err := near.Block(t.Context(), b.CID()); err != nil {
		t.Errorf("a redirect within the host: %v", err)
	}
	if called != 0 {
		t.Errorf("the one inside was called %d times", called)
	}
}

// A liar tells of more gateways than anybody could ask.
type liar struct{ t *testing.T }

func (liar) Name() string { return "liar" }

func (l liar) FindProviders(ctx context.Context, _ cid.Cid) iter.Seq2[Provider, error] {
	return func(yield func(Provider, error) bool) {
		for i := range 20 * maxFound {
			id, err := test.RandPeerID()
			if err != nil {
				l.t.Error(err)
				return
			}
			a := multiaddr.StringCast(fmt.Sprintf("/dns4/g%d.example/tcp/443/https", i))
			if !yield(Provider{AddrInfo: peer.AddrInfo{ID: id, Addrs: []multiaddr.Multiaddr{a}}}, nil) {
				return
			}
		}
	}
}

func TestFoundGatewaysAreBounded(t *testing.T) {
	n, err := Open(t.Context(), Config{Local: true, Routing: RoutingNone, Finders: []Finder{liar{t}}})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	net, err := n.online(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	root := cid.MustParse("bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy")
	told := 0
	net.lookForProviders(t.Context(), root, func(exchange.Source) bool {
		told++
		return true
	})
	if told != maxFound {
		t.Errorf("got %d sources, want %d", told, maxFound)
	}
}

// Those who connect while a session looks for sources don't take the places of
// those that are found.
func TestConnectedMeanwhileAreBounded(t *testing.T) {
	n := openNode(t, Config{Routing: RoutingNone})
	net, err := n.online(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, addr, _, _ := publisher(t)
		if _, err := n.Connect(t.Context(), addr); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ before, want int }{{0, 2}, {exchange.MaxConnected - 1, 1}, {exchange.MaxConnected, 0}} {
		told := make(map[string]bool)
		for i := range c.before {
			told[fmt.Sprint(i)] = true
		}
		got := 0
		net.connectedMeanwhile(t.Context(), told, func(exchange.Source) bool {
			got++
			return true
		})
		if got != c.want {
			t.Errorf("behind %d: got %d sources, want %d", c.before, got, c.want)
		}
	}
}
