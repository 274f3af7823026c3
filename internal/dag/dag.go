// Package dag knows how blocks are linked: it finds the links in a block
// ([Links]), walks what is reachable from a root ([Walk]), and finds the blocks of
// a new DAG that an old one lacks ([Diff]).
//
// It reads blocks through a [block.Getter] of the caller's, and is otherwise pure
// logic: no disk, no network, no state, and no goroutines except those of a walk
// that reads ahead. Everything in it is safe for concurrent use if the Getter is,
// except [Set].
//
// Blocks are taken to be hostile. Finding links takes time and memory linear
// in the block's size, whatever the block declares; nesting, walks and
// differences are bounded by named constants.
//
// The package doesn't decode blocks into values (package internal/ipld does),
// doesn't know files and directories (package internal/unixfs does), and fetches
// nothing.
package dag

import (
	"fmt"

	"github.com/ipfs/go-cid"

	"github.com/cairn-ipfs/cairn/block"
)

// Version is that of the link extraction. It is raised when Links could find other
// links for the same bytes, also when a codec is added. So a store that keeps links
// knows which ones to extract again.
const Version = 1

// maxDepth bounds the nesting of lists and maps in a block, as in go-ipld-prime:
// real data stay below a hundred, and a scanner that recurses needs a bound.
const maxDepth = 1024

// Known reports whether Links can find the links of blocks of that codec.
func Known(codec uint64) bool {
	switch codec {
	case block.Raw, block.CBOR, block.JSON, block.DagPB, block.DagCBOR, block.DagJSON, block.DagJOSE, block.GitRaw:
		return true
	}
	return false
}

// Leaf reports whether blocks of that codec never have links: raw, and plain cbor
// and json, whose definitions have none (a tag 42 in plain cbor has a meaning for
// one application only). Their bytes are never read.
func Leaf(codec uint64) bool {
	return codec == block.Raw || codec == block.CBOR || codec == block.JSON
}

// Links returns the links of a block: distinct (by block.Equal), in the order in
// which they first appear.
//
// An identity CID is replaced by the links of the block that it carries. If that
// block's codec is unknown, or the block can't be decoded, it has no links; that is
// no error of the block around it.
//
// A link whose hash function is refused (block.CheckCID) is returned like any
// other: the DAG continues there, though nothing here can follow it.
//
// Errors: block.ErrUnknownCodec; block.ErrMalformed if the block can't be
// decoded, or if a link is longer than block.MaxCID or an identity CID over
// block.MaxIdentity. Each codec's scanner says what it accepts; all accept what
// go-ipld-prime's decoders do, with these two exceptions.
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
