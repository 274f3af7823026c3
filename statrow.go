package cairn

import (
	"encoding/binary"
	"io/fs"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/ipfs/go-cid"
)

// statVersion begins each value of the stat cache. What another version wrote
// counts as not there.
const statVersion = 1

// A statHead is what the stat cache knows of a tree. The zero value is that of
// a tree that was never added.
type statHead struct {
	generation uint64
	used       time.Time // to the second
	rows       int
	root       cid.Cid
}

// A statRow is what it knows of a file.
type statRow struct {
	generation uint64
	stat       unixfs.FileStat
	known      unixfs.Known
}

func (h statHead) append(dst []byte) []byte {
	dst = append(dst, statVersion)
	dst = binary.AppendUvarint(dst, h.generation)
	dst = binary.AppendVarint(dst, h.used.Unix())
	dst = binary.AppendUvarint(dst, uint64(h.rows))
	return append(dst, h.root.Bytes()...)
}

func parseStatHead(p []byte) statHead {
	r := statReader{p: p}
	r.version()
	h := statHead{generation: r.uvarint(), used: time.Unix(r.varint(), 0), rows: int(r.uvarint())}
	h.root = r.cid()
	if r.bad {
		return statHead{}
	}
	return h
}

func (w statRow) append(dst []byte) []byte {
	dst = append(dst, statVersion)
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

func parseStatRow(p []byte) (w statRow, ok bool) {
	r := statReader{p: p}
	r.version()
	w.generation = r.uvarint()
	w.stat = unixfs.FileStat{Size: r.varint(), Mode: fs.FileMode(r.uvarint()), Modified: r.time(), Changed: r.time(), Inode: r.uvarint()}
	w.known = unixfs.Known{Size: r.uvarint(), DAGSize: r.uvarint()}
	w.known.CID = r.cid()
	return w, !r.bad
}

// appendTime writes seconds and nanoseconds; the zero time has its own.
func appendTime(dst []byte, t time.Time) []byte {
	return binary.AppendUvarint(binary.AppendVarint(dst, t.Unix()), uint64(t.Nanosecond()))
}

// A statReader takes a value of the stat cache apart. After a failure it stays
// failed.
type statReader struct {
	p   []byte
	bad bool
}

func (r *statReader) version() {
	if len(r.p) == 0 || r.p[0] != statVersion {
		r.p, r.bad = nil, true
		return
	}
	r.p = r.p[1:]
}

func (r *statReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.p)
	r.skip(n)
	return v
}

func (r *statReader) varint() int64 {
	v, n := binary.Varint(r.p)
	r.skip(n)
	return v
}

func (r *statReader) skip(n int) {
	if n <= 0 {
		r.p, r.bad = nil, true
		return
	}
	r.p = r.p[n:]
}

func (r *statReader) time() time.Time {
	seconds := r.varint()
	return time.Unix(seconds, int64(r.uvarint()))
}

// cid reads what is left.
func (r *statReader) cid() cid.Cid {
	c, n, err := block.ReadCID(r.p)
	if err != nil || n != len(r.p) {
		r.bad = true
		return cid.Undef
	}
	return c
}
