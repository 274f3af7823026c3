package car_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/car"
)

// The blocks of the tests: CIDs of both versions, several hash functions and
// codecs, an identity CID, an empty block, sizes around every boundary of the
// code, a block of the largest size.
func testBlocks(t testing.TB) []block.Block {
	t.Helper()
	data := func(n int) []byte {
		p := make([]byte, n)
		rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}).Read(p)
		return p
	}
	var blocks []block.Block
	for _, s := range []struct {
		p    cid.Prefix
		size int
	}{
		{cid.Prefix{Version: 1, Codec: block.Raw, MhType: block.SHA2_256, MhLength: -1}, 0},
		{cid.Prefix{Version: 1, Codec: block.Raw, MhType: block.SHA2_256, MhLength: -1}, 1},
		{cid.Prefix{Version: 0, Codec: block.DagPB, MhType: block.SHA2_256, MhLength: -1}, 90},
		{cid.Prefix{Version: 0, Codec: block.DagPB, MhType: block.SHA2_256, MhLength: -1}, 92},
		{cid.Prefix{Version: 1, Codec: block.DagCBOR, MhType: 0x13, MhLength: -1}, 1000},
		{cid.Prefix{Version: 1, Codec: block.DagCBOR, MhType: 0x13, MhLength: 32}, 1001},
		{cid.Prefix{Version: 1, Codec: block.Raw, MhType: 0x1e, MhLength: -1}, 16 << 10},
		{cid.Prefix{Version: 1, Codec: block.Raw, MhType: block.Identity, MhLength: -1}, 0},
		{cid.Prefix{Version: 1, Codec: block.Raw, MhType: block.Identity, MhLength: -1}, 100},
		{cid.Prefix{Version: 1, Codec: block.GitRaw, MhType: 0x11, MhLength: -1}, 16<<10 + 1},
		{cid.Prefix{Version: 1, Codec: block.Raw, MhType: 0xb220, MhLength: -1}, 40 << 10},
		{cid.Prefix{Version: 1, Codec: block.Raw, MhType: block.SHA2_256, MhLength: -1}, block.MaxSize},
	} {
		b, err := block.NewWithPrefix(s.p, data(s.size))
		if err != nil {
			t.Fatalf("make the block of %d bytes: %v", s.size, err)
		}
		blocks = append(blocks, b)
	}
	return blocks
}

func cids(blocks []block.Block) []cid.Cid {
	var cs []cid.Cid
	for _, b := range blocks {
		cs = append(cs, b.CID())
	}
	return cs
}

// sameBlocks compares CIDs and bytes.
func sameBlocks(t *testing.T, got, want []block.Block) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d blocks, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i].CID() != want[i].CID() || !bytes.Equal(got[i].Data(), want[i].Data()) {
			t.Errorf("block %d: got %s of %d bytes, want %s of %d", i,
				got[i].CID(), got[i].Size(), want[i].CID(), want[i].Size())
		}
	}
}

func TestHeaderV2(t *testing.T) {
	good := car.HeaderV2{Characteristics: [16]byte{car.FullyIndexed, 15: 9}, DataOffset: 64, DataSize: 1000, IndexOffset: 1100}
	for _, tt := range []struct {
		name   string
		change func(*car.HeaderV2)
		ok     bool
	}{
		{"with paddings and index", func(*car.HeaderV2) {}, true},
		{"without index", func(h *car.HeaderV2) { h.IndexOffset = 0 }, true},
		{"open", func(h *car.HeaderV2) { *h = car.HeaderV2{DataOffset: 51, DataSize: car.OpenDataSize} }, true},
		{"index at once after the data", func(h *car.HeaderV2) { h.IndexOffset = 1064 }, true},
		{"index inside the data", func(h *car.HeaderV2) { h.IndexOffset = 1063 }, false},
		{"data inside the header", func(h *car.HeaderV2) { h.DataOffset = 50 }, false},
		{"not finished by its writer", func(h *car.HeaderV2) { *h = car.HeaderV2{} }, false},
		{"no data", func(h *car.HeaderV2) { h.DataSize = 0 }, false},
		{"offset over int64", func(h *car.HeaderV2) { h.DataOffset = math.MaxInt64 + 1; h.IndexOffset = 0 }, false},
		{"size over int64", func(h *car.HeaderV2) { h.DataSize = math.MaxUint64; h.IndexOffset = 0 }, false},
		{"end over int64", func(h *car.HeaderV2) { h.DataSize = math.MaxInt64 - 63; h.IndexOffset = 0 }, false},
		{"index over int64", func(h *car.HeaderV2) { h.IndexOffset = math.MaxInt64 + 1 }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := good
			tt.change(&h)
			p := h.Append(nil)
			if len(p) != car.HeaderV2Size {
				t.Fatalf("Append: got %d bytes, want %d", len(p), car.HeaderV2Size)
			}
			got, err := car.ParseHeaderV2(p)
			if tt.ok && (err != nil || got != h) {
				t.Errorf("got %+v, %v, want %+v", got, err, h)
			}
			if !tt.ok && !errors.Is(err, block.ErrMalformed) {
				t.Errorf("got %+v, %v, want ErrMalformed", got, err)
			}
		})
	}
	if _, err := car.ParseHeaderV2(good.Append(nil)[:39]); !errors.Is(err, block.ErrMalformed) {
		t.Errorf("39 bytes: got %v, want ErrMalformed", err)
	}
}

