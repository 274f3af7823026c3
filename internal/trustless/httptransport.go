package trustless

import (
	"context"
	"net"
	"net/http"
	"time"
)

const (
	// maxHeaderBytes is the most that is taken of a response's or request's
	// headers: twice what MaxHave CIDs take, and what proxies add.
	maxHeaderBytes = 16 << 10
	// maxIdleConns is how many connections a transport keeps open.
	maxIdleConns = 128
	// maxIdlePerHost is how many of them to one host that only speaks
	// HTTP/1.1, where each carries one request at a time.
	maxIdlePerHost = 16
	// maxConnsPerHost keeps clients from being a burden.
	maxConnsPerHost = 64
	// idleTimeout is how long they are kept.
	idleTimeout = 90 * time.Second
	// handshakeTimeout is how long a TLS handshake may take.
	handshakeTimeout = 10 * time.Second
)

// NewHTTPTransport returns what a Client needs to reach HTTP and HTTPS
// endpoints: HTTP/2 where there is any, connections that are kept, bounded
// headers, nothing unpacked, no proxy. dial decides which addresses may be
// reached; nil means all. Its CloseIdleConnections ends what is kept.
func NewHTTPTransport(dial func(ctx context.Context, network, address string) (net.Conn, error)) *http.Transport {
	return &http.Transport{
		DialContext:            dial,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		TLSHandshakeTimeout:    handshakeTimeout,
		MaxIdleConns:           maxIdleConns,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		MaxConnsPerHost:        maxConnsPerHost,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		ReadBufferSize:         64 << 10,
	}
}
