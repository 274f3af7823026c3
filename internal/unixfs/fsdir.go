package unixfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strings"
	"sync"

	"github.com/cairn-ipfs/cairn/block"
)

// statAhead is the number of a directory's entries whose nodes are requested at
// once. An entry's type is only in its node.
const statAhead = 16

// A dirFile is an open directory. It gets blocks as it is listed.
type dirFile struct {
	fsys fileSystem
	at   nodeEntry
	info fileInfo
	path string

	mu     sync.Mutex
	next   func() (fs.DirEntry, error, bool) // guarded by mu; nil before the first read
	stop   func()                            // guarded by mu
	closed bool                              // guarded by mu
}

var _ fs.ReadDirFile = (*dirFile)(nil)

func (d *dirFile) Stat() (fs.FileInfo, error) { return d.info, nil }

func (d *dirFile) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.path, Err: fmt.Errorf("a directory: %w", ErrNotFile)}
}

func (d *dirFile) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stop != nil {
		d.stop()
	}
	d.closed = true
	return nil
}

// ReadDir implements fs.ReadDirFile, in the directory's own order. With count
// above 0 it holds at most count and statAhead entries in memory.
func (d *dirFile) ReadDir(count int) ([]fs.DirEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, &fs.PathError{Op: "readdir", Path: d.path, Err: fs.ErrClosed}
	}
	if d.next == nil {
		d.next, d.stop = iter.Pull2(d.fsys.listEntries(d.at))
	}
	entries := []fs.DirEntry{}
	for count <= 0 || len(entries) < count {
		e, err, ok := d.next()
		if !ok {
			if count > 0 && len(entries) == 0 {
				return entries, io.EOF
			}
			break
		}
		if err != nil {
			return entries, &fs.PathError{Op: "readdir", Path: d.path, Err: err}
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// A dirEntry is the fs.DirEntry of an entry.
type dirEntry struct {
	fsys  fileSystem
	entry Entry
	kind  fs.FileMode
	// info is set if the entry's node was read for its kind.
	info *fileInfo
}

var _ fs.DirEntry = dirEntry{}

func (e dirEntry) Name() string      { return e.entry.Name }
func (e dirEntry) IsDir() bool       { return e.kind.IsDir() }
func (e dirEntry) Type() fs.FileMode { return e.kind }
func (e dirEntry) String() string    { return fs.FormatDirEntry(e) }

func (e dirEntry) Info() (fs.FileInfo, error) {
	if e.info != nil {
		return *e.info, nil
	}
	info, err := e.fsys.statEntry(e.entry)
	if err != nil {
		return nil, &fs.PathError{Op: "stat", Path: e.entry.Name, Err: err}
	}
	return info, nil
}

// statEntry reads an entry's node.
func (f fileSystem) statEntry(e Entry) (fileInfo, error) {
	n, err := load(f.ctx, f.get, e.CID)
	if err != nil {
		return fileInfo{}, err
	}
	return newFileInfo(nodeEntry{e, n})
}

// errInvalidName: no path can contain the entry's name.
var errInvalidName = errors.New("invalid entry name in a path")

// listEntries lists a directory, and requests the nodes of up to statAhead
// entries ahead.
func (f fileSystem) listEntries(at nodeEntry) iter.Seq2[fs.DirEntry, error] {
	return func(yield func(fs.DirEntry, error) bool) {
		ahead := f
		var cancel context.CancelFunc
		ahead.ctx, cancel = context.WithCancel(f.ctx)
		var waiting sync.WaitGroup
		defer waiting.Wait()
		defer cancel()
		type asked struct {
			entry dirEntry
			err   error
			done  chan struct{}
		}
		var queue []*asked
		first := func() bool {
			a := queue[0]
			queue = queue[1:]
			<-a.done
			return yield(a.entry, a.err) && a.err == nil
		}
		for e, err := range entriesOf(ahead.ctx, f.get, at.entry.CID, at.node) {
			a := &asked{entry: dirEntry{fsys: f, entry: e}, err: err, done: make(chan struct{})}
			if err == nil && (!fs.ValidPath(e.Name) || e.Name == "." || strings.Contains(e.Name, "/")) {
				a.err = fmt.Errorf("%q: %w: %w", e.Name, errInvalidName, block.ErrMalformed)
			}
			if a.err != nil || e.CID.Type() == block.Raw {
				close(a.done)
			} else {
				waiting.Go(func() {
					defer close(a.done)
					info, err := ahead.statEntry(e)
					if err != nil {
						a.err = fmt.Errorf("%s: %w", e.Name, err)
						return
					}
					a.entry.kind, a.entry.info = info.mode.Type(), &info
				})
			}
			if queue = append(queue, a); len(queue) < statAhead {
				continue
			}
			if !first() {
				return
			}
		}
		for len(queue) > 0 {
			if !first() {
				return
			}
		}
	}
}
