// Package trustless is a client and a server of the trustless gateway protocol
// (https://specs.ipfs.tech/http-gateways/trustless-gateway/): blocks, and DAGs as
// CARs, over HTTP. The client verifies everything.
//
// The server is [NewHandler], an http.Handler over blocks that are here. It serves
// raw blocks and CARs only, and streams a CAR depth-first while it walks the DAG.
// At a missing block it aborts the connection, so that no CAR ends as if it were
// complete. The client is [Client], for one endpoint: [Client.Block] and
// [Client.DAG]. Both know Cairn's extension, by which a client that has an older
// version gets the difference only (docs/spec/have.md).
//
// Both run over two transports: HTTP over TCP ([NewHTTPTransport] for the client),
// and HTTP/1.1 over libp2p streams ([Transport] for the client, [Serve] for the
// server).
//
// Each block that a Client yields matches its hash. Whether it was wanted is up to
// the caller, and the end of a CAR proves nothing: some servers end an incomplete
// one as if it were complete.
//
// A handler and a Client are safe for concurrent use; a [Response] belongs to one
// goroutine at a time. Constants bound what a request costs on both sides, and say
// why.
//
// The package fetches nothing for its clients, resolves no names (/ipns), returns no
// files, and asks one endpoint at a time.
package trustless
