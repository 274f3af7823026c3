package kubo

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/store"
)

func TestPins(t *testing.T) {
	d := newDaemon(t, nil)
	one, two := d.add(t, []byte("one"), cairn.AddOptions{NoPin: true}).CID.String(), d.add(t, []byte("two"), cairn.AddOptions{NoPin: true}).CID.String()
	equalJSON(t, "pin/ls of none", d.ask(t, "pin/ls").body, `{"Keys":{}}`)
	equalJSON(t, "pin/add", d.ask(t, "pin/add", "arg", one, "arg", "/ipfs/"+two).body, `{"Pins":["`+one+`","`+two+`"]}`)
	equalJSON(t, "pin/ls", d.ask(t, "pin/ls", "arg", one).body, `{"Keys":{"`+one+`":{"Type":"recursive","Name":""}}}`)
	d.ask(t, "pin/add", "arg", one, "name", "first")
	lines := []string{`{"Cid":"` + one + `","Name":"first","Type":"recursive"}`, `{"Cid":"` + two + `","Type":"recursive"}`}
	if two < one {
		lines[0], lines[1] = lines[1], lines[0]
	}
	equalJSON(t, "pin/ls, streamed", d.ask(t, "pin/ls", "stream", "true", "names", "true").body, lines...)
	equalJSON(t, "pin/ls by name", d.ask(t, "pin/ls", "name", "fir").body, `{"Keys":{"`+one+`":{"Type":"recursive","Name":"first"}}}`)
	equalJSON(t, "pin/ls of direct ones", d.ask(t, "pin/ls", "type", "direct").body, `{"Keys":{}}`)
	equalJSON(t, "pin/rm", d.ask(t, "pin/rm", "arg", two).body, `{"Pins":["`+two+`"]}`)
	for query, want := range map[string]string{
		"pin/rm?arg=" + two:                     "not pinned or pinned indirectly",
		"pin/ls?arg=" + two:                     "is not pinned",
		"pin/add?recursive=false&arg=" + two:    "only whole DAGs",
		"pin/ls?type=none":                      "no pins of type",
		"pin/update?arg=" + two + "&arg=" + one: "not recursively pinned",
		"pin/add?arg=" + newBlock(t, block.Raw, []byte("elsewhere")).CID().String(): "ipld: could not find",
	} {
		verb, q, _ := strings.Cut(query, "?")
		if a := d.post(t, verb, q, "", nil); a.status < 400 || !strings.Contains(a.body, want) {
			t.Errorf("%s: got status %d: %s", query, a.status, a.body)
		}
	}
	equalJSON(t, "pin/update", d.ask(t, "pin/update", "arg", one, "arg", two).body, `{"Pins":["`+one+`","`+two+`"]}`)
	equalJSON(t, "pin/verify", strings.SplitAfter(d.ask(t, "pin/verify", "verbose", "true").body, "\n")[0], `{"Cid":"`+one+`","Ok":true}`)
	absent := newBlock(t, block.Raw, []byte("absent")).CID()
	if err := d.node.SetAlias(t.Context(), "absent", absent); err != nil {
		t.Fatal(err)
	}
	if got := d.ask(t, "pin/verify").body; !strings.Contains(got, `"BadNodes":[{"Cid":"`+absent.String()+`","Err":`) || strings.Count(got, "\n") != 1 {
		t.Errorf("pin/verify: got %s", got)
	}
}

// TestEvictionDuringPin evicts while the blocks of a new pin are fetched: they
// stay.
func TestEvictionDuringPin(t *testing.T) {
	ctx := t.Context()
	theirs := newDaemon(t, nil)
	first := theirs.add(t, noise(1000, 1), cairn.AddOptions{}).CID
	second := theirs.add(t, noise(1000, 2), cairn.AddOptions{}).CID
	third := theirs.add(t, noise(1000, 3), cairn.AddOptions{}).CID
	var ours *daemon
	gateway := theirs.node.Gateway()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// All garbage goes.
		if _, err := ours.node.Store().Evict(r.Context(), store.EvictOptions{}); err != nil {
			t.Errorf("evict: %v", err)
		}
		gateway.ServeHTTP(w, r)
	}))
	defer web.Close()
	ours = newDaemon(t, newNode(t, cairn.Config{Routing: cairn.RoutingNone, Gateways: []string{web.URL}}))
	whole := func(what string, query ...string) {
		t.Helper()
		ours.ask(t, what, query...)
		for _, k := range query {
			if !strings.HasPrefix(k, "b") {
				continue
			}
			if a := ours.post(t, "block/stat", "offline=true&arg="+k, "", nil); a.status != http.StatusOK {
				t.Errorf("%s: %s is pinned, but missing: %s", what, k, a.body)
			}
		}
	}
	whole("pin/add", "arg", first.String(), "arg", second.String())
	whole("pin/update", "arg", first.String(), "arg", third.String(), "unpin", "false")
	// Only the pins kept them.
	ours.ask(t, "pin/rm", "arg", first.String(), "arg", second.String(), "arg", third.String())
	if done, err := ours.node.Store().Evict(ctx, store.EvictOptions{}); err != nil || done.Blocks != 3 {
		t.Errorf("evict former pins: got %+v, %v, want three blocks", done, err)
	}
}
