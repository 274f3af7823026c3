package unixfs

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	"github.com/ipfs/go-cid"
)

// Remembers tells an import which files are as they were when they were last
// imported, so that they need not be read. One is for one tree imported in one
// manner ([Options.Manner]); paths are relative to the imported root, with
// slashes.
//
// Directories are asked for, too, so that those that are made again as they
// were need not be put: their paths end in a slash ("/" is the root), and their
// FileStat is empty, as what is in them tells whether they have changed.
//
// Lookup is called in the order of the tree (names in byte order, a directory
// before what is in it, and that where its name stands), from one goroutine;
// Remember from another, somewhat later. What was looked up is in the tree, if
// the import ends well. An error of either ends the import.
type StatCache interface {
	// Lookup returns what the file at path was made into when all that stat
	// said was the same. It answers for that all its blocks are where the
	// import's Putter puts blocks, and stay there.
	Lookup(ctx context.Context, path string, stat FileStat) (k CachedResult, ok bool, err error)
	// Remember is told of a file that was read: its blocks are being put.
	// Files too fresh to be trusted are not mentioned.
	Store(ctx context.Context, path string, stat FileStat, k CachedResult) error
}

// A FileStat is by what a changed file is told from an unchanged one.
type FileStat struct {
	Size int64
	Mode fs.FileMode
	// Modified is when the content changed. Changed is when the file's entry
	// did, whatever programs set Modified to; the zero time where the system
	// has no such thing.
	Modified, Changed time.Time
	// Inode is the file's number in its file system, 0 where there is none.
	Inode uint64
}

// Same tells whether a file is as it was.
func (s FileStat) Equal(was FileStat) bool {
	return s.Size == was.Size && s.Mode == was.Mode && s.Inode == was.Inode &&
		s.Modified.Equal(was.Modified) && s.Changed.Equal(was.Changed)
}

// A Known is what a file was made into.
type CachedResult struct {
	// CID names it; Size is the bytes of its content, DAGSize those of its
	// blocks.
	CID           cid.Cid
	Size, DAGSize uint64
}

// dirPath is how a Remembers knows a directory.
func dirPath(path string) string {
	if path == "." {
		return "/"
	}
	return path + "/"
}

// racySlack is by how much a file's times must lie before the moment at which
// it was looked at: else it may have changed after that without a trace, its
// times being the same. It is the coarsest step of times in use (FAT: 2 s).
const racySlack = 2 * time.Second

// settled tells whether a later change must show in the times of a file that
// was looked at not before now. It is the rule that git has for racy entries.
func (s FileStat) settled(now time.Time) bool {
	before := now.Add(-racySlack)
	return s.Modified.Before(before) && s.Changed.Before(before)
}

func newFileStat(info fs.FileInfo) FileStat {
	s := FileStat{Size: info.Size(), Mode: info.Mode(), Modified: info.ModTime()}
	s.Changed, s.Inode = inodeOf(info)
	return s
}

// Manner returns a string that is the same for options under which equal files
// get equal CIDs: a part of the key under which a Remembers keeps what it
// knows.
func (o Options) CacheKey() string {
	p := o.Profile
	if p == (Profile{}) {
		p = V1Profile()
	}
	// Neither a profile's name nor what it says of directories makes a
	// difference to files.
	return fmt.Sprintf("%d %x %t %d %d %d %d %d %d %d %t %t", p.CIDVersion, p.Hash, p.RawLeaves, p.ChunkSize,
		p.Chunker, p.MinChunk, p.AvgChunk, p.Layout, p.Width, p.Inline, o.KeepMode, o.KeepTimes)
}
