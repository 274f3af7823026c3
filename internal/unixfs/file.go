package unixfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// A File reads a file block by block, and requests a few blocks ahead. ReadAt is
// safe for concurrent use; Read, Seek and WriteTo share one offset and take
// turns.
type File struct {
	// ctx is from Open: the interfaces of package io have no context.
	ctx    context.Context
	cancel context.CancelFunc
	loader *fileLoader
	root   *fileNode

	mu     sync.Mutex
	stream *leafStream // guarded by mu; nil before a read
	rest   []byte      // guarded by mu; unread bytes of the last piece
	pos    int64       // guarded by mu
	closed bool        // guarded by mu
}

var (
	_ io.ReadSeekCloser = (*File)(nil)
	_ io.ReaderAt       = (*File)(nil)
	_ io.WriterTo       = (*File)(nil)
)

// Open opens the file c. It gets one block; reading gets the others, with ctx.
// Errors: those of get; ErrNotFile; block.ErrMalformed; block.ErrUnknownCodec.
// The File must be closed.
func Open(ctx context.Context, get block.Getter, c cid.Cid) (*File, error) {
	n, err := load(ctx, get, c)
	if err != nil {
		return nil, fmt.Errorf("unixfs: open: %w", err)
	}
	f, err := openNode(ctx, get, c, n)
	if err != nil {
		return nil, fmt.Errorf("unixfs: open: %w", err)
	}
	return f, nil
}

// openNode opens the file whose root is n.
func openNode(ctx context.Context, get block.Getter, c cid.Cid, n Node) (*File, error) {
	root, err := newFileNode(c, n)
	if err != nil {
		return nil, err
	}
	f := &File{loader: &fileLoader{get: get}, root: root}
	f.ctx, f.cancel = context.WithCancel(ctx)
	return f, nil
}

// Size returns the file's length in bytes, as its root declares it. Reading
// verifies it.
func (f *File) Size() int64 { return int64(f.root.size) }

// CID returns the file's CID.
func (f *File) CID() cid.Cid { return f.root.cid }

// Close cancels requests, and waits for them to end.
func (f *File) Close() error {
	// Before the lock: it ends a Read that waits for a block.
	f.cancel()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.stopStream()
	return nil
}

// stopStream ends the stream. The caller holds mu.
func (f *File) stopStream() {
	if f.stream != nil {
		f.stream.close()
		f.stream, f.rest = nil, nil
	}
}

// readPiece sets rest to the next bytes. The caller holds mu.
func (f *File) readPiece() error {
	if f.closed {
		return fs.ErrClosed
	}
	if f.stream == nil {
		if f.pos >= f.Size() {
			return io.EOF
		}
		f.stream = newLeafStream(f.ctx, f.loader, f.root, uint64(f.pos), f.root.size, firstAhead)
		// Each piece is consumed before the next one is requested.
		f.stream.into, _ = f.loader.get.(intoGetter)
	}
	rest, err := f.stream.next()
	if err != nil {
		// The next read starts a new stream.
		f.stopStream()
		return err
	}
	f.rest = rest
	return nil
}

// wrapReadError adds the file's CID to an error, except to io.EOF.
func (f *File) wrapReadError(err error) error {
	if err == io.EOF {
		return err
	}
	return fmt.Errorf("unixfs: read %s: %w", f.root.cid, err)
}

// Read implements io.Reader.
func (f *File) Read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	if len(f.rest) == 0 {
		if err := f.readPiece(); err != nil {
			return 0, f.wrapReadError(err)
		}
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	f.pos += int64(n)
	return n, nil
}

// WriteTo implements io.WriterTo: it writes the rest of the file, a block at a
// time, without a copy.
func (f *File) WriteTo(w io.Writer) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var total int64
	for {
		if len(f.rest) == 0 {
			if err := f.readPiece(); err == io.EOF {
				return total, nil
			} else if err != nil {
				return total, f.wrapReadError(err)
			}
		}
		n, err := w.Write(f.rest)
		total += int64(n)
		f.pos += int64(n)
		f.rest = f.rest[n:]
		if err == nil && len(f.rest) > 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			return total, err
		}
	}
}

var errSeek = errors.New("unixfs: seek before the beginning of a file")

// Seek implements io.Seeker. An offset beyond the end is allowed.
func (f *File) Seek(offset int64, whence int) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var from int64
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		from = f.pos
	case io.SeekEnd:
		from = f.Size()
	default:
		return 0, fmt.Errorf("unixfs: seek: invalid whence %d", whence)
	}
	to := from + offset
	if to < 0 {
		return 0, errSeek
	}
	if skip := to - f.pos; skip >= 0 && skip <= int64(len(f.rest)) {
		f.rest = f.rest[skip:]
	} else {
		f.stopStream()
	}
	f.pos = to
	return to, nil
}

// ReadAt implements io.ReaderAt. It requests all blocks it needs at once, up to
// a bound.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errSeek
	}
	if off >= f.Size() {
		return 0, io.EOF
	}
	f.mu.Lock()
	closed := f.closed
	f.mu.Unlock()
	if closed {
		return 0, f.wrapReadError(fs.ErrClosed)
	}
	end := f.root.size
	if int64(len(p)) < f.Size()-off {
		end = uint64(off) + uint64(len(p))
	}
	s := newLeafStream(f.ctx, f.loader, f.root, uint64(off), end, readAhead)
	defer s.close()
	n := 0
	for n < len(p) {
		data, err := s.next()
		if err != nil {
			return n, f.wrapReadError(err)
		}
		n += copy(p[n:], data)
	}
	return n, nil
}
