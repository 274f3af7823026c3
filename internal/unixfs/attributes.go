package unixfs

import "io/fs"

// unixMode converts a mode to UnixFS: permissions, setuid, setgid, sticky
// (UnixFS: mode).
func unixMode(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	for _, b := range specialBits {
		if m&b.mode != 0 {
			bits |= b.unix
		}
	}
	return bits
}

// fileMode is the inverse of unixMode.
func fileMode(bits uint32) fs.FileMode {
	m := fs.FileMode(bits & 0o777)
	for _, b := range specialBits {
		if bits&b.unix != 0 {
			m |= b.mode
		}
	}
	return m
}

var specialBits = [...]struct {
	unix uint32
	mode fs.FileMode
}{{0o4000, fs.ModeSetuid}, {0o2000, fs.ModeSetgid}, {0o1000, fs.ModeSticky}}

// keepsAttributes reports whether the import keeps modes or times.
func (o Options) keepsAttributes() bool { return o.KeepMode || o.KeepTimes }
