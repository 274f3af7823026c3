package unixfs

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
	"pgregory.net/rapid"
)

// makeLeafCID returns the CID of a raw block.
func makeLeafCID(t testing.TB, content string) cid.Cid {
	t.Helper()
	b, err := block.New(block.Raw, []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	return b.CID()
}

// TestNodeEncoding compares encoded nodes with Kubo's bytes.
func TestNodeEncoding(t *testing.T) {
	inline, err := cid.Decode("bafkqaaa") // the identity CID of the empty block
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		node Node
		want string
	}{
		{"empty directory", Node{Type: TypeDirectory}, "0a020801"},
		{"empty file", Node{Type: TypeFile}, "0a0408021800"},
		{"leaf", Node{Type: TypeFile, Data: []byte("hi"), FileSize: 2}, "0a080802120268691802"},
		{"symlink", Node{Type: TypeSymlink, Data: []byte("a/b")}, "0a0708041203612f62"},
		{"empty symlink", Node{Type: TypeSymlink}, "0a0408041200"},
		{"mode and time", Node{Type: TypeDirectory, Mode: 0o755, Modified: time.Unix(1, 2)}, "0a0e080138ed034207080115" + "02000000"},
		{"node", Node{Type: TypeFile, FileSize: 3, BlockSizes: []uint64{3}, Links: []Link{{CID: inline, Tsize: 300}}},
			"120b0a0401550000120018ac02" + "0a06080218032003"},
		{"shard", Node{Type: TypeHAMTShard, Data: []byte{1}, HashType: 0x22, Fanout: 256}, "0a0a0805120101282230" + "8002"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.node.Encode()
			if hex.EncodeToString(got) != tt.want {
				t.Fatalf("got %x, want %s", got, tt.want)
			}
			if len(got) != tt.node.encodedLen() {
				t.Errorf("encodedLen: got %d, want %d", tt.node.encodedLen(), len(got))
			}
		})
	}
}

// TestDecodeTolerant decodes nodes that other tools write and Kubo reads.
func TestDecodeTolerant(t *testing.T) {
	tests := []struct {
		name, hex string
		check     func(Node) bool
	}{
		{"data before links", "0a06080218032003" + "120b0a0401550000120018ac02",
			func(n Node) bool { return len(n.Links) == 1 && n.Links[0].Tsize == 300 && n.FileSize == 3 }},
		{"a link of a CID alone", "12060a0401550000" + "0a020801",
			func(n Node) bool { return len(n.Links) == 1 && n.Links[0].Name == "" }},
		{"packed block sizes", "0a0808021805" + "22020203",
			func(n Node) bool { return reflect.DeepEqual(n.BlockSizes, []uint64{2, 3}) }},
		{"fields of another order", "0a06" + "1802" + "0802" + "2002",
			func(n Node) bool { return n.Type == TypeFile && n.FileSize == 2 }},
		{"unknown field of UnixFS", "0a05" + "0801" + "7a0178",
			func(n Node) bool { return n.Type == TypeDirectory }},
		{"nothing at all", "", func(n Node) bool { return n.Type == TypeDirectory && len(n.Links) == 0 }},
		{"empty data", "0a00", func(n Node) bool { return n.Type == TypeDirectory }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data, err := hex.DecodeString(tt.hex)
			if err != nil {
				t.Fatal(err)
			}
			n, err := DecodeNode(data)
			if err != nil {
				t.Fatal(err)
			}
			if !tt.check(n) {
				t.Errorf("got %+v", n)
			}
		})
	}
}

func TestDecodeMalformed(t *testing.T) {
	tests := map[string]string{
		"cut short":                  "0a0508",
		"data twice":                 "0a0208010a020801",
		"unknown field of dag-pb":    "0a0208011a00",
		"links of another type":      "10010a020801",
		"link without CID":           "12021801" + "0a020801",
		"link with an empty CID":     "12020a000a020801",
		"bytes behind a CID":         "12070a0501550000ff0a020801",
		"field twice in a link":      "120c" + "0a0401550000" + "0a0401550000",
		"no type":                    "0a021800",
		"unknown type":               "0a020806",
		"type of another wire type":  "0a03" + "0a0101",
		"overlong varint":            "0a0c08ffffffffffffffffffff01",
		"field number 0":             "0000",
		"group":                      "0b",
		"nanoseconds of two seconds": "0a0b" + "0801" + "4207" + "0801" + "1500943577",
		"varint where bytes are due": "0a04" + "0801" + "1001",
		"packed sizes cut short":     "0a05" + "0802" + "220180",
		"length beyond the end":      "0affffffff0f",
		"length beyond 63 bits":      "0affffffffffffffffff01",
		"a CID of a refused hash":    "120a0a080155d50104010203040a020801",
		"nanoseconds as a varint":    "0a08" + "0801" + "4204" + "08011001",
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			data, err := hex.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			n, err := DecodeNode(data)
			if !errors.Is(err, block.ErrMalformed) && !errors.Is(err, block.ErrHashRefused) {
				t.Errorf("got %+v, %v, want an error", n, err)
			}
		})
	}
}

