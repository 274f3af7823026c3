// Package httpapi is the HTTP side of an API that controls a node: which
// requests are admitted, how arguments are read, how answers and their errors
// are written, and how bodies end. Our own API (internal/control) and Kubo's
// (internal/kubo) are sets of verbs on it.
//
// A verb is one path below Prefix, answered to POST. A Server is an
// http.Handler over any number of verbs; a Call is one request to a verb. An
// answer is one JSON value, JSON lines, or bytes. An error before the first of
// them is an ErrorBody with a status; an error after it is a pair of trailers.
// Both carry codes, so that errors.Is gives the same answer on both sides.
//
// A client of the API controls the node. So the server refuses browsers, unless
// their origin is configured, and requests for a foreign host name that resolves
// to this machine (DNS rebinding; guard.go). Verbs that use the daemon's own files are answered over a Unix
// socket only (ListenUnix), and private keys stay on this machine.
//
// A Server is safe for concurrent use, starts no goroutine that outlives its
// request, and doesn't listen: its caller does. A Call belongs to one goroutine,
// except for Line. The package knows no nodes, blocks, or names.
package httpapi
