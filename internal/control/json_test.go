package control

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// TestJSON holds the forms of types that are not ours.
func TestJSON(t *testing.T) {
	k := cid.MustParse("bafkqabtimvwgy3yk")
	v := struct {
		CID   cid.Cid       `json:"cid"`
		None  cid.Cid       `json:"none"`
		CIDs  []cid.Cid     `json:"cids"`
		Took  time.Duration `json:"took"`
		Err   error         `json:"error,omitempty"`
		NoErr error         `json:"noError,omitempty"`
		Kind  store.EventKind
		Text  string `json:"text"`
	}{CID: k, CIDs: []cid.Cid{k}, Took: 1500 * time.Millisecond, Err: errors.New("broken"), Kind: store.EventAlias, Text: "<&>"}
	text, err := JSON(v)
	want := `{"cid":"` + k.String() + `","none":"","cids":["` + k.String() + `"],"took":1.5,"error":"broken","Kind":"alias","text":"\u003c\u0026\u003e"}`
	if err != nil || string(text) != want {
		t.Fatalf("got %s, %v, want %s", text, err, want)
	}
	back := v
	back.CID, back.CIDs, back.Took, back.Err, back.Kind, back.Text = cid.Undef, nil, 0, nil, 0, ""
	if err := decodeResult(text, &back); err != nil {
		t.Fatal(err)
	}
	if back.Err == nil || back.Err.Error() != "broken" {
		t.Errorf("got the error %v", back.Err)
	}
	back.Err = v.Err
	if fmt.Sprint(back) != fmt.Sprint(v) {
		t.Errorf("got %v, want %v", back, v)
	}
	for _, d := range []time.Duration{0, 1, -1, time.Hour + 1, 30 * 24 * time.Hour, 90*24*time.Hour + 123456789} {
		text, err := JSON(d)
		var back time.Duration
		if err == nil {
			err = decodeResult(text, &back)
		}
		if err != nil || back != d {
			t.Errorf("%s: got %s, then %s, %v", d, text, back, err)
		}
	}
	for text, to := range map[string]any{
		`"bafy"`: new(cid.Cid), `5`: new(cid.Cid), `1e10`: new(time.Duration), `"1s"`: new(time.Duration), `{"record":"AQ=="}`: new(cairn.NameRecord),
	} {
		if err := decodeResult([]byte(text), to); err == nil {
			t.Errorf("%s: got %v, want an error", text, to)
		}
	}
	if _, err := JSON(math.NaN()); err == nil {
		t.Error("got JSON of no number")
	}
	// An argument that no verb has is an error; a result may say more.
	for _, c := range []struct {
		what   string
		decode func([]byte, any) error
		fails  bool
	}{{"arguments", decodeArguments, true}, {"a result", decodeResult, false}} {
		for _, text := range []string{`{"name":"x","more":1}`, `{"Name":"x"}`} {
			var a AliasArgs
			if err := c.decode([]byte(text), &a); (err != nil) != c.fails {
				t.Errorf("%s %s: got %+v, %v", c.what, text, a, err)
			}
		}
	}
}

// TestNameRecord reads records from what was signed: the other fields are for
// people.
func TestNameRecord(t *testing.T) {
	n := newNode(t, cairn.Config{Offline: true})
	r, err := n.PublishName(t.Context(), "", "/ipfs/bafkqabtimvwgy3yk", cairn.PublishOptions{
		Offline: true, TTL: time.Minute, Metadata: map[string]any{"_b": []byte{1, 2}, "_large": int64(1<<53 + 1)},
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := JSON(r)
	if err != nil || !strings.Contains(string(text), `"ttl":60,"metadata":{"_b":{"/":{"bytes":"AQI="}},"_large":9007199254740993},"record":"`) {
		t.Fatalf("got %s, %v", text, err)
	}
	lie := strings.Replace(string(text), `"sequence":`, `"sequence":9`, 1)
	var back cairn.NameRecord
	if err := decodeResult([]byte(lie), &back); err != nil || back.Sequence != r.Sequence || back.Name != r.Name || fmt.Sprint(back.Metadata) != fmt.Sprint(r.Metadata) {
		t.Errorf("got %+v, %v, want %+v", back, err, r)
	}
	forged := r
	forged.Raw = append([]byte(nil), r.Raw...)
	forged.Raw[10] ^= 1
	if text, err = JSON(forged); err != nil {
		t.Fatal(err)
	}
	if err := decodeResult(text, &back); !errors.Is(err, cairn.ErrNameInvalid) {
		t.Errorf("of a forged one: got %+v, %v, want ErrNameInvalid", back, err)
	}
}
