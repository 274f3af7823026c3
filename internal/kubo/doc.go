// Package kubo is the server side of Kubo's RPC API, for Kubo's clients
// (https://docs.ipfs.tech/reference/kubo/rpc/): its paths, its options, and the
// shapes of its answers, over a cairn.Node.
//
// Verbs lists the verbs for an httpapi.Server. Each verb is a method of the type call,
// in the file of its subject: arguments as "arg", options as query parameters, JSON
// out, one value a line where Kubo streams. An option that would change the
// result and is not supported is an error. Kubo's pins are aliases (pin.go).
// Verbs that read fetch blocks that the node lacks, unless the request has the
// option offline.
//
// The verbs keep no state between requests. A call belongs to one goroutine. The
// package is only for programs written for Kubo: our own command line uses
// internal/control.
package kubo
