// Package trustless speaks the trustless gateway protocol
// (https://specs.ipfs.tech/http-gateways/trustless-gateway/), both sides of
// it: blocks, and whole DAGs as CARs, over HTTP, where the receiver checks
// everything and trusts nobody.
//
// The server is [NewHandler], an http.Handler over blocks that are here. It
// answers for raw blocks and CARs alone, streams a CAR depth first while it
// walks the DAG, and breaks the connection off where a block is missing, so
// that no CAR ends as if it were whole. The client is [Client], for one
// endpoint: [Client.Block] and [Client.DAG]. Both know Cairn's extension, by
// which a client that holds an older version is sent the difference
// (docs/spec/have.md).
//
// One code serves two transports: HTTP over TCP ([NewHTTPTransport] makes what
// a client wants there), and HTTP/1.1 over libp2p streams ([Transport]
// for the client, [Serve] for the server).
//
// Each block that a Client yields matches its hash, but whether it was wanted
// is for the caller to judge, and the end of a CAR proves nothing: servers
// exist that end one early as if it were whole.
//
// A handler and a Client may be used by any number of goroutines; a [Response]
// belongs to one at a time. What a request costs is bounded on
// both sides by constants that say why.
//
// The package fetches nothing for those it serves, follows no names (/ipns),
// returns no files, and spreads no work over several endpoints.
package trustless
