package pack

import (
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/cairn-ipfs/cairn/internal/car"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/ipfs/go-cid"
)

// category is the one under which Pebble's file system counts writes of packs.
const category = vfs.WriteCategoryUnspecified

// writeback is the number of appended bytes after which the operating system is
// asked to start writing, so that the final sync has little left to do.
const writeback = 8 << 20

// gather is the size in bytes up to which blocks are copied into a buffer and
// written together. Larger blocks are written from their own memory.
const gather = 64 << 10

// Start is where the first section of a pack lies: behind the CARv2 header and
// the CARv1 header within.
var Start = int64(car.DataOffset + len(car.AppendHeaderV1(nil, nil)))

// A Writer appends sections to one pack. After an error of Append or Flush both
// return it for ever, and so does Sync after one of its own: what lies behind the
// last offset that Sync made durable can't be trusted.
type Writer struct {
	dir     *Dir
	id      ID
	file    vfs.File
	buf     []byte // gathered sections not yet written
	end     int64  // where the next section begins, buf included
	written int64  // bytes passed to the operating system
	kick    int64  // end when writeback was last started
	err     error  // of the write that failed
	// entries are the sections appended by this Writer. They begin at resumed;
	// sections before it were appended by an earlier Writer.
	entries []car.IndexEntry
	resumed int64

	mu      sync.Mutex // held by Sync; guards the following fields
	syncErr error
	closed  bool
}

// Create makes a pack. When it returns, the empty pack is durable.
func (d *Dir) Create(id ID) (*Writer, error) {
	head := car.AppendPragma(nil)
	head = car.HeaderV2{DataOffset: car.DataOffset, DataSize: car.OpenDataSize}.Append(head)
	head = car.AppendHeaderV1(head, nil)
	f, err := d.fs.Create(d.Path(id), category)
	if err != nil {
		return nil, fmt.Errorf("pack: create: %w", err)
	}
	if _, err = f.Write(head); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("pack: create %s: %w", id.Name(), err)
	}
	if err := d.Sync(); err != nil {
		return nil, err
	}
	return d.Resume(id, Start)
}

// Resume returns a Writer for an open pack whose data end at end. That must be the
// end of the file: nothing is ever overwritten.
func (d *Dir) Resume(id ID, end int64) (*Writer, error) {
	size, err := d.Size(id)
	if err != nil {
		return nil, err
	}
	if size != end || end < Start {
		return nil, fmt.Errorf("pack: resume %s: got %d bytes, want %d", id.Name(), size, end)
	}
	f, err := d.fs.OpenReadWrite(d.Path(id), category)
	if err != nil {
		return nil, fmt.Errorf("pack: resume: %w", err)
	}
	return &Writer{dir: d, id: id, file: f, end: end, written: end, kick: end, resumed: end}, nil
}

// ID names the pack.
func (w *Writer) ID() ID { return w.id }

// End is where the next section will begin, in bytes from the file's start.
func (w *Writer) End() int64 { return w.end }

// Appended is the number of sections that this Writer has appended.
func (w *Writer) Appended() int { return len(w.entries) }

// Append adds a section. It returns the section's offset and the number of bytes
// of it (its length and the CID) that precede the data. The section can be read
// after the next Flush.
func (w *Writer) Append(c cid.Cid, data []byte) (offset int64, head int, err error) {
	offset = w.end
	before := len(w.buf)
	w.buf = car.AppendSection(w.buf, c, len(data))
	head = len(w.buf) - before
	if len(data) <= gather {
		w.buf = append(w.buf, data...)
		if len(w.buf) >= 4*gather {
			err = w.Flush()
		}
	} else if err = w.Flush(); err == nil {
		err = w.write(data)
	}
	if err != nil {
		return 0, 0, err
	}
	w.end = offset + int64(head+len(data))
	w.entries = append(w.entries, car.IndexEntry{Hash: c.Hash(), Offset: uint64(offset - car.DataOffset)})
	if w.end-w.kick >= writeback {
		w.kick = w.end
		if w.file.Fd() != vfs.InvalidFd {
			// Sync returns the error of a failure here.
			w.file.SyncTo(w.end)
		}
	}
	return offset, head, nil
}

// Flush passes buffered sections to the operating system.
func (w *Writer) Flush() error {
	err := w.write(w.buf)
	w.buf = w.buf[:0]
	return err
}

// write appends p to the file.
func (w *Writer) write(p []byte) error {
	if len(p) == 0 || w.err != nil {
		return w.err
	}
	n, err := w.file.WriteAt(p, w.written)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		w.err = fmt.Errorf("pack: append to %s: %w", w.id.Name(), err)
		return w.err
	}
	w.written += int64(len(p))
	return nil
}

