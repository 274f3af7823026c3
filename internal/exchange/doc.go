// Package exchange gets DAGs from others.
//
// A session, begun by [Exchange.Sync], holds what is still missing of one DAG,
// its frontier, and shares it out among sources: [Streamer]s that send a whole
// DAG, one after another as it's walked depth-first (trustless gateways, over
// HTTP or libp2p), and [Asker]s that are asked for single blocks (bitswap
// peers). A stream takes the frontier from its front, all others from its back,
// until they meet: so no block is fetched twice, whoever is fastest does most,
// and nobody has to know beforehand how large the DAG is.
//
// A block is accepted if this session wants it: it is the root, or an accepted
// block links to it. The order in which blocks come is trusted as little as who
// sends them, and the end of a stream proves nothing: a session is done when it
// wants nothing more. It goes on below every block that is here already, save
// where the store knows that all is there.
//
// What comes is written to the store in batches, and kept alive under an alias
// of the session's own, [SyncPrefix] and the root, until its caller's alias is
// set in its place. So a sync that was cut short, by whatever, goes on from
// where it was when it's begun again.
//
// Sessions are independent of each other. An Exchange may be used by any number
// of goroutines.
//
// The package finds nobody: who may have a DAG is told by [Config.Sources]. It
// serves nothing; that's for bitswap and trustless. Interfaces stand between it
// and them, so that it can be tested without a network.
package exchange
