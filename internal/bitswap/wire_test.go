package bitswap

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/ipfs/go-cid"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cairn-ipfs/cairn/block"
)

// decode decodes all messages in p.
func decode(p []byte) ([]message, error) {
	d := decoder{r: bufio.NewReader(bytes.NewReader(p))}
	var all []message
	for {
		n, err := d.start()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		var m message
		if err := d.message(n, &m); err != nil {
			return all, err
		}
		all = append(all, m)
	}
}

// v0 makes a block with a CIDv0.
func v0(t testing.TB, data []byte) block.Block {
	t.Helper()
	b, err := block.NewWithPrefix(cid.Prefix{Version: 0, Codec: block.DagPB, MhType: block.SHA2_256, MhLength: 32}, data)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWantsRoundTrip(t *testing.T) {
	entries := []entry{
		{cid: raw(t, []byte("a")).CID(), priority: 7, kind: WantHave, sendDontHave: true},
		{cid: v0(t, []byte("b")).CID(), priority: -1},
		{cid: raw(t, []byte("c")).CID(), cancel: true},
		{cid: raw(t, nil).CID(), priority: 1<<31 - 1},
	}
	for _, full := range []bool{false, true} {
		p := appendWants(nil, entries, full)
		got, err := decode(p)
		if err != nil || len(got) != 1 || !slices.Equal(got[0].entries, entries) || got[0].full != full {
			t.Errorf("got %+v, %v, want %+v, full %v", got, err, entries, full)
		}
		m, _, err := bsmsg.FromNet(bytes.NewReader(p))
		if err != nil {
			t.Fatalf("boxo: %v", err)
		}
		if m.Full() != full || len(m.Wantlist()) != len(entries) {
			t.Errorf("boxo: got %d entries, full %v, want %d, %v", len(m.Wantlist()), m.Full(), len(entries), full)
		}
		for _, e := range m.Wantlist() {
			want := entries[slices.IndexFunc(entries, func(w entry) bool { return w.cid == e.Cid })]
			got := entry{e.Cid, e.Priority, e.Cancel, Want(e.WantType), e.SendDontHave}
			if got != want {
				t.Errorf("boxo: got %+v, want %+v", got, want)
			}
		}
	}
}

func TestAnswerRoundTrip(t *testing.T) {
	a := answer{
		blocks:    []block.Block{raw(t, []byte("a")), v0(t, []byte("\x0a\x00")), raw(t, nil), randomBlocks(t, 1, 1, block.MaxSize)[0]},
		haves:     []cid.Cid{v0(t, []byte("h")).CID()},
		dontHaves: []cid.Cid{raw(t, []byte("d")).CID()},
	}
	p := encode(t, a, protocol120)
	got, err := decode(p)
	if err != nil || len(got) != 1 {
		t.Fatalf("got %d messages, %v, want 1", len(got), err)
	}
	if !slices.Equal(got[0].haves, a.haves) || !slices.Equal(got[0].dontHaves, a.dontHaves) || !sameBlocks(got[0].blocks, a.blocks) {
		t.Errorf("got %d blocks, HAVE %v, DONT_HAVE %v, want what was encoded", len(got[0].blocks), got[0].haves, got[0].dontHaves)
	}
	m, _, err := bsmsg.FromNet(bytes.NewReader(p))
	if err != nil {
		t.Fatalf("boxo: %v", err)
	}
	if len(m.Blocks()) != len(a.blocks) || !slices.Equal(m.Haves(), a.haves) || !slices.Equal(m.DontHaves(), a.dontHaves) {
		t.Errorf("boxo: got %d blocks, HAVE %v, DONT_HAVE %v, want what was encoded", len(m.Blocks()), m.Haves(), m.DontHaves())
	}

	// Older versions.
	got, err = decode(encode(t, a, protocol110))
	if err != nil || len(got) != 1 || !sameBlocks(got[0].blocks, a.blocks) || len(got[0].haves)+len(got[0].dontHaves) != 0 {
		t.Errorf("1.1.0: got %+v, %v, want the blocks alone", got, err)
	}
	got, err = decode(encode(t, a, protocol100))
	if err != nil || len(got) != 1 || len(got[0].blocks) != len(a.blocks) {
		t.Fatalf("1.0.0: got %d messages, %v, want the blocks", len(got), err)
	}
	for i, b := range got[0].blocks {
		if b.CID().Version() != 0 || !bytes.Equal(b.Data(), a.blocks[i].Data()) {
			t.Errorf("1.0.0: got %s, want the same bytes as CIDv0", b.CID())
		}
	}
	if p := encode(t, answer{haves: a.haves}, protocol110); len(p) != 0 {
		t.Errorf("presences in 1.1.0: got %x, want nothing", p)
	}
}

func sameBlocks(a, b []block.Block) bool {
	return slices.EqualFunc(a, b, func(x, y block.Block) bool {
		return x.CID() == y.CID() && bytes.Equal(x.Data(), y.Data())
	})
}

// TestDecodeBoxo decodes what boxo encodes.
func TestDecodeBoxo(t *testing.T) {
	m := bsmsg.New(true)
	b, empty := raw(t, []byte("payload")), raw(t, nil)
	m.AddEntry(raw(t, []byte("w")).CID(), 5, pb.Message_Wantlist_Have, true)
	m.Cancel(raw(t, []byte("x")).CID())
	m.AddBlock(foreign(t, b))
	m.AddBlock(foreign(t, empty))
	m.AddHave(v0(t, []byte("h")).CID())
	m.AddDontHave(raw(t, []byte("d")).CID())
	m.SetPendingBytes(12345)
	var buf bytes.Buffer
	if err := m.ToNetV1(&buf); err != nil {
		t.Fatal(err)
	}
	got, err := decode(buf.Bytes())
	if err != nil || len(got) != 1 {
		t.Fatalf("got %d messages, %v, want 1", len(got), err)
	}
	g := got[0]
	if len(g.entries) != 2 || !g.full || len(g.blocks) != 2 || len(g.haves) != 1 || len(g.dontHaves) != 1 {
		t.Errorf("got %+v, want 2 entries, full, 2 blocks, a HAVE and a DONT_HAVE", g)
	}
	buf.Reset()
	if err := m.ToNetV0(&buf); err != nil {
		t.Fatal(err)
	}
	if got, err = decode(buf.Bytes()); err != nil || len(got) != 1 || len(got[0].blocks) != 2 {
		t.Errorf("1.0.0: got %+v, %v, want 2 blocks", got, err)
	}
}

// field encodes a field of bytes.
func field(num protowire.Number, p []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), p)
}

