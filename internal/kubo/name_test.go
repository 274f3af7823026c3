package kubo

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cairn-ipfs/cairn"
	"github.com/ipfs/boxo/files"
)

func TestNames(t *testing.T) {
	d := newDaemon(t, newNode(t, cairn.Config{Offline: true, DNS: cairn.DNS{Static: map[string]string{"site.example": "/ipns/other.example", "other.example": "/ipfs/bafkqabtimvwgy3yk/x"}}}))
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
		t.Errorf("name/publish of a block that isn't here: got status %d: %s", a.status, a.body)
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
	form := func() map[string]files.Node { // is read once
		return map[string]files.Node{"record": files.NewBytesFile([]byte(record.body))}
	}
	var seen inspection
	if err := json.Unmarshal([]byte(d.upload(t, "name/inspect", "verify="+me.ID, form())), &seen); err != nil ||
		seen.Entry.Value != path || seen.Entry.Sequence != 1 || !seen.Validation.Valid || seen.PbSize != len(record.body) {
		t.Errorf("name/inspect: got %+v, %v", seen, err)
	}
	other, err := self.Generate("other")
	if err != nil {
		t.Fatal(err)
	}
	seen = inspection{}
	if err := json.Unmarshal([]byte(d.upload(t, "name/inspect", "verify="+other.ID, form())), &seen); err != nil || seen.Validation.Valid || seen.Validation.Reason == "" {
		t.Errorf("name/inspect of another name's: got %+v, %v", seen, err)
	}
	equalJSON(t, "name/put", d.upload(t, "name/put", "arg="+me.ID+"&allow-offline=true", form()), `{"Name":"`+me.ID+`","Value":"`+path+`"}`)

	kind, body := formOf(t, map[string]files.Node{"record": files.NewBytesFile(make([]byte, cairn.MaxNameRecord+1))})
	if a := d.post(t, "name/put", "arg="+me.ID, kind, body); a.status != http.StatusBadRequest {
		t.Errorf("an oversized record: got status %d: %s", a.status, a.body)
	}
	for _, ask := range []string{
		"name/publish?arg=" + path + "&lifetime=soon", "name/publish?arg=" + path + "&sequence=-1", "name/publish?arg=" + path + "&metadata=x",
		"name/publish?arg=" + path + "&metadata={%22_n%22:1.5}",
		"dns?arg=nothing", "dns?arg=site.example/x", "name/resolve?recursive=perhaps", "name/put?arg=x", "name/publish?arg=" + path + "&ipns-base=x",
		"resolve?arg=/ipns/site.example&offline=perhaps",
	} {
		verb, query, _ := strings.Cut(ask, "?")
		if a := d.post(t, verb, query, "", nil); a.status != http.StatusBadRequest {
			t.Errorf("%s: got status %d: %s", ask, a.status, a.body)
		}
	}
}
