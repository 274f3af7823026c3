package pack

import (
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/car"
	"github.com/ipfs/go-cid"
)

// A Section is one block's place in a pack.
type Section struct {
	CID    cid.Cid
	Offset int64 // where the section begins, in bytes from the file's start
	Head   int   // bytes of the section before the data
	Size   int   // bytes of data
}

// End is where the next section begins.
func (s Section) End() int64 { return s.Offset + int64(s.Head+s.Size) }

// maxHead is the most bytes that precede a section's data.
const maxHead = 9 + block.MaxCID

// window is the bytes read at a time when sections are walked.
const window = 256 << 10

// Sections walks the sections between two offsets by their heads, without reading
// or checking data. It ends with an error that wraps block.ErrMalformed or
// io.ErrUnexpectedEOF at the first malformed section, or one that ends behind to.
func (d *Dir) Sections(id ID, from, to int64) iter.Seq2[Section, error] {
	return func(yield func(Section, error) bool) {
		h, err := d.acquire(id)
		if err != nil {
			yield(Section{}, err)
			return
		}
		defer d.release(h)
		var buf []byte // bytes of the file from at on
		store := make([]byte, window)
		at := from
		for at < to {
			if want := min(maxHead, to-at); int64(len(buf)) < want {
				n, err := h.file.ReadAt(store[:min(window, to-at)], at)
				if int64(n) < want {
					if err == nil || errors.Is(err, io.EOF) {
						err = io.ErrUnexpectedEOF
					}
					yield(Section{}, fmt.Errorf("pack: %s at %d: %w", id.Name(), at, err))
					return
				}
				buf = store[:n]
			}
			c, head, size, err := car.ParseSection(buf)
			s := Section{CID: c, Offset: at, Head: head, Size: size}
			if err == nil && s.End() > to {
				err = io.ErrUnexpectedEOF
			}
			if err != nil {
				yield(Section{}, fmt.Errorf("pack: %s at %d: %w", id.Name(), at, err))
				return
			}
			if !yield(s, nil) {
				return
			}
			at = s.End()
			buf = buf[min(len(buf), head+size):]
		}
	}
}

// Scan walks the sections between two offsets, reads the data and checks them
// against their CIDs. The block's bytes are the caller's. A section whose data
// don't match is yielded with an error, and the walk continues behind it. Any
// other error is yielded without a section (its Offset is 0) and ends the walk, as
// in [Dir.Sections].
func (d *Dir) Scan(id ID, from, to int64) iter.Seq2[BlockSection, error] {
	return func(yield func(BlockSection, error) bool) {
		for s, err := range d.Sections(id, from, to) {
			if err != nil {
				yield(BlockSection{}, err)
				return
			}
			data := make([]byte, s.Size)
			if err := d.ReadAt(id, data, s.Offset+int64(s.Head)); err != nil {
				yield(BlockSection{}, err)
				return
			}
			b, err := block.Verify(s.CID, data)
			if err != nil {
				err = fmt.Errorf("pack: %s at %d: %w", id.Name(), s.Offset, err)
			}
			if !yield(BlockSection{Section: s, Block: b}, err) {
				return
			}
		}
	}
}

// A BlockSection is a section with its block.
type BlockSection struct {
	Section
	Block block.Block
}

// Sealed reports whether the pack's header has the end of its data, and returns
// that end and the offset of the index; 0 while there is none, see [Dir.Cut].
func (d *Dir) Sealed(id ID) (end, index int64, sealed bool, err error) {
	p := make([]byte, car.DataOffset)
	if err := d.ReadAt(id, p, 0); err != nil {
		return 0, 0, false, err
	}
	h, err := car.ParseHeaderV2(p[car.PragmaSize:])
	if err != nil {
		return 0, 0, false, fmt.Errorf("pack: %s: %w", id.Name(), err)
	}
	if h.DataSize == car.OpenDataSize {
		return 0, 0, false, nil
	}
	end, index = int64(h.DataOffset+h.DataSize), int64(h.IndexOffset)
	if h.DataOffset != car.DataOffset || end < Start || index != 0 && index < end {
		return 0, 0, false, fmt.Errorf("pack: %s: %w: header %+v", id.Name(), block.ErrMalformed, h)
	}
	return end, index, true, nil
}

// Entries reads the index of a sealed pack: the multihash and the offset (from the
// file's start) of every section, in no useful order. The index has no checksum:
// the caller has to check its entries against other knowledge.
func (d *Dir) Entries(id ID) ([]car.IndexEntry, error) {
	_, index, sealed, err := d.Sealed(id)
	if err != nil {
		return nil, err
	}
	if !sealed || index == 0 {
		return nil, fmt.Errorf("pack: %s is not sealed", id.Name())
	}
	size, err := d.Size(id)
	if err != nil {
		return nil, err
	}
	h, err := d.acquire(id)
	if err != nil {
		return nil, err
	}
	defer d.release(h)
	entries, err := car.ReadIndex(io.NewSectionReader(h.file, index, size-index), maxEntries)
	if err != nil {
		return nil, fmt.Errorf("pack: index of %s: %w", id.Name(), err)
	}
	for i := range entries {
		entries[i].Offset += car.DataOffset
	}
	return entries, nil
}

// maxEntries bounds the sections that the index of a pack may declare: more than
// the largest pack could hold of empty blocks.
const maxEntries = 1 << 26
