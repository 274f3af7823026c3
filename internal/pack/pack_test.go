package pack

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/ipfs/go-cid"
)

// fixture is a folder of packs, with helpers that fail the test on any error.
type fixture struct {
	testing.TB
	*Dir
}

func newFixture(t testing.TB, fs vfs.FS) fixture {
	t.Helper()
	f := fixture{TB: t}
	f.ok(fs.MkdirAll("packs", 0o755))
	var err error
	f.Dir, err = OpenDir(fs, "packs")
	f.ok(err)
	t.Cleanup(func() { f.ok(f.Dir.Close()) })
	return f
}

func (f fixture) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f fixture) fails(what string, err, want error) {
	f.Helper()
	if !errors.Is(err, want) {
		f.Errorf("%s: got %v, want %v", what, err, want)
	}
}

// blocksOf makes blocks of these sizes, under several codecs and hashes.
func (f fixture) blocksOf(sizes ...int) (out []block.Block) {
	f.Helper()
	rng := rand.New(rand.NewPCG(1, uint64(len(sizes))))
	prefixes := []cid.Prefix{
		{Version: 1, Codec: block.Raw, MhType: block.SHA2_256, MhLength: -1},
		{Version: 0, Codec: block.DagPB, MhType: block.SHA2_256, MhLength: 32},
		{Version: 1, Codec: block.DagCBOR, MhType: 0x13, MhLength: -1}, // sha2-512
		{Version: 1, Codec: block.Raw, MhType: 0xb220, MhLength: 20},   // blake2b-256, truncated
		{Version: 1, Codec: 0x300ca1, MhType: block.SHA2_256, MhLength: -1},
	}
	for i, n := range sizes {
		p := make([]byte, n)
		for j := range p {
			p[j] = byte(rng.Uint32())
		}
		b, err := block.NewWithPrefix(prefixes[i%len(prefixes)], p)
		f.ok(err)
		out = append(out, b)
	}
	return out
}

// place is where a block was appended.
type place struct {
	block.Block
	offset int64
	head   int
}

func (p place) end() int64 { return p.offset + int64(p.head+p.Size()) }

func (f fixture) append(w *Writer, blocks ...block.Block) (out []place) {
	f.Helper()
	for _, b := range blocks {
		at := w.End()
		off, head, err := w.Append(b.CID(), b.Data())
		f.ok(err)
		p := place{b, off, head}
		if off != at || p.end() != w.End() {
			f.Fatalf("append: a section at %d to %d, where the pack ended at %d and now at %d", off, p.end(), at, w.End())
		}
		out = append(out, p)
	}
	f.ok(w.Flush())
	return out
}

// check reads a pack in every way and compares it with what was appended.
func (f fixture) check(id ID, end int64, places []place) {
	f.Helper()
	for _, p := range places {
		data := make([]byte, p.Size())
		f.ok(f.ReadAt(id, data, p.offset+int64(p.head)))
		if !bytes.Equal(data, p.Data()) {
			f.Fatalf("read at %d: got other bytes", p.offset)
		}
	}
	i := 0
	for sec, err := range f.Sections(id, Start, end) {
		f.ok(err)
		if i >= len(places) {
			f.Fatalf("there is a section %+v too many", sec)
		}
		if p := places[i]; sec.CID != p.CID() || sec.Offset != p.offset || sec.Head != p.head || sec.Size != p.Size() || sec.End() != p.end() {
			f.Fatalf("section %d: got %+v, want %s at %d", i, sec, p.CID(), p.offset)
		}
		i++
	}
	if i != len(places) {
		f.Fatalf("got %d sections, want %d", i, len(places))
	}
	i = 0
	for sec, err := range f.Scan(id, Start, end) {
		f.ok(err)
		if sec.Block.CID() != places[i].CID() || !bytes.Equal(sec.Block.Data(), places[i].Data()) {
			f.Fatalf("scan: section %d is another block", i)
		}
		i++
	}
	if i != len(places) {
		f.Fatalf("scan: got %d sections, want %d", i, len(places))
	}
}

