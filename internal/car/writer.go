package car

import (
	"errors"
	"fmt"
	"io"

	"github.com/ipfs/go-cid"

	"github.com/cairn-ipfs/cairn/block"
)

// A Writer writes blocks as a CARv1, in the order of the calls. It neither drops
// duplicates nor checks that the roots are among them. It buffers nothing, so a
// CARv1 is complete after any Put.
type Writer struct {
	w       io.Writer
	offset  uint64 // from the start of the CARv1 data
	scratch []byte
	err     error // of the write that broke the stream
}

// smallBlock is the size in bytes up to which copying a block behind its head and
// writing once is faster than writing twice.
const smallBlock = 16 << 10

// NewWriter writes the header with the roots and returns a Writer for the blocks.
// It fails with block.ErrTooLarge for more roots than a Reader accepts, and as w
// does.
func NewWriter(w io.Writer, roots []cid.Cid) (*Writer, error) {
	header := AppendHeaderV1(nil, roots)
	if len(roots) > MaxRoots || len(header) > MaxHeaderV1 {
		return nil, fmt.Errorf("car: write header: %d roots: %w (the limit is %d)", len(roots), block.ErrTooLarge, MaxRoots)
	}
	cw := &Writer{w: w}
	if err := cw.write(header); err != nil {
		return nil, fmt.Errorf("car: write header: %w", err)
	}
	return cw, nil
}

// write writes p and counts its bytes. After an error nothing more is written.
func (w *Writer) write(p []byte) error {
	if w.err != nil {
		return w.err
	}
	n, err := w.w.Write(p)
	w.offset += uint64(n)
	w.err = err
	return err
}

// Put writes a block. It fails as the underlying writer does, and from then
// on always.
func (w *Writer) Put(b block.Block) error {
	w.scratch = AppendSection(w.scratch[:0], b.CID(), b.Size())
	data := b.Data()
	if len(data) <= smallBlock {
		w.scratch = append(w.scratch, data...)
		data = nil
	}
	err := w.write(w.scratch)
	if err == nil && len(data) > 0 {
		err = w.write(data)
	}
	if err != nil {
		return fmt.Errorf("car: write %s: %w", b.CID(), err)
	}
	return nil
}

// A WriterV2 writes blocks as a CARv2 with an index. Until Close, the header
// declares OpenDataSize and no index, so that readers accept the unfinished file.
type WriterV2 struct {
	ws      io.WriteSeeker
	start   int64 // of the CARv2 in ws
	v1      *Writer
	entries []IndexEntry
	closed  bool
}

// NewWriterV2 begins a CARv2 with the given roots at ws's current offset. It
// fails like NewWriter.
func NewWriterV2(ws io.WriteSeeker, roots []cid.Cid) (*WriterV2, error) {
	start, err := ws.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, fmt.Errorf("car: write header: %w", err)
	}
	open := HeaderV2{DataOffset: DataOffset, DataSize: OpenDataSize}
	if _, err := ws.Write(open.Append(AppendPragma(nil))); err != nil {
		return nil, fmt.Errorf("car: write header: %w", err)
	}
	v1, err := NewWriter(ws, roots)
	if err != nil {
		return nil, err
	}
	return &WriterV2{ws: ws, start: start, v1: v1}, nil
}

// Put writes a block, and adds it to the index unless its CID is an identity CID,
// which needs no lookup. It fails as ws does, and from then on always.
func (w *WriterV2) Put(b block.Block) error {
	if w.closed {
		return fmt.Errorf("car: write %s: the CAR is closed", b.CID())
	}
	offset := w.v1.offset
	if err := w.v1.Put(b); err != nil {
		return err
	}
	if !block.IsIdentity(b.CID()) {
		w.entries = append(w.entries, IndexEntry{Hash: b.CID().Hash(), Offset: offset})
	}
	return nil
}

// Close writes the index and then the header that points to it, and leaves ws
// behind the index. It doesn't close ws, nor make it durable. If a Put
// failed, Close fails with the same error and leaves the CAR open.
func (w *WriterV2) Close() error {
	if w.closed {
		return nil
	}
	w.closed = true
	if w.v1.err != nil {
		return fmt.Errorf("car: close: %w", w.v1.err)
	}
	n, err := WriteIndex(w.ws, w.entries)
	if err != nil {
		return err
	}
	h := HeaderV2{DataOffset: DataOffset, DataSize: w.v1.offset, IndexOffset: DataOffset + w.v1.offset}
	end := w.start + int64(h.IndexOffset) + n
	if err := w.writeAt(h.Append(nil), w.start+PragmaSize, end); err != nil {
		return fmt.Errorf("car: close: %w", err)
	}
	return nil
}

// writeAt writes p at an offset and then seeks to another.
func (w *WriterV2) writeAt(p []byte, at, then int64) error {
	if _, err := w.ws.Seek(at, io.SeekStart); err != nil {
		return err
	}
	_, err := w.ws.Write(p)
	_, errSeek := w.ws.Seek(then, io.SeekStart)
	return errors.Join(err, errSeek)
}
