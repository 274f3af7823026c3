package ipld

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

type event struct {
	Prev  *cid.Cid          `ipld:"prev,omitempty"`
	Loop  []cid.Cid         `ipld:"loop"`
	Name  string            `ipld:"name"`
	Data  []byte            `ipld:"data"`
	Hash  [4]byte           `ipld:"hash"`
	Count uint64            `ipld:"count"`
	Delta int16             `ipld:"delta"`
	Ratio float64           `ipld:"ratio"`
	On    bool              `ipld:"on"`
	Tags  map[string]string `ipld:"tags"`
	Any   any               `ipld:"any"`
	Plain int
	local int
	Skip  chan int `ipld:"-"`
}

func TestEncodeDecode(t *testing.T) {
	leaf, err := block.New(block.Raw, []byte("leaf"))
	if err != nil {
		t.Fatal(err)
	}
	c := leaf.CID()
	in := event{
		Prev: &c, Loop: []cid.Cid{c, c}, Name: "a", Data: []byte{1, 2}, Hash: [4]byte{3, 4, 5, 6},
		Count: math.MaxUint64, Delta: -7, Ratio: 0.5, On: true, Tags: map[string]string{"x": "y", "aa": "b"},
		Any: []any{int64(1), nil, "s", map[string]any{"c": c, "f": 1.5, "b": []byte{}, "t": true}}, Plain: 9,
	}
	b, err := Encode(in)
	if err != nil {
		t.Fatal(err)
	}
	in.local = 7 // not exported, and so left out
	again, err := Encode(&in)
	in.local = 0
	if err != nil || again.CID() != b.CID() {
		t.Fatalf("encode by pointer: got %s, %v, want %s", again.CID(), err, b.CID())
	}
	out, err := Decode[event](b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(out, in) {
		t.Errorf("got  %+v\nwant %+v", out, in)
	}
	// Into other types: a part of the fields, and none at all.
	part, err := Decode[struct {
		Name string `ipld:"name"`
		New  string
	}](b)
	if err != nil || part.Name != "a" || part.New != "" {
		t.Errorf("a part: got %+v, %v", part, err)
	}
	natural, err := Decode[any](b)
	if err != nil || natural.(map[string]any)["delta"] != int64(-7) {
		t.Errorf("any: got %v, %v", natural, err)
	}
}

// The bytes are canonical: keys by length, then by bytes (DAG-CBOR, "strictness").
func TestEncodeCanonical(t *testing.T) {
	b, err := Encode(map[string]int{"bb": 2, "a": 1, "c": 3})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(b.Data()), "\xa3\x61a\x01\x61c\x03\x62bb\x02"; got != want {
		t.Errorf("got %x, want %x", got, want)
	}
}

func TestEncodeRefuses(t *testing.T) {
	type loop struct{ Next *loop }
	self := &loop{}
	self.Next = self
	for _, tt := range []struct {
		name string
		v    any
		want string
	}{
		{"NaN", math.NaN(), "invalid number"},
		{"not UTF-8", []string{"ok", "\xff"}, "[1]"},
		{"undefined CID", map[string]cid.Cid{"c": cid.Undef}, "c: an undefined CID"},
		{"channel", make(chan int), "no form"},
		{"map of ints", map[int]int{1: 1}, "must be strings"},
		{"itself", self, "too deep"},
		{"two of a name", struct {
			A int `ipld:"x"`
			B int `ipld:"x"`
		}{}, "two fields"},
		{"too large", make([]byte, block.MaxSize+1), "too large"},
	} {
		if _, err := Encode(tt.v); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", tt.name, err, tt.want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	encode := func(v any) block.Block {
		b, err := Encode(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	check := func(name string, err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, want)
		}
	}
	_, err := Decode[int8](encode(300))
	check("overflow", err, "300 doesn't fit into int8")
	_, err = Decode[uint](encode(-1))
	check("negative", err, "doesn't fit")
	_, err = Decode[struct{ A []string }](encode(map[string]any{"A": []any{"x", 1}}))
	check("path", err, "A: [1]: 1 doesn't fit into string")
	_, err = Decode[string](encode(nil))
	check("null", err, "null doesn't fit into string")
	_, err = Decode[[2]byte](encode([]byte{1}))
	check("short array", err, "1 bytes don't fit")
	bad, err := block.New(block.DagCBOR, []byte{0xff})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode[any](bad); !errors.Is(err, block.ErrMalformed) {
		t.Errorf("malformed: got %v, want ErrMalformed", err)
	}
	raw, err := block.New(block.Raw, []byte{0x01})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode[any](raw); !errors.Is(err, block.ErrMalformed) {
		t.Errorf("another codec: got %v, want ErrMalformed", err)
	}
}

func FuzzDecode(f *testing.F) {
	b, err := Encode(event{Name: "a", Any: []any{1, "x", nil}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b.Data())
	f.Add([]byte("\xa1\x61a\x81\x81\x81\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := block.New(block.DagCBOR, data)
		if err != nil {
			return
		}
		v, err := Decode[any](b)
		if err != nil {
			return
		}
		// A decoded value encodes to an equal one. Strings that are not UTF-8 occur,
		// and are decoded but not encoded.
		again, err := Encode(v)
		if err != nil && strings.Contains(err.Error(), "is not UTF-8") {
			return
		}
		if err != nil {
			t.Fatalf("encode %#v: %v", v, err)
		}
		w, err := Decode[any](again)
		if err != nil || !reflect.DeepEqual(v, w) {
			t.Fatalf("got %#v, %v, want %#v", w, err, v)
		}
		// Other types must not panic.
		Decode[event](b)
	})
}
