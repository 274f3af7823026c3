package unixfs

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	"github.com/ipfs/go-cid"
)

// A StatCache has the results of the last import of unchanged files, so that an
// import need not read them. A StatCache is for one tree and one cache key
// ([Options.CacheKey]). Paths are relative to the imported root, with slashes.
//
// It also has directories, so that an import need not put the blocks of
// unchanged ones. Their paths end in a slash ("/" is the root), and their
// FileStat is empty: their entries decide whether they have changed.
//
// One goroutine calls Lookup in the order of the tree: names in byte order, a
// directory before its entries. Another calls Store, somewhat later. If the
// import succeeds, all paths looked up are in the tree. An error of either ends
// the import.
type StatCache interface {
	// Lookup returns the result for the file at path if its FileStat was equal.
	// It guarantees that the import's Putter has all blocks of the result, and
	// keeps them.
	Lookup(ctx context.Context, path string, stat FileStat) (k CachedResult, ok bool, err error)
	// Store stores the result for a file that was read, whose blocks are being
	// put. It is not called for files too new to be trusted.
	Store(ctx context.Context, path string, stat FileStat, k CachedResult) error
}

// A FileStat is the file metadata that detects a change.
type FileStat struct {
	Size int64
	Mode fs.FileMode
	// Modified is when the content changed. Changed is when the inode changed,
	// which programs can't set; the zero time if the system has none.
	Modified, Changed time.Time
	// Inode is the file's number in its file system, 0 if there is none.
	Inode uint64
}

// Equal reports whether two stats are of an unchanged file.
func (s FileStat) Equal(t FileStat) bool {
	return s.Size == t.Size && s.Mode == t.Mode && s.Inode == t.Inode &&
		s.Modified.Equal(t.Modified) && s.Changed.Equal(t.Changed)
}

// A CachedResult is the result of an earlier import of a file or directory.
type CachedResult struct {
	// CID is the root's; Size is the bytes of its content, DAGSize those of its
	// blocks.
	CID           cid.Cid
	Size, DAGSize uint64
}

// dirPath returns a directory's path in a StatCache.
func dirPath(path string) string {
	if path == "." {
		return "/"
	}
	return path + "/"
}

// racySlack is the least age of a file's times at its stat: a newer file may
// change again with the same times. It is the coarsest resolution of file times
// in use (FAT: 2 s).
const racySlack = 2 * time.Second

// settled reports whether a change after now must change the file's times. It is
// git's rule for racy entries.
func (s FileStat) settled(now time.Time) bool {
	before := now.Add(-racySlack)
	return s.Modified.Before(before) && s.Changed.Before(before)
}

func newFileStat(info fs.FileInfo) FileStat {
	s := FileStat{Size: info.Size(), Mode: info.Mode(), Modified: info.ModTime()}
	s.Changed, s.Inode = inodeOf(info)
	return s
}

// CacheKey returns a string that is equal for options under which equal files get
// equal CIDs. It is a part of a StatCache's key.
func (o Options) CacheKey() string {
	p := o.Profile
	if p == (Profile{}) {
		p = V1Profile()
	}
	// A profile's name and its options for directories don't affect files.
	return fmt.Sprintf("%d %x %t %d %d %d %d %d %d %d %t %t", p.CIDVersion, p.Hash, p.RawLeaves, p.ChunkSize,
		p.Chunker, p.MinChunk, p.AvgChunk, p.Layout, p.Width, p.Inline, o.KeepMode, o.KeepTimes)
}
