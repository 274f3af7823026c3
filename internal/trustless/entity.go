package trustless

import (
	"math"
	"math/bits"
	"net/http"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
)

// An entity is what dag-scope=entity sends below its root.
type entity struct {
	children func(b block.Block, at child) []child
	partial  func(at child) bool
	size     int64 // of a file
}

func noChildren(block.Block, child) []child { return nil }

// entityOf returns the entity below a root; bytes is the wanted part of a file, nil
// for all. A range outside of the file is a *refusal. A block that isn't UnixFS is
// an entity of its own.
func entityOf(b block.Block, bytes *ByteRange) (entity, error) {
	none := entity{children: noChildren}
	var size int64
	switch b.CID().Type() {
	case block.Raw:
		size = int64(b.Size())
	case block.DagPB:
		n, err := unixfs.DecodeNode(b.Data())
		switch {
		case err != nil:
			return none, nil
		case n.Type == unixfs.TypeHAMTShard:
			return entity{children: shardsBelow}, nil
		case n.Type != unixfs.TypeFile && n.Type != unixfs.TypeRaw || n.FileSize > math.MaxInt64:
			return none, nil
		}
		size = int64(n.FileSize)
	default:
		return none, nil
	}
	begin, end := int64(0), size
	if bytes != nil && size > 0 {
		if begin, end = bytes.within(size); begin == end {
			return entity{}, refuse(http.StatusBadRequest, "entity-bytes=%s lies outside of a file of %d bytes", bytes, size)
		}
	}
	return entity{
		size:     size,
		children: func(b block.Block, at child) []child { return piecesBelow(b, at, begin, end) },
		partial:  func(at child) bool { return at.begin < begin || at.end > end },
	}, nil
}

// piecesBelow returns the children of a file's node that hold some of the bytes
// from begin to end, and the empty ones between them.
func piecesBelow(b block.Block, at child, begin, end int64) []child {
	if b.CID().Type() != block.DagPB {
		return nil
	}
	n, err := unixfs.DecodeNode(b.Data())
	if err != nil || len(n.Links) != len(n.BlockSizes) {
		return nil
	}
	var pieces []child
	// Pieces can't lie outside of where the parent says the node lies. So at most
	// two nodes of each level are partial.
	from := min(at.begin+int64(len(n.Data)), at.end)
	for i, l := range n.Links {
		to := at.end
		if n.BlockSizes[i] < uint64(at.end-from) {
			to = from + int64(n.BlockSizes[i])
		}
		if to > begin && from < end || from == to && from >= begin && to <= end {
			pieces = append(pieces, child{cid: l.CID, begin: from, end: to})
		}
		from = to
	}
	return pieces
}

// shardsBelow returns the child shards of a shard of a directory: links whose name
// is the bucket's number only.
func shardsBelow(b block.Block, _ child) []child {
	if b.CID().Type() != block.DagPB {
		return nil
	}
	n, err := unixfs.DecodeNode(b.Data())
	if err != nil || n.Type != unixfs.TypeHAMTShard || n.Fanout < 2 {
		return nil
	}
	digits := (bits.Len64(n.Fanout-1) + 3) / 4
	var shards []child
	for _, l := range n.Links {
		if len(l.Name) == digits {
			shards = append(shards, child{cid: l.CID})
		}
	}
	return shards
}
