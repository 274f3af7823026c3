// Package exchange gets DAGs from sources.
//
// A session, begun by [Exchange.Sync], holds the frontier of one DAG: the blocks
// that it knows of and that are missing. It shares the frontier out among sources.
// A [Streamer] sends a whole DAG, depth-first (trustless gateways); an [Answerer]
// answers for single blocks (bitswap peers, and gateways with a request for each).
// A stream takes the frontier from its front, and answerers from its back, until
// they meet. So hardly a block comes twice, the fastest source does most, and the
// size of the DAG need not be known.
//
// A block is accepted if this session wants it: it is the root, or an accepted
// block links to it. Neither the order of blocks nor the end of a stream is
// trusted: a session is done when it wants nothing more. Its walk goes on below
// every block that is here, except where the store knows that the whole DAG is.
//
// Blocks are written to the store in batches, and kept alive by an alias of the
// session's own, [SyncPrefix] and the root's CID, until the caller's alias replaces
// it. So a sync that was interrupted resumes when it is begun again.
//
// Sessions are independent of each other. An Exchange is safe for concurrent use.
//
// The package finds no sources: [Config.Sources] does. It serves nothing, and
// knows bitswap and gateways by the interfaces of this package only; their
// implementations are in internal/sources.
package exchange
