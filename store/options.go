package store

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/ipfs/go-cid"
)

// The errors that callers test for, besides those of package block.
var (
	// ErrClosed: the store was closed, or is closing.
	ErrClosed = errors.New("store is closed")
	// ErrFailed: the index met an error that it can't continue after. What was
	// acknowledged is safe; open the store again.
	ErrFailed = errors.New("store has failed")
	// ErrLocked: another process has the repository open.
	ErrLocked = errors.New("repository is in use")
	// ErrFormat: the repository was written in a format that this version
	// doesn't read.
	ErrFormat = errors.New("unknown repository format")
	// ErrDiskFull: too little free disk space is left to change anything.
	ErrDiskFull = errors.New("disk is full")
	// ErrLive: the block can't be deleted, because something keeps it alive.
	ErrLive = errors.New("block is live")
	// ErrNoAlias: there is no alias of that name.
	ErrNoAlias = errors.New("no such alias")
	// ErrEvictionHeld: after a rebuild that found no alias table, nothing is
	// evicted until the user has confirmed that no alias is missing.
	ErrEvictionHeld = errors.New("eviction is held")
	// ErrIndexLost: the index is missing or older than the packs. Rebuild
	// makes a new one from them.
	ErrIndexLost = errors.New("index does not match the packs")
	// ErrBatchLost: the disk failed before all blocks of the batch were
	// durable, and some are lost. Start the batch again.
	ErrBatchLost = errors.New("blocks of the batch were lost")
)

// Options configure a store. The zero value is fine.
type Options struct {
	// fs is set by internal.OnFS.
	fs vfs.FS

	// Logger gets warnings and errors. Nil: silence.
	Logger *slog.Logger

	// Program is this program's name in the owner file, which ErrLocked shows to
	// other processes. Empty: the executable's name.
	Program string

	// PackSize is the size in bytes at which a pack is sealed. Zero: 64 MiB.
	PackSize int64

	// Target is the size in bytes that packs may take on disk. When they take
	// more, garbage is evicted, the coldest first. Live blocks are never
	// evicted, so packs may exceed it. Zero: no limit.
	Target int64

	// MaxCached is the most cached blocks (those that nothing keeps alive) to
	// keep. Zero: no limit.
	MaxCached int64

	// Reserve is the free disk space in bytes below which the store accepts
	// removals only, so that the index can always be written. Zero: 64 MiB.
	// Negative: none.
	Reserve int64

	// CacheSize is the memory in bytes for the index's cache. Zero: 32 MiB.
	CacheSize int64

	// ScrubRate is the rate in bytes a second at which blocks are read and
	// hashed again in the background. Zero: no scrubbing.
	ScrubRate int64

	// Links has, by codec, functions that find links of codecs that package
	// internal/dag doesn't know. For the same bytes a function must always
	// return the same links.
	Links map[uint64]func(block.Block) ([]cid.Cid, error)

	// Backings hold blocks that lie in no pack, by the names given to
	// Batch.Refer. A backing that holds blocks must be registered under the same
	// name whenever the store is opened; otherwise reading those blocks fails.
	Backings map[string]Backing

	// RecordedSpaces names the spaces that a rebuild restores: what is set in
	// them is also recorded in the packs. They should stay small.
	RecordedSpaces []string
}

// A Backing reads blocks that lie outside of the packs. What it returns is hashed
// on each read: changed bytes mean a lost block. An error means that the backing
// can't read just now, and loses nothing.
type Backing interface {
	// ReadBlock returns the bytes that locator names, size of them.
	ReadBlock(ctx context.Context, locator []byte, size int) ([]byte, error)
}

// An Alias is a name for a root.
type Alias struct {
	Name string  `json:"name"`
	Root cid.Cid `json:"cid"`
	// Held is the former root, kept alive until Root's DAG is whole
	// (AliasOptions.Hold); else it's undefined.
	Held      cid.Cid   `json:"held,omitzero"`
	Selection Selection `json:"selection,omitzero"`
}

// wantsSame reports whether two aliases want the same blocks of the same DAG.
func (a Alias) wantsSame(b Alias) bool {
	x, y := a.Selection, b.Selection
	return a.Root == b.Root && x.Share == y.Share && x.Of == y.Of && slices.Equal(x.Skip, y.Skip)
}

// AliasOptions configure how an alias keeps its DAG.
type AliasOptions struct {
	// Selection says what of the DAG is wanted. Zero: all.
	Selection Selection `json:"selection,omitzero"`
	// Hold keeps the former root's DAG alive, too, until the new one is whole.
	Hold bool `json:"hold,omitempty"`
}

// Defaults and bounds.
const (
	defaultPackSize  = 64 << 20
	minPackSize      = 64 << 10
	defaultReserve   = 64 << 20
	defaultCacheSize = 32 << 20

	// maxName bounds the name of an alias or a space, in bytes.
	maxName = 1 << 10
	// maxSkip bounds what a selection may list.
	maxSkip = 1 << 16
	// maxValue bounds what a space holds under one key, in bytes.
	maxValue = 1 << 20
	// maxKey bounds a key of a space, in bytes.
	maxKey = 4 << 10

	// maxIncoming bounds the bytes that wait to be appended. A Put of more
	// waits.
	maxIncoming = 32 << 20
	// maxDirty bounds the rows that are changed in memory and not yet in the
	// index, and with them what a crash makes a cache forget.
	maxDirty = 32 << 10
	// idleFlush is how long changes that need no acknowledgement wait for
	// others, to be flushed with them.
	idleFlush = time.Second
	// stepBudget bounds the links that one step of background work changes, so
	// that a concurrent Put waits a few milliseconds at most.
	stepBudget = 2000
	// maxSections is the number of sections at which a pack is sealed, so that
	// the list of a pack of tiny blocks takes a few megabytes of memory at most.
	maxSections = 128 << 10
)

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.PackSize == 0 {
		o.PackSize = defaultPackSize
	}
	o.PackSize = max(o.PackSize, minPackSize)
	if o.Reserve == 0 {
		o.Reserve = defaultReserve
	}
	if o.CacheSize == 0 {
		o.CacheSize = defaultCacheSize
	}
	return o
}