// TestNodeLinkLimit: a block of 2 MiB can hold 250,000 links of seven bytes.
func TestNodeLinkLimit(t *testing.T) {
	link, err := hex.DecodeString("12060a0401550000")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeNode(bytes.Repeat(link, maxLinks)); err != nil {
		t.Errorf("%d links: %v", maxLinks, err)
	}
	if _, err := DecodeNode(bytes.Repeat(link, maxLinks+1)); !errors.Is(err, block.ErrMalformed) {
		t.Errorf("%d links: got %v, want ErrMalformed", maxLinks+1, err)
	}
	packed := Node{Type: TypeFile}
	sizes := append([]byte{0x22, 0x81, 0x80, 0x04}, bytes.Repeat([]byte{1}, maxLinks+1)...)
	if err := packed.decodeData(append([]byte{8, 2}, sizes...)); err == nil || !strings.Contains(err.Error(), "block sizes") {
		t.Errorf("%d packed block sizes: got %v, want an error", maxLinks+1, err)
	}
}

// drawNode draws a node that Kubo could write.
func drawNode(t *rapid.T, cids []cid.Cid) Node {
	n := Node{
		Type: rapid.SampledFrom([]Type{TypeRaw, TypeDirectory, TypeFile, TypeSymlink, TypeHAMTShard}).Draw(t, "type"),
		Data: rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "data"),
		Mode: rapid.Uint32().Draw(t, "mode"),
	}
	if n.hasFileSize() {
		n.FileSize = rapid.Uint64().Draw(t, "file size")
	}
	if n.Type == TypeHAMTShard {
		n.HashType, n.Fanout = rapid.Uint64().Draw(t, "hash"), rapid.Uint64().Draw(t, "fanout")
	}
	if rapid.Bool().Draw(t, "has time") {
		n.Modified = time.Unix(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanos")).UTC()
	}
	for range rapid.IntRange(0, 5).Draw(t, "links") {
		n.Links = append(n.Links, Link{
			CID:   rapid.SampledFrom(cids).Draw(t, "cid"),
			Name:  rapid.String().Draw(t, "name"),
			Tsize: rapid.Uint64().Draw(t, "tsize"),
		})
		n.BlockSizes = append(n.BlockSizes, rapid.Uint64().Draw(t, "block size"))
	}
	return n
}

func TestNodeRoundTrip(t *testing.T) {
	v0 := cid.NewCidV0(makeLeafCID(t, "a").Hash())
	cids := []cid.Cid{v0, makeLeafCID(t, "b"), cid.NewCidV1(block.DagPB, makeLeafCID(t, "c").Hash())}
	rapid.Check(t, func(t *rapid.T) {
		want := drawNode(t, cids)
		data := want.Encode()
		if len(data) != want.encodedLen() {
			t.Errorf("encodedLen: got %d, want %d", want.encodedLen(), len(data))
		}
		got, err := DecodeNode(data)
		if err != nil {
			t.Fatal(err)
		}
		if len(want.Data) == 0 {
			want.Data, got.Data = nil, nil
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v\nwant %+v", got, want)
		}
	})
}

// FuzzDecodeNode: encoding a decoded node and decoding it again is stable.
func FuzzDecodeNode(f *testing.F) {
	for _, n := range []Node{
		{Type: TypeDirectory, Links: []Link{{CID: makeLeafCID(f, "x"), Name: "x", Tsize: 1}}},
		{Type: TypeFile, Data: []byte("data"), FileSize: 4, Mode: 0o644, Modified: time.Unix(9, 9)},
		{Type: TypeHAMTShard, Data: []byte{3}, HashType: hashMurmur3, Fanout: 8},
	} {
		f.Add(n.Encode())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := DecodeNode(data)
		if err != nil {
			return
		}
		if len(n.Links) > maxLinks || len(n.BlockSizes) > maxLinks {
			t.Fatalf("%d links, %d block sizes", len(n.Links), len(n.BlockSizes))
		}
		first := n.Encode()
		again, err := DecodeNode(first)
		if err != nil {
			t.Fatalf("decoded %x, encoded %x, decoding that: %v", data, first, err)
		}
		if second := again.Encode(); !bytes.Equal(first, second) {
			t.Fatalf("got %x, then %x", first, second)
		}
	})
}