func TestSection(t *testing.T) {
	for _, b := range testBlocks(t) {
		p := car.AppendSection(nil, b.CID(), b.Size())
		if len(p) > car.MaxSectionHead {
			t.Errorf("%s: a head of %d bytes, want at most %d", b.CID(), len(p), car.MaxSectionHead)
		}
		// With the head alone, and with the data.
		for _, tail := range [][]byte{nil, b.Data(), append(slices.Clone(b.Data()), "more"...)} {
			c, head, size, err := car.ParseSection(append(slices.Clone(p), tail...))
			if err != nil || c != b.CID() || head != len(p) || size != b.Size() {
				t.Errorf("got %s, %d, %d, %v, want %s, %d, %d", c, head, size, err, b.CID(), len(p), b.Size())
			}
		}
		for n := range p {
			if _, _, _, err := car.ParseSection(p[:n]); err != io.ErrUnexpectedEOF {
				t.Errorf("%s, %d bytes of %d: got %v, want ErrUnexpectedEOF", b.CID(), n, len(p), err)
			}
		}
	}
}

func TestSectionRefused(t *testing.T) {
	b := testBlocks(t)[1]
	section := func(length uint64, rest string) []byte {
		return append(uvarint(length), rest...)
	}
	raw := "\x01\x55\x12\x20"
	digest := "01234567890123456789012345678901"
	for _, tt := range []struct {
		name string
		p    []byte
		want error
	}{
		{"length zero", []byte{0, 1, 2, 3}, block.ErrMalformed},
		{"length not minimal", []byte{0x80, 0x00}, block.ErrMalformed},
		{"length over 63 bits", bytes.Repeat([]byte{0xff}, 20), block.ErrMalformed},
		{"length of 1 GiB", section(1<<30, raw+digest), block.ErrTooLarge},
		{"data of one byte over the limit", section(36+block.MaxSize+1, raw+digest), block.ErrTooLarge},
		{"shorter than its CID", section(35, raw+digest+"data"), block.ErrMalformed},
		{"CID version 2", section(40, "\x02\x55\x12\x20"+digest+"data"), block.ErrMalformed},
		{"digest longer than the section", section(40, "\x01\x55\x12\x7f"+digest+"data"), block.ErrMalformed},
		{"md5", section(24, "\x01\x55\xd5\x01\x10"+digest), block.ErrHashRefused},
		{"sha2-256 cut to 19 bytes", section(24, "\x01\x55\x12\x13"+digest), block.ErrHashRefused},
		{"identity over the limit", section(5+129, "\x01\x55\x00\x81\x01"+string(make([]byte, 129))), block.ErrTooLarge},
		{"nothing", nil, io.ErrUnexpectedEOF},
		{"cut in the CID", car.AppendSection(nil, b.CID(), 7)[:20], io.ErrUnexpectedEOF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if c, head, size, err := car.ParseSection(tt.p); !errors.Is(err, tt.want) {
				t.Errorf("got %s, %d, %d, %v, want %v", c, head, size, err, tt.want)
			}
		})
	}
}

func uvarint(n uint64) []byte {
	var p []byte
	for ; n >= 0x80; n >>= 7 {
		p = append(p, byte(n)|0x80)
	}
	return append(p, byte(n))
}

func FuzzParseSection(f *testing.F) {
	for _, b := range testBlocks(f) {
		if b.Size() > 100 {
			continue
		}
		f.Add(append(car.AppendSection(nil, b.CID(), b.Size()), b.Data()...))
	}
	f.Add([]byte{0})
	f.Add(bytes.Repeat([]byte{0xff}, 12))
	f.Fuzz(func(t *testing.T, p []byte) {
		c, head, size, err := car.ParseSection(p)
		if err != nil {
			return
		}
		if head < 1 || head > len(p) || head > car.MaxSectionHead || size < 0 || size > block.MaxSize {
			t.Fatalf("head %d, size %d of %d bytes", head, size, len(p))
		}
		if got := car.AppendSection(nil, c, size); !bytes.Equal(got, p[:head]) {
			t.Errorf("written again: got %x, want %x", got, p[:head])
		}
	})
}

func ExampleReader() {
	var file bytes.Buffer
	b, _ := block.New(block.Raw, []byte("hello"))
	w, _ := car.NewWriter(&file, []cid.Cid{b.CID()})
	_ = w.Put(b)

	r, _ := car.NewReader(&file)
	fmt.Println("version", r.Version(), "roots", r.Roots())
	for b, err := range r.Blocks() {
		fmt.Printf("%s %q %v\n", b.CID(), b.Data(), err)
	}
	// Output:
	// version 1 roots [bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq]
	// bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq "hello" <nil>
}
