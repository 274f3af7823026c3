package announce

import (
	"context"
	"errors"
	"iter"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/ipfs/go-cid"
)

// maxBlocks is how many blocks with links one walk may visit. Each costs about a
// hundred bytes of memory until the walk ends.
const maxBlocks = 1 << 24

// entitiesBelow lists what has a name below the roots and is in the store: files,
// directories and shards; of other DAGs all blocks. It reads a file's root only,
// and nothing of a file that is one raw block.
func (a *Announcer) entitiesBelow(ctx context.Context, roots []cid.Cid) iter.Seq2[cid.Cid, error] {
	return a.walk(ctx, roots, func(b block.Block) ([]cid.Cid, error) {
		if b.CID().Prefix().Codec == cid.DagProtobuf {
			node, err := unixfs.DecodeNode(b.Data())
			if err == nil && node.Type != unixfs.TypeDirectory && node.Type != unixfs.TypeHAMTShard {
				return nil, nil
			}
		}
		return a.store.Links(b)
	})
}

// blocksBelow lists all blocks below the roots that are in the store.
func (a *Announcer) blocksBelow(ctx context.Context, roots []cid.Cid) iter.Seq2[cid.Cid, error] {
	return a.walk(ctx, roots, a.store.Links)
}

// walk lists the blocks of DAGs that are in the store, without reading leaves.
// Errors: block.ErrTooLarge above maxBlocks; the store's.
func (a *Announcer) walk(ctx context.Context, roots []cid.Cid, links func(block.Block) ([]cid.Cid, error)) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		var leaves []cid.Cid
		isLeaf := func(c cid.Cid) bool {
			if block.CheckCID(c) != nil {
				return true // it names no block that the store can hold
			}
			leaf := dag.Leaf(c.Prefix().Codec) && !block.IsIdentity(c)
			if leaf {
				leaves = append(leaves, c)
			}
			return leaf
		}
		flush := func() bool {
			for _, c := range leaves {
				here, err := a.store.Has(ctx, c)
				if err != nil || here {
					if !yield(c, err) || err != nil {
						return false
					}
				}
			}
			leaves = leaves[:0]
			return true
		}
		o := dag.WalkOptions{Skip: isLeaf, Links: links, KeepGoing: true, MaxBlocks: maxBlocks}
		for step, err := range dag.Walk(ctx, a.store, roots, o) {
			if !flush() {
				return
			}
			// Blocks that are missing or cannot be decoded are left out.
			for _, harmless := range []error{block.ErrNotFound, block.ErrDamaged, block.ErrMalformed, block.ErrUnknownCodec} {
				if errors.Is(err, harmless) {
					err = nil
				}
			}
			if err != nil {
				yield(cid.Undef, err)
				return
			}
			if step.Block.CID().Defined() && !block.IsIdentity(step.CID) && !yield(step.CID, nil) {
				return
			}
		}
		flush()
	}
}
