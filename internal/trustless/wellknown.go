package trustless

import (
	"io"
	"net/http"
)

// wellKnownPath is where an HTTP server maps libp2p protocols to paths
// (https://specs.ipfs.tech/http-gateways/libp2p-gateway/).
const wellKnownPath = "/.well-known/libp2p/protocols"

// wellKnown is the mapping in two forms: that of the specifications, and that of
// go-libp2p and js-libp2p.
const wellKnown = `{"protocols":{"/ipfs/gateway":{"path":"/"}},"/ipfs/gateway":{"path":"/"}}` + "\n"

// withWellKnown serves wellKnownPath; next serves everything else.
func withWellKnown(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != wellKnownPath || r.Method != http.MethodGet && r.Method != http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, wellKnown) // an error means that the client is gone
	})
}
