//go:build darwin || freebsd || netbsd

package unixfs

import (
	"io/fs"
	"syscall"
	"time"
)

// inodeOf returns when a file's inode changed, and its number.
func inodeOf(info fs.FileInfo) (changed time.Time, inode uint64) {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(int64(s.Ctimespec.Sec), int64(s.Ctimespec.Nsec)), uint64(s.Ino)
	}
	return time.Time{}, 0
}
