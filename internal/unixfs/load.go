package unixfs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multicodec"
)

// The errors for a CID of the wrong type.
var (
	// ErrNotFile: it is a directory, a symlink, or not UnixFS.
	ErrNotFile = errors.New("not a file")
	// ErrNotDirectory: it is a file, a symlink, or not UnixFS.
	ErrNotDirectory = errors.New("not a directory")
)

// getBlock gets a block, or decodes it from its CID.
func getBlock(ctx context.Context, get block.Getter, c cid.Cid) (block.Block, error) {
	if err := block.CheckCID(c); err != nil {
		return block.Block{}, err
	}
	if b, ok := block.Inlined(c); ok {
		return b, nil
	}
	return get.Get(ctx, c)
}

// load gets and decodes a node. A raw block is a file of one leaf.
func load(ctx context.Context, get block.Getter, c cid.Cid) (Node, error) {
	b, err := getBlock(ctx, get, c)
	if err != nil {
		return Node{}, err
	}
	return decodeBlock(b)
}

// decodeBlock decodes a block of UnixFS.
func decodeBlock(b block.Block) (Node, error) {
	switch codec := b.CID().Type(); codec {
	case block.Raw:
		return Node{Type: TypeFile, Data: b.Data(), FileSize: uint64(b.Size())}, nil
	case block.DagPB:
		n, err := DecodeNode(b.Data())
		if err != nil {
			return Node{}, fmt.Errorf("%s: %w", b.CID(), err)
		}
		return n, nil
	default:
		return Node{}, fmt.Errorf("%s: %w: %s, want raw or dag-pb", b.CID(), block.ErrUnknownCodec, multicodec.Code(codec))
	}
}

// Info is the metadata in a file's, directory's or symlink's root.
type Info struct {
	// Type is TypeFile, TypeDirectory (sharded or not) or TypeSymlink.
	Type Type
	// Size is the bytes of a file's content, or of a symlink's target; 0 for a
	// directory.
	Size int64
	// Target is a symlink's target.
	Target string
	// Mode holds Unix permission bits, 0 if missing; Modified is the zero time
	// if missing.
	Mode     uint32
	Modified time.Time
}

// Stat returns the Info of c. It gets one block. Errors: those of get;
// block.ErrMalformed; block.ErrUnknownCodec.
func Stat(ctx context.Context, get block.Getter, c cid.Cid) (Info, error) {
	n, err := load(ctx, get, c)
	if err != nil {
		return Info{}, fmt.Errorf("unixfs: stat: %w", err)
	}
	i, err := newInfo(c, n)
	if err != nil {
		return Info{}, fmt.Errorf("unixfs: stat: %w", err)
	}
	return i, nil
}

func newInfo(c cid.Cid, n Node) (Info, error) {
	i := Info{Type: n.Type, Mode: n.Mode & 0o7777, Modified: n.Modified}
	switch n.Type {
	case TypeFile, TypeRaw:
		f, err := newFileNode(c, n)
		if err != nil {
			return Info{}, err
		}
		i.Type, i.Size = TypeFile, int64(f.size)
	case TypeDirectory, TypeHAMTShard:
		i.Type = TypeDirectory
	case TypeSymlink:
		i.Target, i.Size = string(n.Data), int64(len(n.Data))
	default:
		return Info{}, fmt.Errorf("%s: %w: unexpected node of type %s", c, block.ErrMalformed, n.Type)
	}
	return i, nil
}
