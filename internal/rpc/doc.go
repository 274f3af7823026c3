// Package rpc is the API by which a running node is controlled: the server that
// a daemon serves, and the client that the command line and other programs use.
//
// The paths and shapes are Kubo's (https://docs.ipfs.tech/reference/kubo/rpc/),
// so that tools that speak to Kubo work here: POST to /api/v0/VERB, arguments
// as "arg", options as query parameters, JSON out, one value a line where Kubo
// streams. What Kubo has no verb for lies below /api/v0/cairn/.
//
// The key types are Server, an http.Handler over a cairn.Node, and Client, which
// Dial makes. A verb is one file: its function on the server (a method of call),
// and below it the method of Client that asks for it. verbs.go lists all. Errors
// travel with codes, so that errors.Is says the same of them on both sides; see
// errors.go.
//
// Whoever reaches the API may do everything with the node. So browsers are kept
// out unless their origin is configured, as are hosts that only pretend to be
// this one (guard.go), and what reads or writes the daemon's own file system is
// answered over a Unix socket only.
//
// A Server and a Client are safe for use by any number of goroutines. The
// Server starts none that outlives its request, and listens nowhere: that is for
// the caller. The package serves no content to the public; a gateway does.
package rpc
