package block

import (
	"context"
	"iter"

	"github.com/ipfs/go-cid"
)

// A Getter returns blocks by their CID, whole and verified, or an error that
// wraps ErrNotFound. The block's CID is the one asked for.
type Getter interface {
	Get(ctx context.Context, c cid.Cid) (Block, error)
}

// A Putter stores blocks. When Put returns, a Getter of the same store finds
// them. Whether they survive a crash depends on the store.
type Putter interface {
	Put(ctx context.Context, blocks ...Block) error
}

// A Haver reports whether a block is here, without reading it.
type Haver interface {
	Has(ctx context.Context, c cid.Cid) (bool, error)
}

// A Sizer returns a block's size in bytes without reading it, or an error that
// wraps ErrNotFound.
type Sizer interface {
	Size(ctx context.Context, c cid.Cid) (int, error)
}

// A Deleter removes blocks. Removing one that isn't here is no error.
type Deleter interface {
	Delete(ctx context.Context, cids ...cid.Cid) error
}

// A Lister lists the blocks that are here, each once, in no set order.
type Lister interface {
	Blocks(ctx context.Context) iter.Seq2[cid.Cid, error]
}