func framed(p []byte) []byte { return protowire.AppendBytes(nil, p) }

func TestDecodeBad(t *testing.T) {
	c := raw(t, []byte("c")).CID().Bytes()
	prefix := cid.Prefix{Version: 1, Codec: block.Raw, MhType: block.SHA2_256, MhLength: 32}.Bytes()
	many := bytes.Repeat(field(wantlistEntries, field(entryCID, c)), maxEntries+1)
	for _, tt := range []struct {
		name string
		p    []byte
		want error
	}{
		{"too long", protowire.AppendVarint(nil, maxMessage+1), errMalformed},
		{"a length without end", bytes.Repeat([]byte{0x80}, 20), errMalformed},
		{"cut in the length", []byte{0x80}, io.ErrUnexpectedEOF},
		{"cut", []byte{5, 10}, io.ErrUnexpectedEOF},
		{"a field beyond the end", framed([]byte{10, 5, 0}), errMalformed},
		{"field number 0", framed([]byte{2, 0}), errMalformed},
		{"a group", framed([]byte{0x0b, 0x0c}), errMalformed},
		{"a number without end", framed(bytes.Repeat([]byte{0xff}, 12)), errMalformed},
		{"no CID", framed(field(messageWantlist, field(wantlistEntries, nil))), errMalformed},
		{"half a CID", framed(field(messageWantlist, field(wantlistEntries, field(entryCID, c[:20])))), errMalformed},
		{"bytes after the CID", framed(field(messageWantlist, field(wantlistEntries, field(entryCID, append(c[:len(c):len(c)], 0))))), errMalformed},
		{"a long CID", framed(field(messageWantlist, field(wantlistEntries, field(entryCID, make([]byte, maxSmall+1))))), errMalformed},
		{"too many entries", framed(field(messageWantlist, many)), errMalformed},
		{"an entry beyond the list", framed(append([]byte{10, 2}, field(wantlistEntries, field(entryCID, c))...)), errMalformed},
		{"a block without a prefix", framed(field(messagePayload, field(payloadData, []byte("x")))), errMalformed},
		{"a block with half a prefix", framed(field(messagePayload, append(field(payloadPrefix, prefix[:2]), field(payloadData, []byte("x"))...))), errMalformed},
		{"two blocks in one", framed(field(messagePayload, append(field(payloadPrefix, prefix), append(field(payloadData, []byte("x")), append(field(payloadData, make([]byte, maxSkipped)), 0)...)...))), errMalformed},
		{"unknown fields", framed(field(99, make([]byte, maxSkipped))), errMalformed},
		{"a presence of nothing", framed(field(messagePresence, []byte{0x10, 1})), errMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := decode(tt.p); !errors.Is(err, tt.want) {
				t.Errorf("got %+v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

// TestDecodeIgnored decodes entries and fields that are ignored.
func TestDecodeIgnored(t *testing.T) {
	c := raw(t, []byte("c")).CID().Bytes()
	md5 := append([]byte{1, 0x55, 0xd5, 0x01, 16}, make([]byte, 16)...)
	for _, tt := range []struct {
		name         string
		p            []byte
		wants, haves int
	}{
		{"nothing", []byte{0}, 0, 0},
		{"an empty list", framed([]byte{10, 0}), 0, 0},
		{"an unknown field", framed(field(99, []byte("x"))), 0, 0},
		{"a want under a broken hash", framed(field(messageWantlist, append(field(wantlistEntries, field(entryCID, md5)), field(wantlistEntries, field(entryCID, c))...))), 1, 0},
		{"a presence under a broken hash", framed(append(field(messagePresence, field(presenceCID, md5)), field(messagePresence, field(presenceCID, c))...)), 0, 1},
		{"an unknown presence", framed(field(messagePresence, append(field(presenceCID, c), 0x10, 9))), 0, 0},
		{"an unknown want", framed(field(messageWantlist, field(wantlistEntries, append(field(entryCID, c), 0x20, 9)))), 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decode(tt.p)
			if err != nil || len(got) != 1 || len(got[0].entries) != tt.wants || len(got[0].haves) != tt.haves {
				t.Errorf("got %+v, %v, want %d wants, %d haves", got, err, tt.wants, tt.haves)
			}
		})
	}
}

// FuzzDecode decodes anything, and compares with boxo what both accept.
func FuzzDecode(f *testing.F) {
	b := raw(f, []byte("block"))
	f.Add(appendWants(nil, []entry{{cid: b.CID(), priority: 3, sendDontHave: true}, {cid: v0(f, []byte("x")).CID(), cancel: true}}, true))
	f.Add(encode(f, answer{blocks: []block.Block{b, raw(f, nil)}, haves: []cid.Cid{b.CID()}, dontHaves: []cid.Cid{b.CID()}}, protocol120))
	f.Add(encode(f, answer{blocks: []block.Block{b}}, protocol100))
	f.Add([]byte{3, 10, 1, 0})
	f.Fuzz(func(t *testing.T, p []byte) {
		got, err := decode(p)
		if err != nil || len(got) == 0 {
			return
		}
		// What was decoded can be encoded again.
		g := got[0]
		again, err := decode(append(appendWants(nil, g.entries, g.full),
			encode(t, answer{blocks: g.blocks, haves: g.haves, dontHaves: g.dontHaves}, protocol120)...))
		if err != nil || len(again) == 0 || !slices.Equal(again[0].entries, g.entries) || again[0].full != g.full {
			t.Fatalf("got %+v, %v, want %+v", again, err, g)
		}
		if len(again) > 1 && (!sameBlocks(again[1].blocks, g.blocks) || !slices.Equal(again[1].haves, g.haves) || !slices.Equal(again[1].dontHaves, g.dontHaves)) {
			t.Fatalf("got %+v, want %+v", again[1], g)
		}
		m, _, err := bsmsg.FromNet(bytes.NewReader(p))
		if err != nil {
			return // boxo is stricter in places
		}
		names := make(map[cid.Cid]bool)
		for _, b := range m.Blocks() {
			names[b.Cid()] = true
		}
		for _, b := range g.blocks {
			if !names[b.CID()] {
				t.Fatalf("got a block %s that boxo doesn't see", b.CID())
			}
		}
		wants := make(map[cid.Cid]bool)
		for _, e := range m.Wantlist() {
			wants[e.Cid] = true
		}
		for _, e := range g.entries {
			if !wants[e.cid] {
				t.Fatalf("got a want of %s that boxo doesn't see", e.cid)
			}
		}
	})
}

// FuzzEncode encodes anything, for boxo and ourselves to decode.
func FuzzEncode(f *testing.F) {
	f.Add(uint64(1), uint8(3), []byte("data"))
	f.Add(uint64(2), uint8(0), []byte{})
	f.Fuzz(func(t *testing.T, seed uint64, n uint8, data []byte) {
		random := rand.New(rand.NewPCG(seed, 0))
		var entries []entry
		a := answer{}
		for i := range int(n % 32) {
			p := append(bytes.Clone(data), byte(i))
			b := raw(t, p)
			if random.IntN(2) == 0 {
				b = v0(t, p)
			}
			entries = append(entries, entry{b.CID(), int32(random.Uint32()), random.IntN(2) == 0, Want(random.IntN(2)), random.IntN(2) == 0})
			switch random.IntN(3) {
			case 0:
				a.blocks = append(a.blocks, b)
			case 1:
				a.haves = append(a.haves, b.CID())
			default:
				a.dontHaves = append(a.dontHaves, b.CID())
			}
		}
		wants := appendWants(nil, entries, seed%2 == 0)
		got, err := decode(wants)
		if err != nil || len(got) != 1 || !slices.Equal(got[0].entries, entries) || got[0].full != (seed%2 == 0) {
			t.Fatalf("got %+v, %v, want %+v", got, err, entries)
		}
		if m, _, err := bsmsg.FromNet(bytes.NewReader(wants)); err != nil || len(m.Wantlist()) != len(entries) {
			t.Fatalf("boxo: %v", err)
		}
		p := encode(t, a, protocol120)
		if len(p) == 0 {
			return
		}
		got, err = decode(p)
		if err != nil || len(got) != 1 || !sameBlocks(got[0].blocks, a.blocks) || !slices.Equal(got[0].haves, a.haves) || !slices.Equal(got[0].dontHaves, a.dontHaves) {
			t.Fatalf("got %+v, %v, want %+v", got, err, a)
		}
		if m, _, err := bsmsg.FromNet(bytes.NewReader(p)); err != nil || len(m.Blocks()) != len(a.blocks) {
			t.Fatalf("boxo: %v", err)
		}
	})
}