// checkSealed checks the header and the index of a sealed pack.
func (f fixture) checkSealed(id ID, wantEnd, wantSize int64, places []place) {
	f.Helper()
	end, index, sealed, err := f.Sealed(id)
	f.ok(err)
	if !sealed || end != wantEnd || index < end {
		f.Fatalf("sealed: got %v, end %d, index %d, want it sealed with end %d", sealed, end, index, wantEnd)
	}
	size, err := f.Size(id)
	f.ok(err)
	if size != wantSize {
		f.Fatalf("the file has %d bytes, want the %d that sealing told", size, wantSize)
	}
	f.check(id, end, places)
	entries, err := f.Entries(id)
	f.ok(err)
	got := map[string][]int64{}
	for _, e := range entries {
		got[string(e.Hash)] = append(got[string(e.Hash)], int64(e.Offset))
	}
	if len(entries) != len(places) {
		f.Fatalf("the index has %d entries, want %d", len(entries), len(places))
	}
	for _, p := range places {
		if !slices.Contains(got[string(p.CID().Hash())], p.offset) {
			f.Fatalf("the index has %s at %v, want %d", p.CID(), got[string(p.CID().Hash())], p.offset)
		}
	}
}

// sizes of blocks around the bounds of the writer's code.
var sizes = []int{0, 1, 100, 127, 128, 1000, gather - 100, gather, gather + 1, 3*gather + 7, 5, block.MaxSize, 64, 0}

func TestPack(t *testing.T) {
	f := newFixture(t, vfs.NewMem())
	w, err := f.Create(1)
	f.ok(err)
	if w.ID() != 1 || w.End() != Start || w.Appended() != 0 {
		t.Errorf("a new pack: id %d, end %d, %d sections, want 1, %d, none", w.ID(), w.End(), w.Appended(), Start)
	}
	f.check(1, Start, nil)
	blocks := f.blocksOf(sizes...)
	places := f.append(w, blocks...)
	places = append(places, f.append(w, blocks[2], blocks[2])...) // a block may be appended twice
	if w.Appended() != len(places) {
		t.Errorf("%d sections were appended, want %d", w.Appended(), len(places))
	}
	f.check(1, w.End(), places)
	if end, index, sealed, err := f.Sealed(1); sealed || err != nil {
		t.Errorf("an open pack: got sealed %v, %d, %d, %v", sealed, end, index, err)
	}
	if entries, err := f.Entries(1); err == nil {
		t.Errorf("an open pack: got %d entries, want an error", len(entries))
	}
	f.ok(w.Sync())
	end := w.End()
	size, err := w.Seal(end)
	f.ok(err)
	f.checkSealed(1, end, size, places)
}

func TestEmptyPack(t *testing.T) {
	f := newFixture(t, vfs.NewMem())
	w, err := f.Create(1)
	f.ok(err)
	size, err := w.Seal(w.End())
	f.ok(err)
	f.checkSealed(1, Start, size, nil)
}

func TestResume(t *testing.T) {
	f := newFixture(t, vfs.NewMem())
	blocks := f.blocksOf(sizes...)
	w, err := f.Create(7)
	f.ok(err)
	var places []place
	for len(blocks) > 0 {
		n := min(3, len(blocks))
		places = append(places, f.append(w, blocks[:n]...)...)
		blocks = blocks[n:]
		end := w.End()
		f.ok(w.Close())
		for _, wrong := range []int64{end - 1, end + 1, 0, Start - 1, -1} {
			if _, err := f.Resume(7, wrong); err == nil {
				t.Fatalf("resume at %d: got no error, though the file has %d bytes", wrong, end)
			}
		}
		w, err = f.Resume(7, end)
		f.ok(err)
		if w.End() != end || w.Appended() != 0 {
			t.Fatalf("resumed: end %d, %d sections, want %d, none", w.End(), w.Appended(), end)
		}
	}
	end := w.End()
	size, err := w.Seal(end)
	f.ok(err)
	f.checkSealed(7, end, size, places)
	if _, err := f.Resume(8, Start); err == nil {
		t.Error("resume what isn't there: got no error")
	}
}

