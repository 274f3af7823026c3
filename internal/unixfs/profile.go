package unixfs

import (
	"fmt"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// A SizeRule is how a directory's size is computed for the comparison with the
// profile's ShardThreshold.
type SizeRule int

const (
	// BlockBytes is the size of the directory as one encoded block
	// (IPIP-499: block-bytes).
	BlockBytes SizeRule = iota
	// LinkBytes is the sum of the lengths of names and binary CIDs
	// (IPIP-499: links-bytes).
	LinkBytes
)

// A Layout is how a file's leaves are arranged under its root.
type Layout int

const (
	// Balanced: all leaves are at one depth (IPIP-499: balanced).
	Balanced Layout = iota
	// Trickle: leaves come first, then ever deeper subtrees, so a reader of the
	// file's beginning needs few nodes (Kubo's --trickle). Even a file of one
	// leaf has a parent node.
	Trickle
)

// A Profile has all options that decide an input's CID (IPIP-499).
type Profile struct {
	// Name is the profile's name in IPIP-499, empty for a custom one.
	Name string
	// CIDVersion is 0 or 1.
	CIDVersion uint64
	// Hash is the multihash code of every CID.
	Hash uint64
	// RawLeaves: leaves are raw blocks; else they are wrapped in dag-pb. CIDv0
	// has no raw leaves.
	RawLeaves bool
	// ChunkSize is the bytes of a file in one leaf, 1 to MaxChunkSize; the
	// maximum if Chunker is not Fixed.
	ChunkSize int
	// Chunker cuts files into leaves; SetChunker parses it from a string.
	Chunker Chunker
	// MinChunk and AvgChunk are the minimum and average for Rabin, in bytes; 0
	// for others.
	MinChunk, AvgChunk int
	// Layout arranges the leaves of a file.
	Layout Layout
	// Width bounds the links in a node of a file (in a trickle node, the
	// leaves), 2 to MaxWidth.
	Width int
	// Inline: blocks of at most Inline bytes are contained in their CIDs, by the
	// identity hash, and not put. 0: none; block.MaxIdentity at most.
	Inline int
	// ShardThreshold is the size, by ShardRule, above which a directory becomes
	// a HAMT. 0: never; a directory larger than a block then fails.
	ShardThreshold int
	// ShardRule computes the size to compare with ShardThreshold.
	ShardRule SizeRule
	// ShardFanout is the width of a HAMT's nodes: a power of two, 8 to
	// MaxFanout.
	ShardFanout int
}

// Bounds of a profile's fields.
const (
	// MaxChunkSize leaves room in a block for the dag-pb wrapping of a leaf.
	MaxChunkSize = block.MaxSize - maxLeafOverhead
	// MaxWidth keeps nodes of files well below the block limit: a link takes 60
	// bytes.
	MaxWidth = 1 << 14
	// MaxFanout is the largest fanout of the UnixFS specification.
	MaxFanout = 1024
)

// V1Profile is unixfs-v1-2025, the default: CIDv1, raw leaves of 1 MiB, 1024
// links a node, HAMTs above directories of 256 KiB.
func V1Profile() Profile {
	return Profile{
		Name: "unixfs-v1-2025", CIDVersion: 1, Hash: block.SHA2_256, RawLeaves: true,
		ChunkSize: 1 << 20, Width: 1024,
		ShardThreshold: 256 << 10, ShardRule: BlockBytes, ShardFanout: 256,
	}
}

// V0Profile is unixfs-v0-2015, Kubo's default up to version 0.39: CIDv0, wrapped
// leaves of 256 KiB, 174 links a node.
func V0Profile() Profile {
	return Profile{
		Name: "unixfs-v0-2015", CIDVersion: 0, Hash: block.SHA2_256,
		ChunkSize: 256 << 10, Width: 174,
		ShardThreshold: 256 << 10, ShardRule: LinkBytes, ShardFanout: 256,
	}
}

// ProfileByName returns a profile by its name in IPIP-499. Its error lists the
// names.
func ProfileByName(name string) (Profile, error) {
	for _, p := range []Profile{V1Profile(), V0Profile()} {
		if p.Name == name {
			return p, nil
		}
	}
	return Profile{}, fmt.Errorf("unixfs: unknown profile %q: want %s or %s", name, V1Profile().Name, V0Profile().Name)
}

// check checks the fields.
func (p Profile) check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("unixfs: profile: "+format, args...)
	}
	switch {
	case p.CIDVersion > 1:
		return bad("invalid CID version %d: want 0 or 1", p.CIDVersion)
	case p.CIDVersion == 0 && (p.RawLeaves || p.Hash != block.SHA2_256):
		return bad("CIDv0 needs wrapped leaves and sha2-256")
	case p.ChunkSize < 1 || p.ChunkSize > MaxChunkSize:
		return bad("invalid chunk size %d: want 1 to %d", p.ChunkSize, MaxChunkSize)
	case p.Layout != Balanced && p.Layout != Trickle:
		return bad("invalid layout %d", p.Layout)
	case p.Inline < 0 || p.Inline > block.MaxIdentity:
		return bad("invalid inline limit %d: want 0 to %d", p.Inline, block.MaxIdentity)
	case p.Width < 2 || p.Width > MaxWidth:
		return bad("invalid width %d: want 2 to %d", p.Width, MaxWidth)
	case p.ShardThreshold < 0:
		return bad("invalid HAMT threshold %d: want 0 or more", p.ShardThreshold)
	case p.ShardRule != BlockBytes && p.ShardRule != LinkBytes:
		return bad("invalid HAMT rule %d", p.ShardRule)
	case p.ShardThreshold > 0 && !validFanout(uint64(p.ShardFanout)):
		return bad("invalid HAMT fanout %d: want a power of two, 8 to %d", p.ShardFanout, MaxFanout)
	}
	return p.checkChunker()
}

// prefix returns the CID prefix of a block of that codec and size.
func (p Profile) prefix(codec uint64, size int) cid.Prefix {
	if size <= p.Inline && p.Inline > 0 {
		return cid.Prefix{Version: 1, Codec: codec, MhType: block.Identity, MhLength: -1}
	}
	return cid.Prefix{Version: p.CIDVersion, Codec: codec, MhType: p.Hash, MhLength: -1}
}
