package store

import (
	"context"
	"fmt"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/access"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/ipfs/go-cid"
)

// Internal returns what only packages of this module use: see package
// internal/access.
func Internal(access.Key) internal { return internal{} }

type internal struct{}

// OnFS returns the options with fs as the file system below packs and index. The
// default is that of the operating system, or one in memory if Open is called
// without a directory.
func (internal) OnFS(fs vfs.FS, o Options) Options {
	o.fs = fs
	return o
}

// Reader returns s with cheaper ways to read many blocks.
func (internal) Reader(s *Store) reader { return reader{s} }

// Extract extracts a block's links. With PutExtracted that is done once, for the
// caller and the batch.
func (internal) Extract(s *Store, b block.Block) extraction {
	if b.CID().Prefix().Codec == block.Raw {
		return extraction{block: b}
	}
	cids, err := s.Links(b)
	return extraction{block: b, cids: cids, err: err}
}

// PutExtracted is Batch.Put for a block with its links, which Extract extracted
// for the same store.
func (internal) PutExtracted(ctx context.Context, b *Batch, x extraction) error {
	var e entry
	if x.block.CID().Prefix().Codec != block.Raw {
		e.links = newLinks(x.cids, x.err)
	}
	return b.put(ctx, e, []block.Block{x.block})
}

// Borrow returns a Putter that puts into the batch and is done with the blocks'
// bytes when its Put returns: the caller may use that memory again. Put waits
// until they are written, and returns the error of the write.
func (internal) Borrow(b *Batch) borrower { return borrower{b} }

// Selects returns a function that reports whether a link is selected, apart
// from what lies above it.
func (internal) Selects(s Selection) func(cid.Cid) bool {
	x := newSelector(s)
	return func(c cid.Cid) bool { return x.selects(nodeOf(c)) }
}

// An extraction is a block with its links.
type extraction struct {
	block block.Block
	cids  []cid.Cid
	err   error
}

// Links returns the result of Store.Links.
func (x extraction) Links() ([]cid.Cid, error) { return x.cids, x.err }

// A reader has cheaper ways to read from a store.
type reader struct{ *Store }

// GetInto is Get with memory of the caller's: the bytes may lie there, if they
// fit, and then the block is valid until the memory is used again.
func (r reader) GetInto(ctx context.Context, c cid.Cid, memory []byte) (block.Block, error) {
	return r.getInto(ctx, c, memory)
}

// Find is Size and Get with one lookup: it returns the block's size, and a
// function that reads the block. Errors are those of Size, and then those of Get.
func (r reader) Find(ctx context.Context, c cid.Cid) (size int, read func(context.Context) (block.Block, error), err error) {
	if err = r.begin(ctx); err != nil {
		return 0, nil, fmt.Errorf("store: find %s: %w", c, err)
	}
	defer r.end()
	f, err := r.find(c)
	if err != nil {
		return 0, nil, fmt.Errorf("store: find %s: %w", c, err)
	}
	return f.size(), func(ctx context.Context) (b block.Block, err error) {
		if err = r.begin(ctx); err == nil {
			defer r.end()
			b, err = r.readFound(ctx, c, f, nil)
		}
		if err != nil {
			return block.Block{}, fmt.Errorf("store: get %s: %w", c, err)
		}
		return b, nil
	}, nil
}

// A borrower puts blocks into a batch without keeping their bytes.
type borrower struct{ b *Batch }

var _ block.Putter = borrower{}

// Put puts blocks into the batch. Their bytes are the caller's again when it
// returns.
func (w borrower) Put(ctx context.Context, blocks ...block.Block) error {
	done := make(chan error, len(blocks))
	put := 0
	var err error
	for _, k := range blocks {
		if block.IsIdentity(k.CID()) {
			continue
		}
		if err = w.b.put(ctx, entry{borrowed: true, done: done}, []block.Block{k}); err != nil {
			break
		}
		put++
	}
	// Also after an error, and in spite of the context: until the committer
	// has answered it may look at the bytes.
	for range put {
		if werr := <-done; werr != nil && err == nil {
			err = fmt.Errorf("store: batch put: %w", werr)
		}
	}
	return err
}

// ReleasesBlocks reports that the memory of blocks may be used again after Put.
func (borrower) ReleasesBlocks() bool { return true }