// Sync makes durable what was appended and flushed. It may run beside Append.
// Once it has failed it fails for ever: the kernel reports lost bytes once, and
// then success. After Close or Seal it fails with fs.ErrClosed.
func (w *Writer) Sync() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return fmt.Errorf("pack: sync %s: %w", w.id.Name(), fs.ErrClosed)
	}
	if w.syncErr == nil {
		if err := w.file.SyncData(); err != nil {
			w.syncErr = fmt.Errorf("pack: sync %s: %w", w.id.Name(), err)
		}
	}
	return w.syncErr
}

// Seal makes the pack immutable: it writes the index of the sections up to end (at
// most [Writer.End]; what lies behind becomes padding), then the true header, each
// durable before the next, and closes the file. It returns the size of the file.
// If it fails, the pack stays as it was, and may be sealed later, after a Resume or
// by [Dir.SealAt].
func (w *Writer) Seal(end int64) (size int64, err error) {
	defer w.close()
	if err := w.Flush(); err != nil {
		return 0, err
	}
	entries := w.entries
	for n := len(entries); n > 0 && int64(entries[n-1].Offset)+car.DataOffset >= end; n-- {
		entries = entries[:n-1]
	}
	if w.resumed > Start {
		for s, err := range w.dir.Sections(w.id, Start, min(w.resumed, end)) {
			if err != nil {
				return 0, fmt.Errorf("pack: seal: %w", err)
			}
			entries = append(entries, car.IndexEntry{Hash: s.CID.Hash(), Offset: uint64(s.Offset - car.DataOffset)})
		}
	}
	out := &offsetWriter{file: w.file, offset: w.written}
	n, err := car.WriteIndex(out, entries)
	if err == nil {
		err = out.flush()
	}
	if err == nil {
		err = w.file.Sync()
	}
	if err != nil {
		return 0, fmt.Errorf("pack: seal %s: write index: %w", w.id.Name(), err)
	}
	header := car.HeaderV2{DataOffset: car.DataOffset, DataSize: uint64(end - car.DataOffset), IndexOffset: uint64(w.written)}
	if _, err = w.file.WriteAt(header.Append(nil), car.PragmaSize); err == nil {
		err = w.file.Sync()
	}
	if err != nil {
		return 0, fmt.Errorf("pack: seal %s: write header: %w", w.id.Name(), err)
	}
	return w.written + n, nil
}

// Cut writes into the header that the pack's sections end at end. SealAt adds the
// index later.
func (d *Dir) Cut(id ID, end int64) error {
	f, err := d.fs.OpenReadWrite(d.Path(id), category)
	if err != nil {
		return fmt.Errorf("pack: cut: %w", err)
	}
	header := car.HeaderV2{DataOffset: car.DataOffset, DataSize: uint64(end - car.DataOffset)}
	if _, err = f.WriteAt(header.Append(nil), car.PragmaSize); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("pack: cut %s: %w", id.Name(), err)
	}
	return nil
}

// Persist makes durable what can be read of the pack's file, if it is unknown
// whether that was synced. It writes the bytes again in place: after a failed sync
// they may be readable, and yet no later sync writes them.
func (d *Dir) Persist(id ID) error {
	size, err := d.Size(id)
	if err != nil {
		return err
	}
	f, err := d.fs.OpenReadWrite(d.Path(id), category)
	if err != nil {
		return fmt.Errorf("pack: persist: %w", err)
	}
	buf := make([]byte, window)
	for at := int64(0); at < size && err == nil; {
		n, rerr := f.ReadAt(buf[:min(window, size-at)], at)
		if n == 0 || rerr != nil && rerr != io.EOF {
			break // what follows won't be used
		}
		_, err = f.WriteAt(buf[:n], at)
		at += int64(n)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("pack: persist %s: %w", id.Name(), err)
	}
	return nil
}

// SealAt seals a pack without a Writer, whose sections end at end. What lies behind
// end in the file stays there as padding.
func (d *Dir) SealAt(id ID, end int64) (size int64, err error) {
	size, err = d.Size(id)
	if err != nil {
		return 0, err
	}
	if size < end || end < Start {
		return 0, fmt.Errorf("pack: seal %s at %d: got %d bytes", id.Name(), end, size)
	}
	w, err := d.Resume(id, size)
	if err != nil {
		return 0, err
	}
	return w.Seal(end)
}

// Close closes the pack's file. The pack stays open and can be resumed.
func (w *Writer) Close() error {
	err := w.Flush()
	if cerr := w.close(); err == nil {
		err = cerr
	}
	return err
}

// close waits for a concurrent Sync, which must not use the file's descriptor
// after another file has it.
func (w *Writer) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	return w.file.Close()
}

// offsetWriter is an io.Writer that buffers small writes and writes them to a file
// from offset on.
type offsetWriter struct {
	file   vfs.File
	offset int64
	buf    []byte
}

func (o *offsetWriter) Write(p []byte) (int, error) {
	o.buf = append(o.buf, p...)
	if len(o.buf) >= gather {
		if err := o.flush(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (o *offsetWriter) flush() error {
	n, err := o.file.WriteAt(o.buf, o.offset)
	o.offset += int64(n)
	o.buf = o.buf[:0]
	return err
}
