package rpc

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/names"
	"github.com/ipfs/boxo/files"
)

func (d *daemon) keys(t *testing.T, c *Client) (all []cairn.Key) {
	t.Helper()
	for k, err := range c.Keys(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, k)
	}
	return all
}

func TestKeys(t *testing.T) {
	d := newDaemon(t, nil, Config{})
	ctx := t.Context()
	d.both(t, func(t *testing.T, c *Client) {
		k, err := c.GenerateKey(ctx, "site")
		if err != nil || k.Name != "site" || !strings.HasPrefix(k.ID, "k51") {
			t.Fatalf("generate: got %+v, %v", k, err)
		}
		if _, err := c.GenerateKey(ctx, "site"); !errors.Is(err, cairn.ErrKeyExists) {
			t.Errorf("generate twice: got %v, want ErrKeyExists", err)
		}
		if renamed, err := c.RenameKey(ctx, "site", "page"); err != nil || renamed.ID != k.ID || renamed.Name != "page" {
			t.Errorf("rename: got %+v, %v", renamed, err)
		}
		if all := d.keys(t, c); len(all) != 2 || all[0].Name != cairn.SelfKey || all[1].Name != "page" {
			t.Errorf("list: got %+v", all)
		}
		pem, err := c.ExportKey(ctx, k.ID, cairn.KeyPEM)
		if err != nil || !bytes.HasPrefix(pem, []byte("-----BEGIN PRIVATE KEY")) {
			t.Errorf("export: got %.30q, %v", pem, err)
		}
		for _, gone := range [][]string{{"page", "none"}, {"page", cairn.SelfKey}} {
			if _, err := c.RemoveKeys(ctx, gone, false); err == nil {
				t.Errorf("remove %q: got no error", gone)
			}
		}
		for _, dryRun := range []bool{true, false} {
			if gone, err := c.RemoveKeys(ctx, []string{"page", k.ID}, dryRun); err != nil || len(gone) != 1 || gone[0].ID != k.ID {
				t.Errorf("remove: got %+v, %v", gone, err)
			}
		}
		if all := d.keys(t, c); len(all) != 1 {
			t.Errorf("list: got %+v, want self alone", all)
		}
		if back, err := c.ImportKey(ctx, "again", pem); err != nil || back.ID != k.ID {
			t.Errorf("import: got %+v, %v", back, err)
		}
		if _, err := c.RemoveKeys(ctx, []string{"again"}, false); err != nil {
			t.Error(err)
		}
		if _, err := c.ImportKey(ctx, "noise", []byte("noise")); !errors.Is(err, cairn.ErrNameInvalid) {
			t.Errorf("import noise: got %v, want ErrNameInvalid", err)
		}
		if _, err := c.ExportKey(ctx, "none", cairn.KeyPEM); !errors.Is(err, cairn.ErrNameNotFound) {
			t.Errorf("export none: got %v, want ErrNameNotFound", err)
		}
	})
}

func TestKuboKeys(t *testing.T) {
	d := newDaemon(t, nil, Config{})
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
	equalJSON(t, "key/import", d.kubo(t, "key/import", "arg=back", map[string]files.Node{"key": files.NewBytesFile([]byte(exported))}),
		`{"Name":"back","Id":"`+k.Id+`"}`)
	for _, ask := range []string{
		"key/gen?arg=x&type=rsa", "key/gen?arg=x&ipns-base=base1", "key/rename?arg=back&arg=x&force=true", "key/export?arg=back&format=der",
	} {
		verb, query, _ := strings.Cut(ask, "?")
		if a := d.post(t, verb, query, "", nil); a.status != http.StatusBadRequest {
			t.Errorf("%s: got status %d: %s", ask, a.status, a.body)
		}
	}
	kind, body := kuboBody(t, map[string]files.Node{"key": files.NewBytesFile(make([]byte, maxKeyFile+1))})
	if a := d.post(t, "key/import", "arg=x", kind, body); a.status != http.StatusBadRequest {
		t.Errorf("a key that is too long: got status %d: %s", a.status, a.body)
	}
}

