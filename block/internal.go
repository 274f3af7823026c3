package block

import (
	"context"
	"fmt"
	"hash/crc32"

	"github.com/ipfs/go-cid"

	"github.com/cairn-ipfs/cairn/internal/access"
)

// Internal returns what only packages of this module use: see package
// internal/access.
func Internal(access.Key) internal { return internal{} }

type internal struct{}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Reopen makes a block from bytes that were verified before and have been kept
// with their [Block.Checksum]. It checks the bytes against the checksum, not
// against the hash: that is ten times as fast and as good against a disk that
// rots, but no defence against malice. Bytes from outside never go through here.
// It fails with ErrDamaged.
func (internal) Reopen(c cid.Cid, data []byte, checksum uint32) (Block, error) {
	if crc32.Checksum(data, castagnoli) != checksum {
		return Block{}, fmt.Errorf("reopen %s: %w", c, ErrDamaged)
	}
	return Block{cid: c, data: data}, nil
}

// A finder finds a block with one lookup.
type finder interface {
	Find(ctx context.Context, c cid.Cid) (size int, read func(context.Context) (Block, error), err error)
}

// Find returns a block's size, and a function that reads the block. It takes one
// lookup if s has a method Find, and otherwise Size and then Get. Errors are those
// of Size, and then those of Get.
func (internal) Find(ctx context.Context, s interface {
	Getter
	Sizer
}, c cid.Cid) (size int, read func(context.Context) (Block, error), err error) {
	if f, ok := s.(finder); ok {
		return f.Find(ctx, c)
	}
	size, err = s.Size(ctx, c)
	return size, func(ctx context.Context) (Block, error) { return s.Get(ctx, c) }, err
}

const (
	// maxUnwanted and maxUnwantedShare: a source may send this many bytes of
	// blocks that it wasn't asked for, or this part of those that it was.
	maxUnwanted      = 4 << 20
	maxUnwantedShare = 100
	// unwantedOverhead is added to the size of such a block: empty ones cost
	// work, too.
	unwantedOverhead = 100
)

// UnwantedBytes returns what a block of size bytes counts for TooMuchUnwanted.
func (internal) UnwantedBytes(size int) int64 { return int64(size) + unwantedOverhead }

// TooMuchUnwanted reports whether a source that sent so many bytes of blocks that
// were asked for has sent too many of others: more than 4 MiB, and more than 1 %.
func (internal) TooMuchUnwanted(unwanted, wanted int64) bool {
	return unwanted > max(maxUnwanted, wanted/maxUnwantedShare)
}
