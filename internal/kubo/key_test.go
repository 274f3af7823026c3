package kubo

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/internal/names"
	"github.com/ipfs/boxo/files"
)

func TestKeys(t *testing.T) {
	d := newDaemon(t, nil)
	var k struct{ Name, Id string }
	if err := json.Unmarshal([]byte(d.ask(t, "key/gen", "arg", "site", "type", "ed25519").body), &k); err != nil || k.Name != "site" {
		t.Fatalf("key/gen: got %+v, %v", k, err)
	}
	name, err := names.ParseName(k.Id)
	if err != nil {
		t.Fatal(err)
	}
	b58 := name.Peer().String()
	var id idShape
	if err := json.Unmarshal([]byte(d.ask(t, "id").body), &id); err != nil {
		t.Fatal(err)
	}
	equalJSON(t, "key/list", d.ask(t, "key/list", "ipns-base", "b58mh").body,
		`{"Keys":[{"Name":"self","Id":"`+id.ID+`"},{"Name":"site","Id":"`+b58+`"}]}`)
	equalJSON(t, "key/rename", d.ask(t, "key/rename", "arg", "site", "arg", "page").body,
		`{"Was":"site","Now":"page","Id":"`+k.Id+`","Overwrite":false}`)
	exported := d.ask(t, "key/export", "arg", "page").body
	equalJSON(t, "key/rm", d.ask(t, "key/rm", "arg", "page").body, `{"Keys":[{"Name":"page","Id":"`+k.Id+`"}]}`)
	equalJSON(t, "key/import", d.upload(t, "key/import", "arg=back", map[string]files.Node{"key": files.NewBytesFile([]byte(exported))}),
		`{"Name":"back","Id":"`+k.Id+`"}`)
	for _, ask := range []string{
		"key/gen?arg=x&type=rsa", "key/gen?arg=x&ipns-base=base1", "key/rename?arg=back&arg=x&force=true", "key/export?arg=back&format=der",
	} {
		verb, query, _ := strings.Cut(ask, "?")
		if a := d.post(t, verb, query, "", nil); a.status != http.StatusBadRequest {
			t.Errorf("%s: got status %d: %s", ask, a.status, a.body)
		}
	}
	kind, body := formOf(t, map[string]files.Node{"key": files.NewBytesFile(make([]byte, maxKeyFile+1))})
	if a := d.post(t, "key/import", "arg=x", kind, body); a.status != http.StatusBadRequest {
		t.Errorf("an oversized key: got status %d: %s", a.status, a.body)
	}
}

// Private keys stay on the machine: requests from others are refused.
func TestKeysStayOnThisMachine(t *testing.T) {
	d := newDaemon(t, nil)
	for verb, secret := range map[string]bool{"key/export": true, "key/import": true, "key/list": false} {
		for from, far := range map[string]bool{"192.0.2.7:1234": true, "[2001:db8::1]:5": true, "127.0.0.1:1": false, "[::ffff:127.0.0.1]:1": false, "nonsense": true} {
			query := "?arg=self"
			if verb == "key/list" {
				query = ""
			}
			r := httptest.NewRequest(http.MethodPost, "http://localhost:5001"+httpapi.Prefix+verb+query, nil)
			r.RemoteAddr = from
			w := httptest.NewRecorder()
			newServer(d.node, httpapi.Config{}).ServeHTTP(w, r)
			if refused := w.Code == http.StatusForbidden; refused != (secret && far) {
				t.Errorf("%s from %s: got status %d: %s", verb, from, w.Code, w.Body)
			}
		}
	}
}