// Private keys don't leave the machine: neither does the server give or take
// them, nor the client send them.
func TestKeysStayHere(t *testing.T) {
	d := newDaemon(t, nil, Config{})
	for verb, secret := range map[string]bool{"key/export": true, "key/import": true, "key/list": false} {
		for from, far := range map[string]bool{"192.0.2.7:1234": true, "[2001:db8::1]:5": true, "127.0.0.1:1": false, "[::ffff:127.0.0.1]:1": false, "nonsense": true} {
			query := "?arg=self"
			if verb == "key/list" {
				query = ""
			}
			r := httptest.NewRequest(http.MethodPost, "http://localhost:5001"+Prefix+verb+query, nil)
			r.RemoteAddr = from
			w := httptest.NewRecorder()
			NewServer(d.node, Config{}).ServeHTTP(w, r)
			if refused := w.Code == http.StatusForbidden; refused != (secret && far) {
				t.Errorf("%s from %s: got status %d: %s", verb, from, w.Code, w.Body)
			}
		}
	}
	for address, far := range map[string]bool{
		"192.0.2.7:5001": true, "https://node.example": true, "http://127.0.0.1.node.example:1": true, "/ip4/192.0.2.7/tcp/1": true,
		"127.0.0.1:1": false, "http://localhost:1": false, "/ip6/::1/tcp/1": false, "unix:/nowhere": false,
	} {
		c := dial(t, address)
		if err := c.confidential(); errors.Is(err, ErrForbidden) != far {
			t.Errorf("%s: got %v", address, err)
		}
		if !far {
			continue
		}
		if _, err := c.ImportKey(t.Context(), "x", []byte("x")); !errors.Is(err, ErrForbidden) {
			t.Errorf("import to %s: got %v, want ErrForbidden", address, err)
		}
		if _, err := c.ExportKey(t.Context(), "self", cairn.KeyPEM); !errors.Is(err, ErrForbidden) {
			t.Errorf("export from %s: got %v, want ErrForbidden", address, err)
		}
	}
}

