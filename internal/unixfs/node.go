package unixfs

import (
	"fmt"
	"math"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// A Type is the type of a node (UnixFS: Data.Type).
type Type uint8

const (
	TypeRaw       Type = 0 // a leaf of a file, written by old tools
	TypeDirectory Type = 1
	TypeFile      Type = 2
	TypeMetadata  Type = 3 // reserved; refused
	TypeSymlink   Type = 4
	TypeHAMTShard Type = 5
)

// String returns the type's name in the specification.
func (t Type) String() string {
	names := [...]string{"Raw", "Directory", "File", "Metadata", "Symlink", "HAMTShard"}
	if int(t) < len(names) {
		return names[t]
	}
	return fmt.Sprintf("Type(%d)", uint8(t))
}

// maxLinks bounds the links of one node, so that a hostile node needs only a
// small multiple of its bytes in memory. No block of 2 MiB whose CIDs are hashes
// has more: a link takes over 40 bytes.
const maxLinks = 1 << 16

// A Link is one link of a node.
type Link struct {
	// CID names the child.
	CID cid.Cid
	// Name is an entry's name in a directory (in a HAMT shard, after its
	// bucket's prefix), empty in a file.
	Name string
	// Tsize is the declared size of the child's block and all blocks below: a
	// hint, not verified.
	Tsize uint64
}

// A Node is a dag-pb block with UnixFS data, decoded.
type Node struct {
	Type Type
	// Data is a file's own bytes (before those of its children), a symlink's
	// target, or a HAMT shard's bit field. Decoded, it shares the block's
	// memory.
	Data []byte
	// FileSize is the size of a file: the bytes of Data and all children.
	FileSize uint64
	// BlockSizes holds the bytes of a file below each link.
	BlockSizes []uint64
	// HashType and Fanout are a HAMT's.
	HashType, Fanout uint64
	// Mode holds Unix permission bits, 0 if missing; Modified is the zero time
	// if missing.
	Mode     uint32
	Modified time.Time
	Links    []Link
}

// DecodeNode decodes a dag-pb block. It follows the dag-pb specification, but
// accepts links and data in either order, and the UnixFS message in any form of
// protobuf, as other tools wrote them. Data shares p's memory. Errors wrap
// block.ErrMalformed.
func DecodeNode(p []byte) (Node, error) {
	count, err := countLinks(p)
	if err != nil {
		return Node{}, err
	}
	var n Node
	if count > 0 {
		n.Links = make([]Link, 0, count)
	}
	var data []byte
	seenData := false
	r := wireReader{p: p}
	for r.more() {
		number, wire := r.field()
		switch number {
		case 1:
			if seenData {
				r.fail("a node has two data fields")
			}
			seenData = true
			data = r.bytes(wire)
		case 2:
			l, err := decodeLink(r.bytes(wire))
			if err != nil {
				return Node{}, fmt.Errorf("link %d: %w", len(n.Links), err)
			}
			n.Links = append(n.Links, l)
		default:
			r.fail("unknown field in a node")
		}
	}
	if err := r.err(); err != nil {
		return Node{}, err
	}
	// The first tools wrote directories without data.
	if len(data) == 0 {
		n.Type = TypeDirectory
		return n, nil
	}
	return n, n.decodeData(data)
}

// countLinks checks a node's fields and counts its links, to allocate them at
// once.
func countLinks(p []byte) (int, error) {
	r := wireReader{p: p}
	count := 0
	for r.more() {
		number, wire := r.field()
		if number == 2 {
			count++
		}
		r.skip(wire)
	}
	if count > maxLinks {
		return 0, fmt.Errorf("%w: %d links in a node, want %d at most", block.ErrMalformed, count, maxLinks)
	}
	return count, r.err()
}

func decodeLink(p []byte) (Link, error) {
	var l Link
	var seen [4]bool
	r := wireReader{p: p}
	for r.more() {
		number, wire := r.field()
		if number < uint64(len(seen)) {
			if seen[number] {
				r.fail("a link has a field twice")
			}
			seen[number] = true
		}
		switch number {
		case 1:
			hash := r.bytes(wire)
			if r.bad != "" {
				break
			}
			c, size, err := block.ReadCID(hash)
			if err != nil {
				return Link{}, err
			}
			if size != len(hash) {
				r.fail("bytes after a CID")
			}
			l.CID = c
		case 2:
			l.Name = string(r.bytes(wire))
		case 3:
			l.Tsize = r.number(wire)
		default:
			r.fail("unknown field in a link")
		}
	}
	if !seen[1] {
		r.fail("a link without CID")
	}
	return l, r.err()
}

// decodeData decodes the UnixFS message.
func (n *Node) decodeData(p []byte) error {
	seenType := false
	r := wireReader{p: p}
	for r.more() {
		number, wire := r.field()
		switch number {
		case 1:
			t := r.number(wire)
			if t > uint64(TypeHAMTShard) {
				r.fail("unknown UnixFS type")
			}
			n.Type, seenType = Type(t), true
		case 2:
			n.Data = r.bytes(wire)
		case 3:
			n.FileSize = r.number(wire)
		case 4:
			n.decodeBlockSizes(&r, wire)
		case 5:
			n.HashType = r.number(wire)
		case 6:
			n.Fanout = r.number(wire)
		case 7:
			n.Mode = uint32(r.number(wire))
		case 8:
			var err error
			if n.Modified, err = decodeTime(r.bytes(wire)); err != nil {
				return err
			}
		default:
			r.skip(wire)
		}
	}
	if !seenType {
		r.fail("the UnixFS type is missing")
	}
	return r.err()
}

// decodeBlockSizes appends one block size, or several packed ones.
func (n *Node) decodeBlockSizes(r *wireReader, wire int) {
	if n.BlockSizes == nil {
		n.BlockSizes = make([]uint64, 0, len(n.Links))
	}
	if wire != wireBytes {
		n.BlockSizes = append(n.BlockSizes, r.number(wire))
	} else {
		packed := wireReader{p: r.bytes(wire)}
		for packed.more() && len(n.BlockSizes) <= maxLinks {
			n.BlockSizes = append(n.BlockSizes, packed.varint())
		}
		if packed.bad != "" {
			r.fail(packed.bad)
		}
	}
	if len(n.BlockSizes) > maxLinks {
		r.fail("too many block sizes")
	}
}

func decodeTime(p []byte) (time.Time, error) {
	var seconds int64
	var nanos uint32
	r := wireReader{p: p}
	for r.more() {
		number, wire := r.field()
		switch number {
		case 1:
			seconds = int64(r.number(wire))
		case 2:
			nanos = r.fixed32(wire)
		default:
			r.skip(wire)
		}
	}
	if nanos > 999_999_999 {
		r.fail("nanoseconds of a second or more")
	}
	return time.Unix(seconds, int64(nanos)).UTC(), r.err()
}

// sumSizes adds sizes to total. It returns false if the sum exceeds a file's
// maximum.
func sumSizes(total uint64, sizes []uint64) (uint64, bool) {
	for _, s := range sizes {
		if s > math.MaxInt64 || total > math.MaxInt64-s {
			return 0, false
		}
		total += s
	}
	return total, total <= math.MaxInt64
}
