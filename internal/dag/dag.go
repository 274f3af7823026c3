// Package dag knows how blocks hang together: it finds the links in a block
// ([Links]), walks what is reachable from a root ([Walk]), and tells what a new
// DAG has that an old one hasn't ([Diff]).
//
// It reads blocks through a [block.Getter] that it is given, and is otherwise
// pure logic: no disk, no network, no state, and no goroutines except those of a
// walk that reads ahead. Everything in it is safe for concurrent use as long as
// the Getter is.
//
// Blocks are taken to be hostile. Finding links takes time and memory linear
// in the block's size, whatever the block declares; nesting, walks and
// differences are bounded by named constants.
//
// The package doesn't decode blocks into values, knows nothing of files and
// directories (package internal/unixfs does), and fetches nothing.
package dag

import (
	"fmt"

	"github.com/ipfs/go-cid"

	"github.com/cairn-ipfs/cairn/block"
)

// Version is that of the link extraction. It is raised whenever Links could
// find other links for the same bytes, also when a codec is added, so that who
// stores links knows which ones to extract anew.
const Version = 1

// maxDepth is how deep lists and maps may nest in a block, as in
// go-ipld-prime: real data stay below a hundred, and a scanner that recurses
// needs a bound.
const maxDepth = 1024

// Known tells whether Links can find the links of blocks of that codec.
func Known(codec uint64) bool {
	switch codec {
	case block.Raw, block.CBOR, block.JSON, block.DagPB, block.DagCBOR, block.DagJSON, block.DagJOSE, block.GitRaw:
		return true
	}
	return false
}

// Leaf tells whether blocks of that codec never have links: raw, and plain
// cbor and json, whose definitions have none (a tag 42 in plain cbor is one
// application's business). Their bytes are never looked at.
func Leaf(codec uint64) bool {
	return codec == block.Raw || codec == block.CBOR || codec == block.JSON
}

// Links returns the links of a block: distinct (as block.Equal has it), in the
// order in which they first appear.
//
// It looks through identity CIDs: the links of the block that such a CID
// carries take its place, and the identity CID itself isn't returned. A block
// carried so whose codec is unknown, or that can't be decoded, has no links;
// it doesn't spoil the block around it.
//
// A link whose hash function is refused (block.CheckCID) is returned like any
// other: the DAG does go on there, though nobody can.
//
// Errors: block.ErrUnknownCodec; block.ErrMalformed if the block can't be
// decoded, or if a link is longer than block.MaxCID or an identity CID over
// block.MaxIdentity. What each codec accepts stands with its scanner; all
// accept whatever go-ipld-prime's decoders do, with these two exceptions.
func Links(b block.Block) ([]cid.Cid, error) {
	var l linkSet
	if err := l.scan(b.CID().Type(), b.Data()); err != nil {
		return nil, fmt.Errorf("dag: links of %s: %w", b.CID(), err)
	}
	return l.links, nil
}

// scan adds the links of a block.
func (l *linkSet) scan(codec uint64, data []byte) error {
	switch codec {
	case block.Raw, block.CBOR, block.JSON:
		return nil
	case block.DagPB:
		return scanPB(l, data)
	case block.DagCBOR:
		return scanCBOR(l, data)
	case block.DagJOSE:
		return scanJOSE(l, data)
	case block.DagJSON:
		return scanJSON(l, data)
	case block.GitRaw:
		return scanGit(l, data)
	}
	return fmt.Errorf("%w 0x%x", block.ErrUnknownCodec, codec)
}