func TestNames(t *testing.T) {
	d := newDaemon(t, newNode(t, cairn.Config{Offline: true, DNS: cairn.DNS{Static: map[string]string{"site.example": "/ipns/other.example", "other.example": "/ipfs/bafkqabtimvwgy3yk/x"}}}), Config{})
	ctx := t.Context()
	site, err := d.node.AddFS(ctx, fstest.MapFS{"a/b": {Data: []byte("hello")}}, cairn.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	path := "/ipfs/" + site.CID.String()
	d.both(t, func(t *testing.T, c *Client) {
		const large = int64(1<<53 + 1) // which no floating-point number is
		r, err := c.PublishName(ctx, "", path, cairn.PublishOptions{Lifetime: time.Hour, TTL: time.Minute, Metadata: map[string]any{"_n": 5, "_large": large, "_s": "x"}})
		if !errors.Is(err, cairn.ErrNotSent) || !errors.Is(err, cairn.ErrOffline) || r.Value != path || r.TTL != time.Minute || r.Metadata["_n"] != int64(5) || r.Metadata["_large"] != large || r.Metadata["_s"] != "x" {
			t.Fatalf("publish: got %+v, %v", r, err)
		}
		next, err := c.PublishName(ctx, cairn.SelfKey, site.CID.String(), cairn.PublishOptions{Offline: true})
		if err != nil || next.Sequence != r.Sequence+1 {
			t.Errorf("publish for later: got %+v, %v", next, err)
		}
		if _, err := c.PublishName(ctx, "", path, cairn.PublishOptions{Sequence: r.Sequence + 1}); !errors.Is(err, cairn.ErrRollback) {
			t.Errorf("publish below: got %v, want ErrRollback", err)
		}
		if _, err := c.PublishName(ctx, "none", path, cairn.PublishOptions{}); !errors.Is(err, cairn.ErrNameNotFound) {
			t.Errorf("publish with no key: got %v, want ErrNameNotFound", err)
		}
		got, err := c.ResolveName(ctx, "/ipns/"+r.Name+"/a", cairn.ResolveOptions{})
		want, werr := d.node.ResolveName(ctx, "/ipns/"+r.Name+"/a", cairn.ResolveOptions{})
		if err != nil || werr != nil || got.Path != want.Path || got.Root != want.Root || got.Rest != "a" || len(got.Steps) != 1 ||
			got.Steps[0].From != "here" || !bytes.Equal(got.Steps[0].Record.Raw, next.Raw) || !got.Steps[0].Heard.Equal(want.Steps[0].Heard) {
			t.Errorf("resolve: got %+v, %v, want %+v, %v", got, err, want, werr)
		}
		if got, err := c.ResolveName(ctx, "site.example", cairn.ResolveOptions{Latest: true}); err != nil || len(got.Steps) != 2 || got.Steps[1].From != "static" || got.Rest != "x" {
			t.Errorf("resolve a domain: got %+v, %v", got, err)
		}
		if got, err := c.NameRecord(ctx, r.Name, cairn.ResolveOptions{}); err != nil || !bytes.Equal(got.Raw, next.Raw) {
			t.Errorf("the record: got %+v, %v", got, err)
		}
		if _, err := c.PutNameRecord(ctx, r.Name, r.Raw); !errors.Is(err, cairn.ErrRollback) {
			t.Errorf("put an old record: got %v, want ErrRollback", err)
		}
		if got, err := c.PutNameRecord(ctx, r.Name, next.Raw); !errors.Is(err, cairn.ErrNotSent) || !bytes.Equal(got.Raw, next.Raw) {
			t.Errorf("put: got %+v, %v", got, err)
		}
		stranger := "k51qzi5uqu5dkkciu33khkzbcmxtyhn376i1e83tya8kuy7z9euedzyr5nhoew"
		if _, err := c.ResolveName(ctx, stranger, cairn.ResolveOptions{}); !errors.Is(err, cairn.ErrNameNotFound) || !errors.Is(err, cairn.ErrOffline) {
			t.Errorf("resolve a stranger: got %v, want ErrNameNotFound and ErrOffline", err)
		}
		if _, err := c.PublishName(ctx, "", path, cairn.PublishOptions{Metadata: map[string]any{"_b": []byte{1}}}); err == nil {
			t.Error("publish with bytes: got no error")
		}
	})
}

func TestKuboNames(t *testing.T) {
	d := newDaemon(t, newNode(t, cairn.Config{Offline: true, DNS: cairn.DNS{Static: map[string]string{"site.example": "/ipns/other.example", "other.example": "/ipfs/bafkqabtimvwgy3yk/x"}}}), Config{})
	site, err := d.node.AddFS(t.Context(), fstest.MapFS{"a/b": {Data: []byte("hello")}}, cairn.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	path := "/ipfs/" + site.CID.String()
	self, err := d.node.Keys()
	if err != nil {
		t.Fatal(err)
	}
	me, err := self.Info(cairn.SelfKey)
	if err != nil {
		t.Fatal(err)
	}
	if a := d.post(t, "name/publish", "arg="+path, "", nil); a.status < 400 || !strings.Contains(a.body, `nobody took the record`) {
		t.Errorf("name/publish offline: got status %d: %s", a.status, a.body)
	}
	equalJSON(t, "name/publish", d.ask(t, "name/publish", "arg", path, "allow-offline", "true", "lifetime", "24h").body,
		`{"Name":"`+me.ID+`","Value":"`+path+`"}`)
	if a := d.post(t, "name/publish", "arg=/ipfs/bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku&allow-offline=true", "", nil); a.status < 400 {
		t.Errorf("name/publish of what isn't here: got status %d: %s", a.status, a.body)
	}
	equalJSON(t, "name/resolve", d.ask(t, "name/resolve").body, `{"Path":"`+path+`"}`)
	equalJSON(t, "name/resolve a domain", d.ask(t, "name/resolve", "arg", "site.example").body, `{"Path":"/ipfs/bafkqabtimvwgy3yk/x"}`)
	equalJSON(t, "one step", d.ask(t, "name/resolve", "arg", "/ipns/site.example", "recursive", "false").body, `{"Path":"/ipns/other.example"}`)
	equalJSON(t, "dns", d.ask(t, "dns", "arg", "site.example").body, `{"Path":"/ipfs/bafkqabtimvwgy3yk/x"}`)
	sub, err := d.node.ResolvePath(t.Context(), path+"/a/b", cairn.ResolveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	equalJSON(t, "resolve", d.ask(t, "resolve", "arg", "/ipns/"+me.ID+"/a/b").body, `{"Path":"/ipfs/`+sub.String()+`"}`)
	if got := d.ask(t, "cat", "arg", "/ipns/"+me.ID+"/a/b").body; got != "hello" {
		t.Errorf("cat by name: got %q", got)
	}
	if got := d.ask(t, "ls", "arg", "ipns://"+me.ID+"/a", "offline", "true").body; !strings.Contains(got, sub.String()) {
		t.Errorf("ls by name: got %s", got)
	}
	d.ask(t, "pin/add", "arg", "/ipns/"+me.ID)

	record := d.ask(t, "name/get", "arg", me.ID)
	if record.header.Get("Content-Type") != recordType {
		t.Errorf("name/get: got the type %s", record.header.Get("Content-Type"))
	}
	file := func() map[string]files.Node { // which is read once
		return map[string]files.Node{"record": files.NewBytesFile([]byte(record.body))}
	}
	var seen inspection
	if err := json.Unmarshal([]byte(d.kubo(t, "name/inspect", "verify="+me.ID, file())), &seen); err != nil ||
		seen.Entry.Value != path || seen.Entry.Sequence != 1 || !seen.Validation.Valid || seen.PbSize != len(record.body) {
		t.Errorf("name/inspect: got %+v, %v", seen, err)
	}
	other, err := self.Generate("other")
	if err != nil {
		t.Fatal(err)
	}
	seen = inspection{}
	if err := json.Unmarshal([]byte(d.kubo(t, "name/inspect", "verify="+other.ID, file())), &seen); err != nil || seen.Validation.Valid || seen.Validation.Reason == "" {
		t.Errorf("name/inspect of another name's: got %+v, %v", seen, err)
	}
	equalJSON(t, "name/put", d.kubo(t, "name/put", "arg="+me.ID+"&allow-offline=true", file()), `{"Name":"`+me.ID+`","Value":"`+path+`"}`)

	kind, body := kuboBody(t, map[string]files.Node{"record": files.NewBytesFile(make([]byte, cairn.MaxNameRecord+1))})
	if a := d.post(t, "name/put", "arg="+me.ID, kind, body); a.status != http.StatusBadRequest {
		t.Errorf("a record that is too long: got status %d: %s", a.status, a.body)
	}
	for _, ask := range []string{
		"name/publish?arg=" + path + "&lifetime=soon", "name/publish?arg=" + path + "&sequence=-1", "name/publish?arg=" + path + "&metadata=x",
		"name/publish?arg=" + path + "&metadata={%22_n%22:1.5}", "cairn/sync?arg=" + path + "/x",
		"dns?arg=nothing", "dns?arg=site.example/x", "name/resolve?recursive=perhaps", "name/put?arg=x", "name/publish?arg=" + path + "&ipns-base=x",
		"resolve?arg=/ipns/site.example&offline=perhaps",
	} {
		verb, query, _ := strings.Cut(ask, "?")
		if a := d.post(t, verb, query, "", nil); a.status != http.StatusBadRequest {
			t.Errorf("%s: got status %d: %s", ask, a.status, a.body)
		}
	}
}

// What our client gets of a name, it reads from what was signed.
func TestNameRecordShape(t *testing.T) {
	n := newNode(t, cairn.Config{Offline: true})
	r, err := n.PublishName(t.Context(), "", "/ipfs/bafkqabtimvwgy3yk", cairn.PublishOptions{Offline: true, Metadata: map[string]any{"_b": []byte{1, 2}}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(ShapeOfNameRecord(r))
	if err != nil {
		t.Fatal(err)
	}
	if want := `"metadata":{"_b":{"/":{"bytes":"AQI="}}}`; !strings.Contains(string(text), want) || !strings.Contains(string(text), base64.StdEncoding.EncodeToString(r.Raw)) {
		t.Errorf("got %s, want %s in it", text, want)
	}
	lie := ShapeOfNameRecord(r)
	lie.Value, lie.Sequence = "/ipfs/x", 99
	if back, err := lie.record(); err != nil || back.Value != r.Value || back.Sequence != r.Sequence || fmt.Sprint(back.Metadata) != fmt.Sprint(r.Metadata) {
		t.Errorf("got %+v, %v, want %+v", back, err, r)
	}
	lie.Record[10] ^= 1
	if back, err := lie.record(); !errors.Is(err, cairn.ErrNameInvalid) {
		t.Errorf("of a forged one: got %+v, %v, want ErrNameInvalid", back, err)
	}
}
