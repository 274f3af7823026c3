package trustless

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// WellKnownPath is where an HTTP server says which libp2p protocols lie where
// (https://specs.ipfs.tech/http-gateways/libp2p-gateway/).
const WellKnownPath = "/.well-known/libp2p/protocols"

// gatewayProtocol is the name of gateways of any sort there.
const gatewayProtocol = "/ipfs/gateway"

// wellKnown has the mapping twice: as the specifications have it, and as
// go-libp2p and js-libp2p read and write it.
const wellKnown = `{"protocols":{"/ipfs/gateway":{"path":"/"}},"/ipfs/gateway":{"path":"/"}}` + "\n"

// WithWellKnown answers for WellKnownPath that the gateway lies at "/", and
// leaves everything else to next.
func WithWellKnown(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != WellKnownPath || r.Method != http.MethodGet && r.Method != http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, wellKnown) // an error means that nobody is listening
	})
}

// maxWellKnown is how much of a mapping is read, in bytes, as in go-libp2p.
const maxWellKnown = 8 << 10

// GatewayPath asks the server at base ("https://host", or for a peer what
// StreamURL gives) where its gateway lies. It fails with ErrProtocol if the
// server lists none.
func GatewayPath(ctx context.Context, rt http.RoundTripper, base string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+WellKnownPath, nil)
	if err != nil {
		return "", fmt.Errorf("trustless: find the gateway: %w", err)
	}
	r.Header.Set("Accept", "application/json")
	resp, err := rt.RoundTrip(r)
	if err != nil {
		return "", fmt.Errorf("trustless: find the gateway: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("trustless: find the gateway: %w", &StatusError{Status: resp.StatusCode})
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxWellKnown))
	if err != nil {
		return "", fmt.Errorf("trustless: find the gateway: %w", err)
	}
	path, err := parseWellKnown(body)
	if err != nil {
		return "", fmt.Errorf("trustless: find the gateway: %w", err)
	}
	return path, nil
}

// parseWellKnown reads either form of the mapping.
func parseWellKnown(body []byte) (string, error) {
	var outer map[string]json.RawMessage
	if err := json.Unmarshal(body, &outer); err != nil {
		return "", fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	inner := outer
	if _, ok := outer[gatewayProtocol]; !ok && outer["protocols"] != nil {
		inner = nil
		if err := json.Unmarshal(outer["protocols"], &inner); err != nil {
			return "", fmt.Errorf("%w: %w", ErrProtocol, err)
		}
	}
	var at struct{ Path string }
	if inner[gatewayProtocol] == nil || json.Unmarshal(inner[gatewayProtocol], &at) != nil || !strings.HasPrefix(at.Path, "/") {
		return "", fmt.Errorf("%w: it lists no gateway", ErrProtocol)
	}
	return at.Path, nil
}
