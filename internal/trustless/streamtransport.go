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
	// resetCanceled: the client lost interest (libp2p: stream cancelled).
	resetCanceled network.StreamErrorCode = 0
	// resetLimit: too many streams from one peer, or in all.
	resetLimit = network.StreamResourceLimitExceeded
)

const (
	// streamReadBuffer is the size of the client's buffer: headers and chunk
	// heads come out of it, larger reads go around it.
	streamReadBuffer = 32 << 10
	// requestTimeout is how long it may take to write a request.
	requestTimeout = 10 * time.Second
)

// StreamURL is the Base of a Client over Transport. Peers serve their gateways
// at "/", all that are known to. One that has it elsewhere, and says so
// (wellKnownPath), has nothing there, and is asked by bitswap.
func StreamURL(p peer.ID) *url.URL {
	return &url.URL{Scheme: "http", Host: p.String(), Path: "/"}
}

// Transport carries HTTP requests to a peer over libp2p streams, one
// stream each, as the peers out there expect it. It connects to the peer
// unless the host is connected. A stream is reset when the request's context
// ends or the body is closed before its end; it holds no goroutine.
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
	_ = s.SetWriteDeadline(time.Now().Add(requestTimeout)) // in vain on transports without
	out := *r                                              // which isn't ours to change
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

// A headReader bounds how much may be read before the headers are over.
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

// A streamBody is the body of a response, which ends with its stream.
type streamBody struct {
	body    io.ReadCloser
	stream  network.Stream
	unwatch func() bool // the request's context, which ends it
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

// end gives the stream back: closed after a whole response, else reset, so
// that the server stops as well.
func (b *streamBody) end(whole bool) {
	b.ended.Do(func() {
		if whole {
			_ = b.stream.Close()
		} else {
			_ = b.stream.ResetWithError(resetCanceled)
		}
	})
}
