// Package pack keeps many blocks in one file. A pack is a CARv2 file that any
// IPFS tool can read: append-only while open, immutable once sealed.
//
// The key types are [Dir], the folder of packs, which reads from them and
// removes them; and [Writer], which appends to one. A pack is named by an [ID]
// that is never used twice.
//
// While a pack is open, its CARv2 header already has the offset of the data (51)
// and declares more of them than there will ever be ([car.OpenDataSize]). Readers
// of CAR files accept that. Sealing writes the
// index (MultihashIndexSorted) behind the data, syncs, then writes the true
// header in place and syncs again; no file is ever renamed over another.
// Bytes between the end of the data and the index, which a crash may leave, are
// padding to a reader.
//
// A Dir may be used by any number of goroutines; a Writer by one at a time,
// except for Sync, which may run beside Append.
//
// The package does not know which blocks are live, nor where a block lies:
// package store does. It checks no hash, except in [Dir.Scan].
package pack

import (
	"container/list"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// An ID numbers a pack. IDs begin at 1 and are never used again.
type ID uint64

const suffix = ".car"

// Name is the pack's file name: sixteen hexadecimal digits and ".car".
func (id ID) Name() string { return fmt.Sprintf("%016x%s", uint64(id), suffix) }

// ParseName returns the ID of a pack by its file name.
func ParseName(name string) (ID, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 16, 64)
	if err != nil || n == 0 {
		return 0, false
	}
	return ID(n), true
}

// ErrGone is returned for a pack that has been removed. The caller should look the
// block up again: it lies elsewhere now.
var ErrGone = errors.New("pack is gone")

// maxIdle is the number of packs that stay open for reading without a reader.
// Descriptors are scarce (256 a process on macOS).
const maxIdle = 64

// Dir is a folder of packs.
type Dir struct {
	fs   vfs.FS
	path string

	mu     sync.Mutex // guards the following fields
	closed bool
	// handles are the packs open for reading. idle has those without a reader,
	// the longest unused first.
	handles map[ID]*handle
	idle    *list.List
	// holds counts the calls of Hold that are not released. doomed are removed
	// packs whose files wait for these, or for their last reader.
	holds  int
	doomed map[ID]bool
}

// handle is one pack open for reading.
type handle struct {
	id   ID
	file vfs.File
	refs int
	elem *list.Element // in Dir.idle while refs is 0
}

// OpenDir opens the folder path.
func OpenDir(fs vfs.FS, path string) (*Dir, error) {
	if _, err := fs.Stat(path); err != nil {
		return nil, fmt.Errorf("pack: open folder: %w", err)
	}
	return &Dir{fs: fs, path: path, handles: map[ID]*handle{}, idle: list.New(), doomed: map[ID]bool{}}, nil
}

// Path is the pack's file.
func (d *Dir) Path(id ID) string { return d.fs.PathJoin(d.path, id.Name()) }

// List returns the packs that are there, in order.
func (d *Dir) List() ([]ID, error) {
	names, err := d.fs.List(d.path)
	if err != nil {
		return nil, fmt.Errorf("pack: list: %w", err)
	}
	var ids []ID
	for _, name := range names {
		if id, ok := ParseName(name); ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// Size is the length of the pack's file in bytes.
func (d *Dir) Size(id ID) (int64, error) {
	info, err := d.fs.Stat(d.Path(id))
	if err != nil {
		return 0, fmt.Errorf("pack: size of %s: %w", id.Name(), err)
	}
	return info.Size(), nil
}

// ReadAt fills p with the bytes of the pack from offset on. It fails with
// ErrGone if the pack was removed, with io.ErrUnexpectedEOF if it is shorter.
func (d *Dir) ReadAt(id ID, p []byte, offset int64) error {
	h, err := d.acquire(id)
	if err != nil {
		return err
	}
	defer d.release(h)
	n, err := h.file.ReadAt(p, offset)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("pack: read %s: %w", id.Name(), err)
}

func (d *Dir) acquire(id ID) (*handle, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, fmt.Errorf("pack: open %s: %w", id.Name(), os.ErrClosed)
	}
	if d.doomed[id] {
		return nil, ErrGone
	}
	h := d.handles[id]
	if h == nil {
		f, err := d.fs.Open(d.Path(id))
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("pack: open %s: %w", id.Name(), ErrGone)
		}
		if err != nil {
			return nil, fmt.Errorf("pack: open: %w", err)
		}
		h = &handle{id: id, file: f}
		d.handles[id] = h
	}
	if h.elem != nil {
		d.idle.Remove(h.elem)
		h.elem = nil
	}
	h.refs++
	return h, nil
}

func (d *Dir) release(h *handle) {
	d.mu.Lock()
	unlink := false
	h.refs--
	switch {
	case h.refs > 0:
	case d.doomed[h.id]:
		d.closeLocked(h)
		unlink = d.holds == 0
	case d.closed:
		d.closeLocked(h)
	default:
		h.elem = d.idle.PushBack(h)
		if d.idle.Len() > maxIdle {
			d.closeLocked(d.idle.Front().Value.(*handle))
		}
	}
	d.mu.Unlock()
	if unlink {
		d.unlink(h.id)
	}
}

// closeLocked closes a handle without readers. Errors of closing a file that was
// only read don't matter.
func (d *Dir) closeLocked(h *handle) {
	if h.elem != nil {
		d.idle.Remove(h.elem)
		h.elem = nil
	}
	delete(d.handles, h.id)
	h.file.Close()
}

// Remove removes the pack. Current reads may finish; new ones fail with ErrGone.
// The file is unlinked when its last reader is done and no Hold is left. A file
// that could not be unlinked is removed when the store is next opened.
func (d *Dir) Remove(id ID) {
	d.mu.Lock()
	d.doomed[id] = true
	h := d.handles[id]
	read := h != nil && h.refs > 0
	if h != nil && !read {
		d.closeLocked(h)
	}
	unlink := !read && d.holds == 0
	d.mu.Unlock()
	if unlink {
		d.unlink(id)
	}
}

// unlink removes the file of a doomed pack without readers. It doesn't hold the
// lock, for unlinking a large file takes long.
func (d *Dir) unlink(id ID) {
	d.fs.Remove(d.Path(id))
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.doomed, id)
}

// Hold suspends the unlinking of removed packs until the returned function is
// called, as a backup needs.
func (d *Dir) Hold() (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.holds++
	return sync.OnceFunc(func() {
		d.mu.Lock()
		d.holds--
		var unlink []ID
		for id := range d.doomed {
			if d.holds == 0 && d.handles[id] == nil {
				unlink = append(unlink, id)
			}
		}
		d.mu.Unlock()
		for _, id := range unlink {
			d.unlink(id)
		}
	})
}

// Sync makes the folder's entries durable.
func (d *Dir) Sync() error { return syncDir(d.fs, d.path) }

func syncDir(fs vfs.FS, path string) error {
	f, err := fs.OpenDir(path)
	if err != nil {
		return fmt.Errorf("pack: open folder: %w", err)
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("pack: sync folder: %w", err)
	}
	return nil
}

// Close closes every pack that is open for reading. Current reads may finish; new
// ones fail.
func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for d.idle.Len() > 0 {
		d.closeLocked(d.idle.Front().Value.(*handle))
	}
	return nil
}
