package bitswap

import (
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/cairn-ipfs/cairn/block"
)

// The versions spoken, the best first. 1.1.0 has no presences. 1.0.0 has no
// prefixes of CIDs either: all blocks are CIDv0.
const (
	protocol120 = protocol.ID("/ipfs/bitswap/1.2.0")
	protocol110 = protocol.ID("/ipfs/bitswap/1.1.0")
	protocol100 = protocol.ID("/ipfs/bitswap/1.0.0")
)

// protocols returns the versions spoken, the best first.
func protocols() []protocol.ID { return []protocol.ID{protocol120, protocol110, protocol100} }

const (
	// maxMessage is the longest message accepted, in bytes. Peers send and accept
	// no longer ones (libp2p's network.MessageSizeMax).
	maxMessage = 4 << 20

	// maxEntries is the most want-list entries accepted in a message: twice
	// what any known client sends at once.
	maxEntries = 32 << 10

	// maxPiece is how many of them are decoded before they are handed on: as
	// many as peers commonly send at once, in any order.
	maxPiece = 1 << 10

	// maxSmall is the most bytes of an entry, a presence or a prefix: a CID
	// and a few numbers, with room for fields to come.
	maxSmall = 512

	// maxSkipped is the most bytes of unknown fields in a message.
	maxSkipped = 64 << 10
)

// Fields of the protocol's messages.
const (
	messageWantlist = 1
	messageBlocks   = 2 // 1.0.0
	messagePayload  = 3 // since 1.1.0
	messagePresence = 4 // since 1.2.0

	wantlistEntries = 1
	wantlistFull    = 2

	entryCID          = 1
	entryPriority     = 2
	entryCancel       = 3
	entryKind         = 4
	entrySendDontHave = 5

	payloadPrefix = 1
	payloadData   = 2

	presenceCID  = 1
	presenceKind = 2
)

// errMalformed: the message breaks the protocol, or one of our bounds.
var errMalformed = errors.New("malformed message")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errMalformed, fmt.Sprintf(format, args...))
}

// Want is what is asked of a block; the values are the protocol's.
type Want uint8

const (
	// WantBlock asks for the block.
	WantBlock Want = 0
	// WantHave asks whether the peer has the block. The peer may send a small
	// block at once.
	WantHave Want = 1
)

// An entry is one line of a want list.
type entry struct {
	cid          cid.Cid
	priority     int32
	cancel       bool
	kind         Want
	sendDontHave bool
}

// key returns the multihash in c, which must be defined: it identifies the block.
// It shares c's memory.
func key(c cid.Cid) string {
	s := c.KeyString()
	if len(s) == 34 && s[0] == byte(block.SHA2_256) && s[1] == 32 {
		return s // of version 0, which is the multihash alone
	}
	for i := 1; i < len(s); i++ { // the version takes one byte
		if s[i] < 0x80 {
			return s[i+1:]
		}
	}
	return ""
}

// hasPresences reports whether that version has HAVE and DONT_HAVE.
func hasPresences(version protocol.ID) bool { return version == protocol120 }
