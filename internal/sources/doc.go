// Package sources finds the peers and gateways that a session can ask.
//
// [Sources.Find] yields the sources of one session (internal/exchange): connected
// peers first, then each provider that the router finds. A provider with HTTP
// addresses becomes a gateway, any other a peer. A peer is asked over bitswap,
// and streams DAGs if it serves the trustless gateway over libp2p. A gateway
// streams DAGs over HTTP, and serves single blocks, one request each.
// [Sources.Learn] passes a session's outcome back to the router.
//
// Addresses that the router finds are untrusted: they are dialled over TLS and at
// public addresses only, unless [Config.Local] is set.
//
// A [Sources] is safe for concurrent use. Find starts goroutines and ends them
// before it returns. A source's connection is protected while a session uses it.
//
// The package moves no blocks by itself, and doesn't choose which source gets
// which block; internal/exchange does. It serves nothing.
package sources
