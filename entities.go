package cairn

import (
	"context"
	"errors"
	"iter"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/ipfs/go-cid"
)

// maxListed is how many blocks with links a list may visit: each costs about a
// hundred bytes of memory while it's read.
const maxListed = 1 << 24

// entities lists the entities below all aliases.
func (n *Node) entities(ctx context.Context) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		var roots []cid.Cid
		for root, err := range n.roots(ctx) {
			if err != nil {
				yield(cid.Undef, err)
				return
			}
			roots = append(roots, root)
		}
		for c, err := range n.entitiesOf(ctx, roots) {
			if !yield(c, err) {
				return
			}
		}
	}
}

// entitiesOf lists what has a name below the roots, and is here: files,
// directories, shards; of other DAGs all blocks. Of files it reads no more than
// the roots, and nothing of those that are one raw block.
func (n *Node) entitiesOf(ctx context.Context, roots []cid.Cid) iter.Seq2[cid.Cid, error] {
	return n.walk(ctx, roots, func(b block.Block) ([]cid.Cid, error) {
		if b.CID().Prefix().Codec == cid.DagProtobuf {
			node, err := unixfs.DecodeNode(b.Data())
			if err == nil && node.Type != unixfs.TypeDirectory && node.Type != unixfs.TypeHAMTShard {
				return nil, nil
			}
		}
		return n.store.Links(b)
	})
}

// blocksOf lists all blocks below the roots that are here.
func (n *Node) blocksOf(ctx context.Context, roots []cid.Cid) iter.Seq2[cid.Cid, error] {
	return n.walk(ctx, roots, n.store.Links)
}

// walk lists what is here of DAGs, reading none of the leaves. Errors:
// block.ErrTooLarge above maxListed; the store's.
func (n *Node) walk(ctx context.Context, roots []cid.Cid, links func(block.Block) ([]cid.Cid, error)) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		var leaves []cid.Cid
		isLeaf := func(c cid.Cid) bool {
			if block.CheckCID(c) != nil {
				return true // it can name no block here
			}
			leaf := dag.Leaf(c.Prefix().Codec) && !block.IsIdentity(c)
			if leaf {
				leaves = append(leaves, c)
			}
			return leaf
		}
		flush := func() bool {
			for _, c := range leaves {
				here, err := n.store.Has(ctx, c)
				if err != nil || here {
					if !yield(c, err) || err != nil {
						return false
					}
				}
			}
			leaves = leaves[:0]
			return true
		}
		o := dag.WalkOptions{Skip: isLeaf, Links: links, KeepGoing: true, MaxBlocks: maxListed}
		for step, err := range dag.Walk(ctx, n.store, roots, o) {
			if !flush() {
				return
			}
			// What isn't here, or is no block one can look into, is left out.
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