// What lies behind the end of a sealed pack is padding: the rest of an interrupted
// write, or sections that were never acknowledged.
func TestSealAt(t *testing.T) {
	f := newFixture(t, vfs.NewMem())
	blocks := f.blocksOf(sizes...)
	for id, junk := range map[ID][]byte{1: nil, 2: []byte("junk"), 3: make([]byte, 100_000), 4: {0}, 5: {0x7f, 1, 0x55}} {
		w, err := f.Create(id)
		f.ok(err)
		places := f.append(w, blocks[:9]...)
		end := w.End()
		f.append(w, blocks[9:]...)
		f.ok(w.Close())
		size, err := f.Size(id)
		f.ok(err)
		file, err := f.fs.OpenReadWrite(f.Path(id), category)
		f.ok(err)
		_, err = file.WriteAt(junk, size)
		f.ok(err)
		f.ok(file.Close())

		f.ok(f.Cut(id, end))
		if cut, index, sealed, err := f.Sealed(id); !sealed || cut != end || index != 0 || err != nil {
			t.Fatalf("a pack cut at %d: got sealed %v, end %d, index %d, %v", end, sealed, cut, index, err)
		}
		if _, err := f.Entries(id); err == nil {
			t.Error("a pack that is cut: got entries, want an error")
		}
		size, err = f.SealAt(id, end)
		f.ok(err)
		f.checkSealed(id, end, size, places)
		// Seal it again, as after a crash between the header and the index's row,
		// also at an earlier mark.
		size, err = f.SealAt(id, end)
		f.ok(err)
		f.checkSealed(id, end, size, places)
		size, err = f.SealAt(id, places[4].end())
		f.ok(err)
		f.checkSealed(id, places[4].end(), size, places[:5])
		for _, wrong := range []int64{0, Start - 1, size + 1} {
			if _, err := f.SealAt(id, wrong); err == nil {
				t.Errorf("seal at %d: got no error", wrong)
			}
		}
		if _, err := f.SealAt(id, places[4].end()-1); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("seal within a section: got %v, want ErrUnexpectedEOF", err)
		}
	}
}

// A writer may be told to seal before its own end, too.
func TestSealBeforeTheEnd(t *testing.T) {
	f := newFixture(t, vfs.NewMem())
	blocks := f.blocksOf(sizes...)
	for i := range blocks {
		id := ID(i + 1)
		w, err := f.Create(id)
		f.ok(err)
		places := f.append(w, blocks[:5]...)
		end := w.End()
		f.ok(w.Close())
		w, err = f.Resume(id, end)
		f.ok(err)
		places = append(places, f.append(w, blocks[5:]...)...)
		at := Start
		if i > 0 {
			at = places[i-1].end()
		}
		size, err := w.Seal(at)
		f.ok(err)
		f.checkSealed(id, at, size, places[:i])
	}
}

func TestReadBeyond(t *testing.T) {
	f := newFixture(t, vfs.NewMem())
	w, err := f.Create(1)
	f.ok(err)
	p := f.append(w, f.blocksOf(1000)...)[0]
	buf := make([]byte, 1001)
	f.fails("read a byte too many", f.ReadAt(1, buf, p.offset+int64(p.head)), io.ErrUnexpectedEOF)
	f.fails("read behind the end", f.ReadAt(1, buf, 1<<40), io.ErrUnexpectedEOF)
	f.fails("read another pack", f.ReadAt(2, buf, 0), ErrGone)
	for sec, err := range f.Sections(1, Start, p.end()+1) {
		if err != nil {
			f.fails("sections to behind the end", err, io.ErrUnexpectedEOF)
		} else if sec.Offset != p.offset {
			t.Errorf("got a section at %d, want %d", sec.Offset, p.offset)
		}
	}
	for sec, err := range f.Sections(1, Start, p.end()-1) {
		if err == nil {
			t.Errorf("sections to within one: got %+v, want an error", sec)
		}
		f.fails("sections to within one", err, io.ErrUnexpectedEOF)
	}
}

func TestNames(t *testing.T) {
	for _, id := range []ID{1, 255, 1 << 40, 1<<64 - 1} {
		if got, ok := ParseName(id.Name()); !ok || got != id {
			t.Errorf("%s: got %d, %v, want %d", id.Name(), got, ok, id)
		}
	}
	for _, name := range []string{"", "1.car", "0000000000000000.car", "0000000000000001.CAR", "0000000000000001", "+000000000000001.car", "00000000000000001.car", "000000000000000g.car", "0000000000000001.car.new"} {
		if id, ok := ParseName(name); ok {
			t.Errorf("%q: got %d, want none", name, id)
		}
	}
	f := newFixture(t, vfs.NewMem())
	for _, id := range []ID{300, 2, 1 << 33} {
		w, err := f.Create(id)
		f.ok(err)
		f.ok(w.Close())
	}
	other, err := f.fs.Create("packs/README", category)
	f.ok(err)
	f.ok(other.Close())
	ids, err := f.List()
	f.ok(err)
	if want := []ID{2, 300, 1 << 33}; !slices.Equal(ids, want) {
		t.Errorf("list: got %v, want %v", ids, want)
	}
}
