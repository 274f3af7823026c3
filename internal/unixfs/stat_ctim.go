//go:build linux || openbsd || dragonfly || solaris || aix

package unixfs

import (
	"io/fs"
	"syscall"
	"time"
)

// inodeOf returns when a file's inode changed, and its number.
func inodeOf(info fs.FileInfo) (changed time.Time, inode uint64) {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(int64(s.Ctim.Sec), int64(s.Ctim.Nsec)), uint64(s.Ino)
	}
	return time.Time{}, 0
}
