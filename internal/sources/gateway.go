package sources

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"

	"github.com/cairn-ipfs/cairn/internal/exchange"
	"github.com/cairn-ipfs/cairn/internal/trustless"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"
)

// A gateway is a trustless gateway as a source.
type gateway struct{ client *trustless.Client }

var (
	_ exchange.Streamer    = (*gateway)(nil)
	_ exchange.Answerer    = (*gateway)(nil)
	_ exchange.ReadCounter = (*gateway)(nil)
)

// newGateway returns the gateway below base. The HTTP client may be shared.
func newGateway(base *url.URL, client *http.Client) *gateway {
	return &gateway{client: &trustless.Client{HTTP: client, Base: base, Reads: new(atomic.Int64)}}
}

// Name is the gateway's address.
func (g *gateway) Name() string { return g.client.Base.String() }

// Reads implements exchange.ReadCounter.
func (g *gateway) Reads() int64 { return g.client.Reads.Load() }

// Stream implements exchange.Streamer.
func (g *gateway) Stream(ctx context.Context, root cid.Cid, have []cid.Cid) (exchange.Stream, error) {
	r, err := g.client.DAG(ctx, root, trustless.Request{Have: have})
	switch busy := busyOf(err); {
	case err == nil:
		return gatewayStream{r}, nil
	case cannotStream(err):
		return nil, fmt.Errorf("%w: %w", exchange.ErrCannotStream, err)
	case busy != nil:
		return nil, busy
	default:
		return nil, err
	}
}

// A gatewayStream is the response to a request for a DAG.
type gatewayStream struct{ *trustless.Response }

func (s gatewayStream) Honoured() bool { return len(s.Have) > 0 }

// cannotStream reports whether a gateway's answer means that it serves no CARs.
func cannotStream(err error) bool {
	var status *trustless.StatusError
	if errors.As(err, &status) {
		return status.Status == http.StatusNotAcceptable || status.Status == http.StatusNotImplemented || status.Status == http.StatusBadRequest
	}
	return errors.Is(err, trustless.ErrProtocol)
}

// busyOf returns what a gateway's answer says if the gateway takes no more
// requests for now, nil otherwise. It says so by HTTP or by resetting the stream.
func busyOf(err error) *exchange.BusyError {
	var status *trustless.StatusError
	var reset *network.StreamError
	switch {
	case errors.As(err, &status) && (status.Status == http.StatusTooManyRequests || status.Status == http.StatusServiceUnavailable):
		return &exchange.BusyError{Wait: status.RetryAfter, Err: err}
	case errors.As(err, &reset) && reset.Remote && reset.ErrorCode == network.StreamResourceLimitExceeded:
		return &exchange.BusyError{Err: err}
	}
	return nil
}
