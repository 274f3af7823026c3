package kubo

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/boxo/files"
)

func TestDAG(t *testing.T) {
	d := newDaemon(t, nil)
	got := d.upload(t, "dag/put", "pin=true", map[string]files.Node{"": file(`{"hello":"world"}`)})
	var put struct{ Cid link }
	if err := json.Unmarshal([]byte(got), &put); err != nil {
		t.Fatal(err)
	}
	b := newBlock(t, block.DagCBOR, []byte("\xa1\x65hello\x65world"))
	if put.Cid.CID != b.CID().String() {
		t.Errorf("dag/put: got %s, want %s", got, b.CID())
	}
	if a := d.ask(t, "dag/get", "arg", put.Cid.CID); a.body != `{"hello":"world"}` || a.header.Get("Content-Type") != "application/vnd.ipld.dag-json" {
		t.Errorf("dag/get: got %q, %v", a.body, a.header)
	}
	if a := d.ask(t, "dag/get", "arg", put.Cid.CID+"/hello", "output-codec", "json"); a.body != `"world"` {
		t.Errorf("dag/get of a path: got %q", a.body)
	}
	equalJSON(t, "dag/stat", d.ask(t, "dag/stat", "arg", put.Cid.CID).body,
		fmt.Sprintf(`{"UniqueBlocks":1,"TotalSize":%d,"Ratio":1,"DagStats":[{"Cid":%q,"Size":%d,"NumBlocks":1}]}`, b.Size(), put.Cid.CID, b.Size()))
	twice := d.ask(t, "dag/stat", "arg", put.Cid.CID, "arg", put.Cid.CID).body
	if !strings.Contains(twice, `"UniqueBlocks":1`) || !strings.Contains(twice, `"Ratio":2`) {
		t.Errorf("dag/stat of two: got %s", twice)
	}

	big := d.add(t, noise(2<<20, 5), cairn.AddOptions{})
	exported := d.ask(t, "dag/export", "arg", big.CID.String())
	other := newDaemon(t, nil)
	equalJSON(t, "dag/import", other.upload(t, "dag/import", "stats=true", map[string]files.Node{"": file(exported.body)}),
		`{"Root":{"Cid":{"/":"`+big.CID.String()+`"},"PinErrorMsg":""}}`, `{"Stats":{"BlockCount":3,"BlockBytesCount":`+fmt.Sprint(big.DAGSize)+`}}`)
	if _, err := other.node.Store().GetAlias(t.Context(), cairn.PinName(big.CID)); err != nil {
		t.Errorf("not pinned: %v", err)
	}
	third := newDaemon(t, nil)
	if got := third.upload(t, "dag/import", "pin-roots=false", map[string]files.Node{"": file(exported.body)}); got != "" {
		t.Errorf("dag/import without pins: got %q", got)
	}
	if got := third.upload(t, "dag/import", "silent=true&stats=true", map[string]files.Node{"": file(exported.body)}); got != "" {
		t.Errorf("dag/import, silent: got %q", got)
	}
	kind, body := formOf(t, map[string]files.Node{"": file(exported.body[:len(exported.body)-5])})
	if a := third.post(t, "dag/import", "", kind, body); a.status != 500 {
		t.Errorf("a CAR cut short: got status %d: %s", a.status, a.body)
	}
	for _, query := range []string{"input-codec=none", "store-codec=none", "hash=none"} {
		kind, body := formOf(t, map[string]files.Node{"": file("1")})
		if a := d.post(t, "dag/put", query, kind, body); a.status != 400 {
			t.Errorf("dag/put?%s: got status %d: %s", query, a.status, a.body)
		}
	}
}
