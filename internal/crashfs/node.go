package crashfs

import (
	"os"
	"slices"
	"sort"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A node is a file or a directory, under all its names. Its fields are guarded by
// the mu of its FS.
type node struct {
	modTime time.Time
	links   int // names it has
	opens   int // open files of it

	// Of a file.
	data  []byte // as a reader sees it
	disk  []byte // as it is on the medium for certain
	dirty []span // where data is newer than disk: sorted, disjoint, not touching
	floor int    // the least length of data since it was synced; ≤ len(disk)

	// Of a directory; children is nil in a file.
	children map[string]*node
	durable  map[string]entry // names on the medium for certain
}

// A span is the bytes from offset from up to offset to.
type span struct{ from, to int }

// An entry is a name on the medium: the node, nil if the name was removed, and the
// number of the change that set it.
type entry struct {
	node *node
	seq  uint64
}

// An edit sets the node of a name in a directory, or removes the name.
type edit struct {
	dir  *node
	name string
	node *node
}

// A change is edits that are made together or not at all.
type change struct {
	seq   uint64
	edits []edit
}

func newDir() *node {
	return &node{
		modTime:  time.Now(),
		children: make(map[string]*node),
		durable:  make(map[string]entry),
	}
}

func (n *node) isDir() bool { return n.children != nil }

// change makes the edits, and logs them as not yet durable. Callers hold mu.
func (fs *FS) change(edits ...edit) {
	fs.seq++
	fs.log = append(fs.log, change{fs.seq, edits})
	for _, e := range edits {
		old := e.dir.children[e.name]
		if e.node != nil {
			e.node.links++
			e.dir.children[e.name] = e.node
		} else {
			delete(e.dir.children, e.name)
		}
		if old != nil {
			old.links--
			fs.release(old)
		}
		e.dir.modTime = time.Now()
	}
}

// release frees the space of a file that has no name and is not open.
func (fs *FS) release(n *node) {
	if n.links == 0 && n.opens == 0 {
		fs.used -= int64(len(n.data))
		// The medium keeps disk: the removal itself may be lost.
		n.data, n.dirty, n.floor = nil, nil, len(n.disk)
	}
}

// settle makes a change durable, also if later ones are already.
func (c change) settle() {
	for _, e := range c.edits {
		if e.dir.durable[e.name].seq < c.seq {
			e.dir.durable[e.name] = entry{e.node, c.seq}
		}
	}
}

// syncDir makes all changes durable that touch the directory n.
func (fs *FS) syncDir(n *node) {
	fs.log = slices.DeleteFunc(fs.log, func(c change) bool {
		touches := slices.ContainsFunc(c.edits, func(e edit) bool { return e.dir == n })
		if touches {
			c.settle()
		}
		return touches
	})
}

// write puts p at off, with zeros before it if the file is shorter.
func (n *node) write(p []byte, off int) {
	end := off + len(p)
	if end > len(n.data) {
		n.data = resize(n.data, end)
	}
	copy(n.data[off:], p)
	n.markDirty(span{off, end})
	n.modTime = time.Now()
}

// markDirty marks a span dirty.
func (n *node) markDirty(s span) {
	if s.from == s.to {
		return
	}
	// The spans from i up to j touch s.
	i := sort.Search(len(n.dirty), func(k int) bool { return n.dirty[k].to >= s.from })
	j := i
	for j < len(n.dirty) && n.dirty[j].from <= s.to {
		s.from = min(s.from, n.dirty[j].from)
		s.to = max(s.to, n.dirty[j].to)
		j++
	}
	n.dirty = slices.Replace(n.dirty, i, j, s)
}

// truncate sets the size.
func (n *node) truncate(size int) {
	n.data = resize(n.data, size)
	n.floor = min(n.floor, size)
	n.dirty = clip(n.dirty, size)
	n.modTime = time.Now()
}

// clip drops the parts of the spans at or beyond size.
func clip(spans []span, size int) []span {
	for i, s := range spans {
		if s.to > size {
			if s.from < size {
				spans[i].to = size
				i++
			}
			return spans[:i]
		}
	}
	return spans
}

// sync makes the bytes durable.
func (n *node) sync() {
	n.disk = resize(n.disk, n.floor)
	n.disk = resize(n.disk, len(n.data))
	for _, s := range n.dirty {
		copy(n.disk[s.from:s.to], n.data[s.from:s.to])
	}
	n.dirty, n.floor = n.dirty[:0], len(n.data)
}

// loseDirty drops dirty bytes, as a failed sync does.
func (n *node) loseDirty() { n.dirty = nil }

// resize truncates p to size, or extends it with zeros.
func resize(p []byte, size int) []byte {
	if size <= len(p) {
		return p[:size]
	}
	was := len(p)
	p = slices.Grow(p, size-was)[:size]
	clear(p[was:])
	return p
}

// info describes the node under a name.
func (n *node) info(name string) vfs.FileInfo {
	return &fileInfo{name: name, size: int64(len(n.data)), modTime: n.modTime, dir: n.isDir()}
}

type fileInfo struct {
	name    string
	size    int64
	modTime time.Time
	dir     bool
}

func (i *fileInfo) Name() string           { return i.name }
func (i *fileInfo) Size() int64            { return i.size }
func (i *fileInfo) ModTime() time.Time     { return i.modTime }
func (i *fileInfo) IsDir() bool            { return i.dir }
func (i *fileInfo) Sys() any               { return nil }
func (i *fileInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }

func (i *fileInfo) Mode() os.FileMode {
	if i.dir {
		return os.ModeDir | 0o755
	}
	return 0o644
}
