// Package bitswap speaks Bitswap 1.2.0 with libp2p peers
// (https://specs.ipfs.tech/bitswap-protocol/), and 1.1.0 and 1.0.0 with those
// that know no more: it asks them for blocks, and answers from the blocks that
// are here.
//
// The key types are [Bitswap], one for a host, and [Conversation], what one
// asker has going on with one peer. Wants that several conversations have at
// one peer are sent once. Every block handed on was hashed. What a peer sends
// that nobody asked for is dropped and counted, and too much of it ends the
// conversations. The [Ledger] says what was exchanged with a peer.
//
// There are no timers between a want and its message: whatever is queued when
// the sender gets its turn goes out. Messages are decoded while they arrive,
// so no buffer ever holds a whole one.
//
// The server answers whether a block is here without reading it. It serves its
// peers in turns of about a message, reads the blocks of one message while the
// one before is sent, and forgets a peer that disconnects or doesn't read.
//
// Everything exported is safe for concurrent use. A peer has a goroutine for
// each inbound stream, two while it has conversations, and three while it is
// being answered. [Bitswap.Close] waits for all of them.
//
// The package looks for nobody and chooses nobody: which peers to ask for what,
// again, or instead, is the session's business (internal/exchange). It stores
// nothing, looks into no block, and never answers from the network.
package bitswap
