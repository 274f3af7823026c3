// Package bitswap speaks Bitswap 1.2.0 with libp2p peers
// (https://specs.ipfs.tech/bitswap-protocol/), and 1.1.0 and 1.0.0 with peers of
// older versions. It asks peers for blocks, and answers them from the blocks that
// are here.
//
// The key types are [Bitswap], one for a host, and [Conversation], one caller's
// wants of one peer. Wants that several conversations have of one peer are sent
// once. Every block is hashed before it is handed on. Blocks that were not asked
// for are dropped and counted; too many of them end the peer's conversations.
//
// No timer delays a want: the sender sends all that is queued when its turn comes.
// Messages are decoded while they arrive, so no buffer holds a whole one.
//
// The server answers whether a block is here without reading it. It serves its
// peers in turns of about a message, and reads the blocks of one message while the
// one before is sent. It forgets a peer that disconnects or doesn't read.
//
// Everything exported is safe for concurrent use. A peer has a goroutine for each
// inbound stream, two while it has conversations, and three while it is being
// answered. [Bitswap.Close] waits for all of them.
//
// The package finds no peers, and doesn't choose which peer gets which want:
// sessions do (internal/exchange). It stores nothing, decodes no block, and never
// answers from the network.
package bitswap
