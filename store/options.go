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
	// ErrFailed: the index met an error that it can't go on after. What was
	// acknowledged is safe; open the store again.
	ErrFailed = errors.New("store has failed")
	// ErrLocked: another process has the repository open.
	ErrLocked = errors.New("repository is in use")
	// ErrFormat: the repository was written in a format that this version
	// doesn't read.
	ErrFormat = errors.New("unknown repository format")
	// ErrDiskFull: too little free disk space is left to change anything.
	ErrDiskFull = errors.New("disk is full")
	// ErrLive: the block can't be deleted, something keeps it alive.
	ErrLive = errors.New("block is live")
	// ErrNoAlias: there is no alias of that name.
	ErrNoAlias = errors.New("no such alias")
	// ErrEvictionHeld: after a rebuild that found no alias table, nothing is
	// evicted until the user has confirmed that no alias is missing.
	ErrEvictionHeld = errors.New("eviction is held")
	// ErrIndexLost: the index is missing or older than the packs. Rebuild
	// makes a new one from them.
	ErrIndexLost = errors.New("index does not match the packs")
	// ErrBatchLost: the disk failed while the batch was being written, and
	// blocks put into it are gone. Start it again.
	ErrBatchLost = errors.New("blocks of the batch were lost")
)

// Options say how to open a store. The zero value is fine.
type Options struct {
	// fs is set by internal.OnFS.
	fs vfs.FS

	// Logger is told what is worth knowing. Nil: silence.
	Logger *slog.Logger

	// Program names the opener in the owner file, which others are shown who
	// find the repository in use. Empty: the executable's name.
	Program string

	// PackSize is where a pack is sealed, in bytes. Zero: 64 MiB.
	PackSize int64

	// Target is the size in bytes that packs may take on disk; garbage is
	// evicted, the coldest first, when they take more. Live blocks are never
	// evicted, so they may exceed it. Zero: no limit.
	Target int64

	// MaxCached is the number of cached blocks (those that nothing keeps
	// alive) to keep at most. Zero: no limit.
	MaxCached int64

	// Reserve is the free disk space in bytes below which nothing but the
	// removal of things is accepted, so that the index can always be written.
	// Zero: 64 MiB. Negative: none.
	Reserve int64

	// CacheSize is the memory in bytes for the index's cache. Zero: 32 MiB.
	CacheSize int64

	// ScrubRate is the pace in bytes a second at which blocks are read again
	// and checked in the background. Zero: no scrubbing.
	ScrubRate int64

	// Links finds the links of codecs that package internal/dag does not know,
	// by codec. What such a function returns for the same bytes must stay the
	// same.
	Links map[uint64]func(block.Block) ([]cid.Cid, error)

	// Backings hold blocks that lie in no pack, by the names that Batch.Refer
	// is given. A backing that blocks refer to must be registered under the
	// same name whenever the store is opened; where it isn't, reading those
	// blocks fails.
	Backings map[string]Backing

	// RecordedSpaces names the spaces that a rebuild must restore: what is set
	// in them is also recorded in the packs. They should stay small.
	RecordedSpaces []string
}

// A Backing reads blocks from where they lie outside of the packs. What it
// returns is hashed on each read: bytes that have changed are a lost block,
// not a lie. An error means that the backing can't tell just now, and loses
// nothing.
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

// wantsSame tells whether two aliases want the same of the same DAG.
func (a Alias) wantsSame(b Alias) bool {
	x, y := a.Selection, b.Selection
	return a.Root == b.Root && x.Share == y.Share && x.Of == y.Of && slices.Equal(x.Skip, y.Skip)
}

// AliasOptions say how an alias keeps its DAG.
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

	// maxIncoming bounds the bytes that wait to be appended. Who puts more
	// waits.
	maxIncoming = 32 << 20
	// maxDirty bounds the rows that are changed in memory and not yet in the
	// index, and with them what a crash makes a cache forget.
	maxDirty = 32 << 10
	// idleFlush is how long changes that nobody asked to acknowledge wait for
	// company.
	idleFlush = time.Second
	// stepBudget bounds the links that one step of background work changes, so
	// that whoever puts meanwhile waits for a few milliseconds at most.
	stepBudget = 2000
	// maxSections seals a pack of tiny blocks, so that its list of sections
	// takes no more than some megabytes of memory.
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
