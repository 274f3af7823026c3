package kubo

import (
	"net/http"
	"strings"
	"testing"

	"github.com/ipfs/boxo/files"
)

func TestBlocks(t *testing.T) {
	d := newDaemon(t, nil)
	const key = "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4"
	equalJSON(t, "block/put", d.upload(t, "block/put", "", map[string]files.Node{"": file("hello world\n")}), `{"Key":"`+key+`","Size":12}`)
	equalJSON(t, "block/stat", d.ask(t, "block/stat", "arg", key).body, `{"Key":"`+key+`","Size":12}`)
	if got := d.ask(t, "block/get", "arg", "/ipfs/"+key); got.body != "hello world\n" || got.header.Get("X-Stream-Output") != "1" {
		t.Errorf("block/get: got %q with %v", got.body, got.header)
	}
	d.upload(t, "block/put", "pin=true&mhtype=blake3&cid-codec=raw", map[string]files.Node{"": file("x")})
	equalJSON(t, "block/put v0", d.upload(t, "block/put", "format=v0", map[string]files.Node{"": file("\n\x02\x08\x01")}),
		`{"Key":"QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn","Size":4}`)
	equalJSON(t, "block/rm", d.ask(t, "block/rm", "arg", key).body, `{"Hash":"`+key+`"}`)
	got := d.ask(t, "block/rm", "arg", key).body
	if !strings.Contains(got, `"Error":`) || !strings.Contains(got, "ipld: could not find "+key) {
		t.Errorf("block/rm again: got %s", got)
	}
	if got := d.ask(t, "block/rm", "arg", key, "force", "true"); got.body != "" || got.header.Get("X-Chunked-Output") != "1" {
		t.Errorf("block/rm by force: got %q", got.body)
	}
	// Kubo's clients look for these words, and for status 500.
	a := d.post(t, "block/get", "arg="+key, "", nil)
	if a.status != http.StatusInternalServerError || !strings.Contains(a.body, "ipld: could not find "+key+`","Code":0,"Type":"error"`) {
		t.Errorf("block/get of nothing: got status %d: %s", a.status, a.body)
	}
	for query, want := range map[string]int{"": 400, "arg=nonsense": 400, "arg=" + key + "&arg=x": 400, "arg=/ipns/x": 400, "%zz": 400} {
		if a := d.post(t, "block/get", query, "", nil); a.status != want || !strings.Contains(a.body, `"Type":"error"`) {
			t.Errorf("block/get?%s: got status %d: %s", query, a.status, a.body)
		}
	}
}
