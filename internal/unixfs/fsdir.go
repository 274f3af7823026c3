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

// statAhead is how many entries of a directory are looked at at once: only
// their own nodes say what they are.
const statAhead = 16

// A dirFile is an open directory, read as it is listed.
type dirFile struct {
	fsys fileSystem
	at   nodeEntry
	info fileInfo
	path string

	mu     sync.Mutex
	next   func() (fs.DirEntry, error, bool) // guarded by mu; nil until something is read
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

// ReadDir implements fs.ReadDirFile, in the order in which the directory has
// its entries. With count above 0 it holds no more than that, and a few, in
// memory.
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

// dirEntry is an entry of a directory.
type dirEntry struct {
	fsys  fileSystem
	entry Entry
	kind  fs.FileMode
	// info tells more, where the entry's node had to be got for its kind.
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

// stat tells of an entry.
func (f fileSystem) statEntry(e Entry) (fileInfo, error) {
	n, err := load(f.ctx, f.get, e.CID)
	if err != nil {
		return fileInfo{}, err
	}
	return newFileInfo(nodeEntry{e, n})
}

// errNoName: an entry that no path leads to.
var errInvalidName = errors.New("an entry whose name no path can have")

// entries lists a directory, and asks for the nodes of some entries ahead of
// time.
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
