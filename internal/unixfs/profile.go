package unixfs

import (
	"fmt"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// A SizeRule says how a directory's size is reckoned when it is compared with
// the profile's ShardThreshold.
type SizeRule int

const (
	// BlockBytes is the size of the directory as one encoded block
	// (IPIP-499: block-bytes).
	BlockBytes SizeRule = iota
	// LinkBytes is the sum of the lengths of names and binary CIDs
	// (IPIP-499: links-bytes).
	LinkBytes
)

// A Layout says how a file's leaves are arranged under its root.
type Layout int

const (
	// Balanced: all leaves lie at one depth (IPIP-499: balanced).
	Balanced Layout = iota
	// Trickle: leaves come first, then subtrees that grow deeper one by one,
	// so that a reader of the file's beginning needs few nodes (Kubo's
	// --trickle). Even a file of one leaf has a node above it.
	Trickle
)

// A Profile holds all that decides which CID an input gets (IPIP-499).
type Profile struct {
	// Name is the profile's name in IPIP-499, empty for one's own.
	Name string
	// CIDVersion is 0 or 1.
	CIDVersion uint64
	// Hash is the multihash code that names every block.
	Hash uint64
	// RawLeaves: file contents are raw blocks; else each is wrapped in dag-pb.
	// Version 0 has none.
	RawLeaves bool
	// ChunkSize is how many bytes of a file one leaf holds, 1 to MaxChunkSize;
	// the most, where Chunker is not Fixed.
	ChunkSize int
	// Chunker says how a file is cut; SetChunker reads it from a string.
	Chunker Chunker
	// MinChunk and AvgChunk are Rabin's, in bytes; 0 for the others.
	MinChunk, AvgChunk int
	// Layout says how leaves are arranged.
	Layout Layout
	// Width is the most links in a node of a file, 2 to MaxWidth (in a
	// trickle node, the most leaves).
	Width int
	// Inline: blocks of at most that many bytes are carried in their CID
	// itself, by the identity hash, and not stored; 0 for none, up to
	// block.MaxIdentity.
	Inline int
	// ShardThreshold is the size, by ShardRule, above which a directory
	// becomes a HAMT. 0: never (it then fails when it outgrows a block).
	ShardThreshold int
	// ShardRule says what is compared with ShardThreshold.
	ShardRule SizeRule
	// ShardFanout is the width of a HAMT's nodes: a power of two, 8 to
	// MaxFanout.
	ShardFanout int
}

// Bounds of what a profile may say.
const (
	// MaxChunkSize leaves room in a block for the dag-pb wrapping of a leaf.
	MaxChunkSize = block.MaxSize - maxLeafOverhead
	// MaxWidth keeps nodes of files well below a block: a link takes 60 bytes.
	MaxWidth = 1 << 14
	// MaxFanout is the widest HAMT the UnixFS specification allows.
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

// V0Profile is unixfs-v0-2015, what Kubo did by default up to version 0.39:
// CIDv0, wrapped leaves of 256 KiB, 174 links a node.
func V0Profile() Profile {
	return Profile{
		Name: "unixfs-v0-2015", CIDVersion: 0, Hash: block.SHA2_256,
		ChunkSize: 256 << 10, Width: 174,
		ShardThreshold: 256 << 10, ShardRule: LinkBytes, ShardFanout: 256,
	}
}

// ProfileByName returns the profile IPIP-499 gives that name, or an error that
// lists those there are.
func ProfileByName(name string) (Profile, error) {
	for _, p := range []Profile{V1Profile(), V0Profile()} {
		if p.Name == name {
			return p, nil
		}
	}
	return Profile{}, fmt.Errorf("unixfs: no profile %q: there are %s and %s", name, V1Profile().Name, V0Profile().Name)
}

// check tells what is wrong with p.
func (p Profile) check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("unixfs: profile: "+format, args...)
	}
	switch {
	case p.CIDVersion > 1:
		return bad("CID version %d: it is 0 or 1", p.CIDVersion)
	case p.CIDVersion == 0 && (p.RawLeaves || p.Hash != block.SHA2_256):
		return bad("CIDv0 has no raw leaves and no hash but sha2-256")
	case p.ChunkSize < 1 || p.ChunkSize > MaxChunkSize:
		return bad("chunks of %d bytes: they are 1 to %d", p.ChunkSize, MaxChunkSize)
	case p.Layout != Balanced && p.Layout != Trickle:
		return bad("layout %d", p.Layout)
	case p.Inline < 0 || p.Inline > block.MaxIdentity:
		return bad("blocks of %d bytes inlined: the most is %d", p.Inline, block.MaxIdentity)
	case p.Width < 2 || p.Width > MaxWidth:
		return bad("%d links a node: it is 2 to %d", p.Width, MaxWidth)
	case p.ShardThreshold < 0:
		return bad("a HAMT threshold of %d bytes", p.ShardThreshold)
	case p.ShardRule != BlockBytes && p.ShardRule != LinkBytes:
		return bad("HAMT rule %d", p.ShardRule)
	case p.ShardThreshold > 0 && !validFanout(uint64(p.ShardFanout)):
		return bad("a HAMT of fanout %d: it is a power of two, 8 to %d", p.ShardFanout, MaxFanout)
	}
	return p.checkChunker()
}

// prefix says how a block of that codec and size is named.
func (p Profile) prefix(codec uint64, size int) cid.Prefix {
	if size <= p.Inline && p.Inline > 0 {
		return cid.Prefix{Version: 1, Codec: codec, MhType: block.Identity, MhLength: -1}
	}
	return cid.Prefix{Version: p.CIDVersion, Codec: codec, MhType: p.Hash, MhLength: -1}
}
