package trustless

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// StreamProtocol is the protocol of HTTP over libp2p streams
// (https://github.com/libp2p/specs/tree/master/http): a request and its
// response on a stream of their own.
const StreamProtocol protocol.ID = "/http/1.1"

// Codes with which streams are reset.
const (
	// resetCanceled: the client has cancelled the request (libp2p: stream
	// cancelled).
	resetCanceled network.StreamErrorCode = 0
	// resetLimit: too many streams from one peer, or in all.
	resetLimit = network.StreamResourceLimitExceeded
)

const (
	// streamReadBuffer is the size of the client's buffer, for headers and the
	// heads of chunks. Larger reads bypass it.
	streamReadBuffer = 32 << 10
	// requestTimeout is how long it may take to write a request.
	requestTimeout = 10 * time.Second
)

// StreamURL returns the Base of a Client over Transport. All known peers serve
// their gateway at "/". A peer that has it elsewhere (wellKnownPath) answers 404
// there, and is asked by bitswap.
func StreamURL(p peer.ID) *url.URL {
	return &url.URL{Scheme: "http", Host: p.String(), Path: "/"}
}

// Transport returns a transport that sends HTTP requests to a peer over libp2p
// streams, one stream each. It connects to the peer unless the host is connected. A
// stream is reset when the request's context ends, or the body is closed before its
// end. It needs no goroutine.
//
// Requests have no body.
func Transport(h host.Host, p peer.ID) http.RoundTripper {
	return &streamTransport{h, p}
}

type streamTransport struct {
	host host.Host
	peer peer.ID
}

// RoundTrip implements http.RoundTripper.
func (t *streamTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
		if r.Body != http.NoBody {
			return nil, errors.New("trustless: a request with a body over a stream")
		}
	}
	s, err := t.host.NewStream(r.Context(), t.peer, StreamProtocol)
	if err != nil {
		return nil, fmt.Errorf("trustless: open a stream to %s: %w", t.peer, err)
	}
	body := &streamBody{stream: s}
	body.unwatch = context.AfterFunc(r.Context(), func() { body.end(false) })
	resp, err := t.exchange(s, r)
	if err != nil {
		body.Close()
		if r.Context().Err() != nil {
			err = r.Context().Err()
		}
		return nil, err
	}
	body.body, resp.Body = resp.Body, body
	return resp, nil
}

// exchange writes the request and reads the response's headers.
func (t *streamTransport) exchange(s network.Stream, r *http.Request) (*http.Response, error) {
	_ = s.SetWriteDeadline(time.Now().Add(requestTimeout)) // some transports have none
	out := *r                                              // a RoundTripper must not change r
	out.Close = true
	w := bufio.NewWriter(s)
	err := out.Write(w)
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return nil, fmt.Errorf("trustless: write a request to %s: %w", t.peer, err)
	}
	head := &headReader{r: s, left: maxHeaderBytes + streamReadBuffer}
	resp, err := http.ReadResponse(bufio.NewReaderSize(head, streamReadBuffer), r)
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("trustless: read the response of %s: %w", t.peer, err)
	}
	head.left = -1
	return resp, nil
}

// A headReader bounds what is read for the headers.
type headReader struct {
	r    io.Reader
	left int // bytes; below zero: no bound
}

// Read implements io.Reader.
func (h *headReader) Read(p []byte) (int, error) {
	if h.left < 0 {
		return h.r.Read(p)
	}
	if h.left == 0 {
		return 0, fmt.Errorf("%w: over %d bytes of headers", ErrProtocol, maxHeaderBytes)
	}
	n, err := h.r.Read(p[:min(len(p), h.left)])
	h.left -= n
	return n, err
}

// A streamBody is the body of a response on a stream of its own.
type streamBody struct {
	body    io.ReadCloser
	stream  network.Stream
	unwatch func() bool // stops watching the request's context
	ended   sync.Once
}

// Read implements io.Reader.
func (b *streamBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	if err != nil {
		b.unwatch()
		b.end(err == io.EOF)
	}
	return n, err
}

// Close implements io.Closer. It doesn't wait for the rest of the body.
func (b *streamBody) Close() error {
	b.unwatch()
	b.end(false)
	return nil
}

// end closes the stream after a whole response. Otherwise it resets it, so that the
// server stops, too.
func (b *streamBody) end(whole bool) {
	b.ended.Do(func() {
		if whole {
			_ = b.stream.Close()
		} else {
			_ = b.stream.ResetWithError(resetCanceled)
		}
	})
}
