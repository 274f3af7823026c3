//go:build !(linux || openbsd || dragonfly || solaris || aix || darwin || freebsd || netbsd)

package unixfs

import (
	"io/fs"
	"time"
)

// inodeOf returns zero values: this system has neither.
func inodeOf(fs.FileInfo) (changed time.Time, inode uint64) { return time.Time{}, 0 }
