package trustless

import (
	"context"
	"net"
	"net/http"
	"time"
)

const (
	// maxHeaderBytes bounds the headers of a response or request: twice what
	// MaxHave CIDs take, with room for what proxies add.
	maxHeaderBytes = 16 << 10
	// maxIdleConns is how many connections a transport keeps open.
	maxIdleConns = 128
	// maxIdlePerHost is how many of them to one host: over HTTP/1.1 each carries
	// one request at a time.
	maxIdlePerHost = 16
	// maxConnsPerHost spares servers.
	maxConnsPerHost = 64
	// idleTimeout is how long an idle connection is kept.
	idleTimeout = 90 * time.Second
	// handshakeTimeout is how long a TLS handshake may take.
	handshakeTimeout = 10 * time.Second
)

// NewHTTPTransport returns a transport for Clients of HTTP and HTTPS endpoints:
// HTTP/2 where the server has it, kept connections, bounded headers, no
// decompression, no proxy. dial decides which addresses may be reached; nil means
// all. Its CloseIdleConnections closes kept connections.
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
