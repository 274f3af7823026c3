package trustless

import (
	"io"
	"net/http"
)

// wellKnownPath is where an HTTP server says which libp2p protocols lie where
// (https://specs.ipfs.tech/http-gateways/libp2p-gateway/).
const wellKnownPath = "/.well-known/libp2p/protocols"

// wellKnown has the mapping twice: as the specifications have it, and as
// go-libp2p and js-libp2p read and write it.
const wellKnown = `{"protocols":{"/ipfs/gateway":{"path":"/"}},"/ipfs/gateway":{"path":"/"}}` + "\n"

// withWellKnown answers for wellKnownPath that the gateway lies at "/", and
// leaves everything else to next.
func withWellKnown(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != wellKnownPath || r.Method != http.MethodGet && r.Method != http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, wellKnown) // an error means that nobody is listening
	})
}
