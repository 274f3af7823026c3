package statcache

import (
	"encoding/binary"
	"io/fs"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/ipfs/go-cid"
)

// version begins each value. A value of another version counts as absent.
const version = 1

// A head is the row of a tree. The zero value is that of a tree never added.
type head struct {
	generation uint64
	used       time.Time // to the second
	rows       int
	root       cid.Cid
}

// A row is that of a file or directory.
type row struct {
	generation uint64
	stat       unixfs.FileStat
	known      unixfs.CachedResult
}

func (h head) append(dst []byte) []byte {
	dst = append(dst, version)
	dst = binary.AppendUvarint(dst, h.generation)
	dst = binary.AppendVarint(dst, h.used.Unix())
	dst = binary.AppendUvarint(dst, uint64(h.rows))
	return append(dst, h.root.Bytes()...)
}

func parseHead(p []byte) head {
	r := newReader(p)
	h := head{generation: r.uvarint(), used: time.Unix(r.varint(), 0), rows: int(r.uvarint())}
	h.root = r.cid()
	if r.bad {
		return head{}
	}
	return h
}

func (w row) append(dst []byte) []byte {
	dst = append(dst, version)
	dst = binary.AppendUvarint(dst, w.generation)
	dst = binary.AppendVarint(dst, w.stat.Size)
	dst = binary.AppendUvarint(dst, uint64(w.stat.Mode))
	dst = appendTime(dst, w.stat.Modified)
	dst = appendTime(dst, w.stat.Changed)
	dst = binary.AppendUvarint(dst, w.stat.Inode)
	dst = binary.AppendUvarint(dst, w.known.Size)
	dst = binary.AppendUvarint(dst, w.known.DAGSize)
	return append(dst, w.known.CID.Bytes()...)
}

func parseRow(p []byte) (w row, ok bool) {
	r := newReader(p)
	w.generation = r.uvarint()
	w.stat = unixfs.FileStat{Size: r.varint(), Mode: fs.FileMode(r.uvarint()), Modified: r.time(), Changed: r.time(), Inode: r.uvarint()}
	w.known = unixfs.CachedResult{Size: r.uvarint(), DAGSize: r.uvarint()}
	w.known.CID = r.cid()
	return w, !r.bad
}

// appendTime writes seconds and nanoseconds, which the zero time has, too.
func appendTime(dst []byte, t time.Time) []byte {
	return binary.AppendUvarint(binary.AppendVarint(dst, t.Unix()), uint64(t.Nanosecond()))
}

// A reader reads the fields of a value. After a failure all further fields are
// zero.
type reader struct {
	p   []byte
	bad bool
}

// newReader reads the version, and fails if it is another.
func newReader(p []byte) *reader {
	if len(p) == 0 || p[0] != version {
		return &reader{bad: true}
	}
	return &reader{p: p[1:]}
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.p)
	r.skip(n)
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.p)
	r.skip(n)
	return v
}

func (r *reader) skip(n int) {
	if n <= 0 {
		r.p, r.bad = nil, true
		return
	}
	r.p = r.p[n:]
}

func (r *reader) time() time.Time {
	seconds := r.varint()
	return time.Unix(seconds, int64(r.uvarint()))
}

// cid reads a CID, which takes up the rest.
func (r *reader) cid() cid.Cid {
	c, n, err := block.ReadCID(r.p)
	if err != nil || n != len(r.p) {
		r.bad = true
		return cid.Undef
	}
	return c
}
