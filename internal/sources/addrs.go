package sources

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"

	"github.com/cairn-ipfs/cairn/internal/trustless"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// maxGateways is how many gateways are taken from one provider's addresses:
// more names of one server don't help.
const maxGateways = 2

// splitAddrs splits a provider's addresses into gateways and the others. Plain
// HTTP is for local networks only.
func splitAddrs(addrs []multiaddr.Multiaddr, local bool) (urls []*url.URL, others []multiaddr.Multiaddr) {
	for _, a := range addrs {
		u := gatewayURL(a)
		switch {
		case u == nil:
			others = append(others, a)
		case len(urls) < maxGateways && (local || u.Scheme == "https"):
			urls = append(urls, u)
		}
	}
	return urls, others
}

// gatewayURL returns the URL that the address of an HTTP server stands for, nil
// for other addresses: /dns4/example.org/tcp/443/https, or /tls/http in place of
// /https.
func gatewayURL(a multiaddr.Multiaddr) *url.URL {
	var host, port, sni string
	secure, isHTTP := false, false
	for _, c := range a {
		switch c.Protocol().Code {
		case multiaddr.P_IP4, multiaddr.P_IP6, multiaddr.P_DNS, multiaddr.P_DNS4, multiaddr.P_DNS6:
			if host != "" {
				return nil
			}
			host = c.Value()
		case multiaddr.P_TCP:
			port = c.Value()
		case multiaddr.P_TLS:
			secure = true
		case multiaddr.P_SNI:
			sni = c.Value()
		case multiaddr.P_HTTP:
			isHTTP = true
		case multiaddr.P_HTTPS:
			isHTTP, secure = true, true
		case multiaddr.P_P2P:
		default:
			return nil
		}
	}
	if !isHTTP || host == "" || port == "" || sni != "" && sni != host {
		return nil
	}
	scheme := "http"
	if secure {
		scheme = "https"
	}
	return &url.URL{Scheme: scheme, Host: net.JoinHostPort(host, port), Path: "/"}
}

// newUntrusted returns the HTTP client for gateways that the router found. Unless
// local, it dials public addresses only, whatever a name resolves to. Redirects
// are up to trustless.Client, which stays with the host.
func newUntrusted(local bool) *http.Client {
	dialer := &net.Dialer{}
	if !local {
		dialer.Control = publicOnly
	}
	return &http.Client{Transport: trustless.NewHTTPTransport(dialer.DialContext)}
}

var errNotPublic = errors.New("not a public address")

// publicOnly is a net.Dialer's Control, which sees the address that is dialled in
// the end.
func publicOnly(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	ip := at.Addr().Unmap()
	m, err := manet.FromIP(ip.WithZone("").AsSlice())
	if err != nil {
		return err
	}
	if !ip.IsGlobalUnicast() || !manet.IsPublicAddr(m) {
		return fmt.Errorf("%s: %w", ip, errNotPublic)
	}
	return nil
}
