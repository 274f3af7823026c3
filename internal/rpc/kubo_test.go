package rpc

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/boxo/files"
)

// These tests hold the answers against Kubo's shapes, with requests as Kubo's
// own clients make them: their multipart bodies come from boxo.

// kuboBody is a multipart body as Kubo's Go client sends it.
func kuboBody(t *testing.T, entries map[string]files.Node) (contentType string, body io.Reader) {
	t.Helper()
	r := files.NewMultiFileReader(files.NewMapDirectory(entries), true, false)
	return "multipart/form-data; boundary=" + r.Boundary(), r
}

// kuboAdd posts a body to a verb, and returns the lines.
func (d *daemon) kubo(t *testing.T, verb, query string, entries map[string]files.Node) string {
	t.Helper()
	kind, body := kuboBody(t, entries)
	a := d.post(t, verb, query, kind, body)
	if a.status != http.StatusOK || a.trailer.Get(streamError) != "" {
		t.Fatalf("%s?%s: got status %d and %q: %s", verb, query, a.status, a.trailer.Get(streamError), a.body)
	}
	return a.body
}

func file(text string) files.Node { return files.NewBytesFile([]byte(text)) }

func TestKuboAdd(t *testing.T) {
	d := newDaemon(t, nil, Config{})
	const hello = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o" // what Kubo says of "hello world\n"
	one := map[string]files.Node{"hello": file("hello world\n")}
	equalJSON(t, "a file", d.kubo(t, "add", "", one), `{"Name":"hello","Hash":"`+hello+`","Size":"20"}`)
	equalJSON(t, "progress", d.kubo(t, "add", "progress=true", map[string]files.Node{"hello": file("hello world\n")}),
		`{"Name":"hello","Bytes":12}`, `{"Name":"hello","Hash":"`+hello+`","Size":"20"}`)
	equalJSON(t, "version 1", d.kubo(t, "add", "cid-version=1", map[string]files.Node{"hello": file("hello world\n")}),
		`{"Name":"hello","Hash":"bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4","Size":"12"}`)
	if _, err := d.node.Store().GetAlias(t.Context(), "pin/bafybeicg2rebjoofv4kbyovkw7af3rpiitvnl6i7ckcywaq6xjcxnc2mby"); err != nil {
		t.Errorf("not pinned: %v", err)
	}

	tree := func() map[string]files.Node {
		return map[string]files.Node{"tree": files.NewMapDirectory(map[string]files.Node{
			"a":     file("aaa\n"),
			"empty": files.NewMapDirectory(nil),
			"sub":   files.NewMapDirectory(map[string]files.Node{"b c%": file("bbb\n"), "link": files.NewLinkFile("../a", nil)}),
		})}
	}
	// The same tree on disk, which the import tests hold against Kubo.
	dir := filepath.Join(t.TempDir(), "tree")
	if err := os.MkdirAll(filepath.Join(dir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.Mkdir(filepath.Join(dir, "sub"), 0o755), os.WriteFile(filepath.Join(dir, "a"), []byte("aaa\n"), 0o644),
		os.WriteFile(filepath.Join(dir, "sub/b c%"), []byte("bbb\n"), 0o644), os.Symlink("../a", filepath.Join(dir, "sub/link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want, err := Hash(t.Context(), AddRequest{Items: []AddItem{{Path: dir}}, Options: cairn.AddOptions{Profile: "unixfs-v0-2015"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{"", "only-hash=true", "pin=false", "pin-name=tree"} {
		lines := strings.Split(strings.TrimSpace(d.kubo(t, "add", query, tree())), "\n")
		last := lines[len(lines)-1]
		equalJSON(t, "tree "+query, last, fmt.Sprintf(`{"Name":"tree","Hash":%q,"Size":"%d"}`, want[0].CID, want[0].DAGSize))
		for _, name := range []string{"tree/a", "tree/sub/b c%", "tree/sub", "tree/empty"} {
			if !strings.Contains(strings.Join(lines, "\n"), `{"Name":"`+name+`","Hash":"Qm`) {
				t.Errorf("%q: nothing is told of %s: %q", query, name, lines)
			}
		}
		if len(lines) != 5 {
			t.Errorf("%q: got %q, want five lines", query, lines)
		}
	}
	if a, err := d.node.Store().GetAlias(t.Context(), "tree"); err != nil || !block.Equal(a.Root, want[0].CID) {
		t.Errorf("pin-name: got %v, %v", a.Root, err)
	}
	equalJSON(t, "quieter", d.kubo(t, "add", "quieter=true", tree()),
		fmt.Sprintf(`{"Name":"tree","Hash":%q,"Size":"%d"}`, want[0].CID, want[0].DAGSize))
	if got := d.kubo(t, "add", "silent=true", tree()); got != "" {
		t.Errorf("silent: got %q", got)
	}

	// Wrapped; several; a name that isn't there.
	lines := strings.Split(strings.TrimSpace(d.kubo(t, "add", "wrap-with-directory=true", map[string]files.Node{"x": file("x"), "y": file("y")})), "\n")
	var root struct{ Name, Hash string }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &root); err != nil || root.Name != "" || len(lines) != 3 {
		t.Errorf("wrapped: got %q, %v", lines, err)
	}
	equalJSON(t, "cat below it", `"`+d.ask(t, "cat", "arg", "/ipfs/"+root.Hash+"/y").body+`"`, `"y"`)
	equalJSON(t, "several", d.kubo(t, "add", "cid-version=1", map[string]files.Node{"x": file("x"), "y": file("y")}),
		lineOf(t, "x"), lineOf(t, "y"))
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	p, err := w.CreateFormField("data")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Write([]byte("hello world\n")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	a := d.post(t, "add", "", w.FormDataContentType(), &form)
	equalJSON(t, "without a name", a.body, `{"Name":"`+hello+`","Hash":"`+hello+`","Size":"20"}`)

	// What isn't done is said, and nothing else is done in its place.
	for _, query := range []string{
		"nocopy=true", "inline=true", "fscache=true", "raw-leaves=true&cid-version=0", "to-files=/x", "mtime=5", "preserve-mode=true",
		"chunker=knife", "hash=none", "hash=md5", "cid-version=2", "cid-version=x", "pin=maybe", "max-file-links=1",
	} {
		kind, body := kuboBody(t, map[string]files.Node{"hello": file("x")})
		if a := d.post(t, "add", query, kind, body); a.status != http.StatusBadRequest || !strings.Contains(a.body, `"Code":1,"Type":"error"`) {
			t.Errorf("%s: got status %d: %s", query, a.status, a.body)
		}
	}
}

// lineOf is what add says of a file whose name is its content.
func lineOf(t *testing.T, text string) string {
	t.Helper()
	b := newBlock(t, block.Raw, []byte(text))
	return fmt.Sprintf(`{"Name":%q,"Hash":%q,"Size":"%d"}`, text, b.CID(), len(text))
}

func TestKuboBlocks(t *testing.T) {
	d := newDaemon(t, nil, Config{})
	const key = "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4"
	equalJSON(t, "block/put", d.kubo(t, "block/put", "", map[string]files.Node{"": file("hello world\n")}), `{"Key":"`+key+`","Size":12}`)
	equalJSON(t, "block/stat", d.ask(t, "block/stat", "arg", key).body, `{"Key":"`+key+`","Size":12}`)
	if got := d.ask(t, "block/get", "arg", "/ipfs/"+key); got.body != "hello world\n" || got.header.Get(streamOutput) != "1" {
		t.Errorf("block/get: got %q with %v", got.body, got.header)
	}
	d.kubo(t, "block/put", "pin=true&mhtype=blake3&cid-codec=raw", map[string]files.Node{"": file("x")})
	equalJSON(t, "block/put v0", d.kubo(t, "block/put", "format=v0", map[string]files.Node{"": file("\n\x02\x08\x01")}),
		`{"Key":"QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn","Size":4}`)
	equalJSON(t, "block/rm", d.ask(t, "block/rm", "arg", key).body, `{"Hash":"`+key+`"}`)
	got := d.ask(t, "block/rm", "arg", key).body
	if !strings.Contains(got, `"Error":`) || !strings.Contains(got, "ipld: could not find "+key) {
		t.Errorf("block/rm again: got %s", got)
	}
	if got := d.ask(t, "block/rm", "arg", key, "force", "true"); got.body != "" || got.header.Get(chunkedOutput) != "1" {
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

func TestKuboFiles(t *testing.T) {
	d := newDaemon(t, nil, Config{})
	d.kubo(t, "add", "cid-version=1&pin-name=tree", map[string]files.Node{"tree": files.NewMapDirectory(map[string]files.Node{
		"a": file("aaa\n"), "sub": files.NewMapDirectory(map[string]files.Node{"b": file("bbb\n"), "l": files.NewLinkFile("b", nil)}),
	})})
	alias, err := d.node.Store().GetAlias(t.Context(), "tree")
	if err != nil {
		t.Fatal(err)
	}
	root := alias.Root.String()
	sub := strings.TrimPrefix(strings.Trim(strings.SplitN(d.ask(t, "resolve", "arg", root+"/sub").body, `"`, 5)[3], "\n"), "/ipfs/")

	if got := d.ask(t, "cat", "arg", root+"/a", "arg", root+"/sub/b", "offset", "2", "length", "4"); got.body != "a\nbb" || got.header.Get(contentLength) != "4" {
		t.Errorf("cat: got %q, %v", got.body, got.header)
	}
	aaa := newBlock(t, block.Raw, []byte("aaa\n")).CID().String()
	bbb := newBlock(t, block.Raw, []byte("bbb\n")).CID().String()
	zero := `"Mode":0,"ModTime":"0001-01-01T00:00:00Z"`
	linkA := `{"Name":"a","Hash":"` + aaa + `","Size":4,"Type":2,"Target":"",` + zero + `}`
	linkSub := `{"Name":"sub","Hash":"` + sub + `","Size":0,"Type":1,"Target":"",` + zero + `}`
	equalJSON(t, "ls", d.ask(t, "ls", "arg", root).body, `{"Objects":[{"Hash":"`+root+`","Links":[`+linkA+`,`+linkSub+`]}]}`)
	equalJSON(t, "ls, streamed", d.ask(t, "ls", "arg", root, "stream", "true").body,
		`{"Objects":[{"Hash":"`+root+`","Links":[`+linkA+`]}]}`, `{"Objects":[{"Hash":"`+root+`","Links":[`+linkSub+`]}]}`)
	if got := d.ask(t, "ls", "arg", sub).body; !strings.Contains(got, `"Type":4,"Target":"b"`) {
		t.Errorf("ls of a symlink: got %s", got)
	}
	equalJSON(t, "ls of a file", d.ask(t, "ls", "arg", aaa).body, `{"Objects":[{"Hash":"`+aaa+`","Links":[]}]}`)
	equalJSON(t, "refs", d.ask(t, "refs", "arg", root).body, `{"Ref":"`+aaa+`","Err":""}`, `{"Ref":"`+sub+`","Err":""}`)
	got := d.ask(t, "refs", "arg", root, "recursive", "true", "unique", "true").body
	if strings.Count(got, "\n") != 4 || !strings.Contains(got, bbb) {
		t.Errorf("refs, recursive: got %s", got)
	}
	equalJSON(t, "refs, edges", strings.SplitAfter(d.ask(t, "refs", "arg", sub, "edges", "true").body, "\n")[0],
		`{"Ref":"`+sub+` -> `+bbb+`","Err":""}`)
	equalJSON(t, "resolve", d.ask(t, "resolve", "arg", "/ipfs/"+root+"/sub/b").body, `{"Path":"/ipfs/`+bbb+`"}`)
	equalJSON(t, "dag/resolve", d.ask(t, "dag/resolve", "arg", root+"/Links/0/Name").body, `{"Cid":{"/":"`+root+`"},"RemPath":"Links/0/Name"}`)
	if got := d.ask(t, "refs/local").body; !strings.Contains(got, `{"Ref":"`) {
		t.Errorf("refs/local: got %s", got)
	}

	// Archives.
	names := func(r io.Reader) (all []string) {
		in := tar.NewReader(r)
		for {
			h, err := in.Next()
			if err == io.EOF {
				return all
			}
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, h.Name)
		}
	}
	want := fmt.Sprint([]string{root + "/", root + "/a", root + "/sub/", root + "/sub/b", root + "/sub/l"})
	a := d.ask(t, "get", "arg", root)
	if got := fmt.Sprint(names(strings.NewReader(a.body))); got != want && strings.ReplaceAll(got, "/ ", " ") != strings.ReplaceAll(want, "/ ", " ") {
		t.Errorf("get: got %s, want %s", got, want)
	}
	if a.header.Get("Content-Type") != "application/x-tar" {
		t.Errorf("get: got %v", a.header)
	}
	unzip := func(s string) io.Reader {
		r, err := gzip.NewReader(strings.NewReader(s))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	plain, err := io.ReadAll(unzip(d.ask(t, "get", "arg", root+"/a", "compress", "true", "compression-level", "9").body))
	if err != nil || string(plain) != "aaa\n" {
		t.Errorf("get, compressed: got %q, %v", plain, err)
	}
	if got := names(unzip(d.ask(t, "get", "arg", root+"/a", "compress", "true", "archive", "true").body)); fmt.Sprint(got) != "[a]" {
		t.Errorf("get, a compressed archive: got %v", got)
	}
	if a := d.post(t, "get", "arg="+root+"&compress=true&compression-level=77", "", nil); a.status != 400 {
		t.Errorf("a strange level: got status %d", a.status)
	}
}

func TestKuboDAG(t *testing.T) {
	d := newDaemon(t, nil, Config{})
	got := d.kubo(t, "dag/put", "pin=true", map[string]files.Node{"": file(`{"hello":"world"}`)})
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

	big := d.added(t, noise(2<<20, 5), cairn.AddOptions{})
	exported := d.ask(t, "dag/export", "arg", big.CID.String())
	other := newDaemon(t, nil, Config{})
	equalJSON(t, "dag/import", other.kubo(t, "dag/import", "stats=true", map[string]files.Node{"": file(exported.body)}),
		`{"Root":{"Cid":{"/":"`+big.CID.String()+`"},"PinErrorMsg":""}}`, `{"Stats":{"BlockCount":3,"BlockBytesCount":`+fmt.Sprint(big.DAGSize)+`}}`)
	if _, err := other.node.Store().GetAlias(t.Context(), cairn.PinName(big.CID)); err != nil {
		t.Errorf("not pinned: %v", err)
	}
	third := newDaemon(t, nil, Config{})
	if got := third.kubo(t, "dag/import", "pin-roots=false", map[string]files.Node{"": file(exported.body)}); got != "" {
		t.Errorf("dag/import without pins: got %q", got)
	}
	if got := third.kubo(t, "dag/import", "silent=true&stats=true", map[string]files.Node{"": file(exported.body)}); got != "" {
		t.Errorf("dag/import, silent: got %q", got)
	}
	kind, body := kuboBody(t, map[string]files.Node{"": file(exported.body[:len(exported.body)-5])})
	if a := third.post(t, "dag/import", "", kind, body); a.status != 500 {
		t.Errorf("a CAR cut short: got status %d: %s", a.status, a.body)
	}
	for _, query := range []string{"input-codec=none", "store-codec=none", "hash=none"} {
		kind, body := kuboBody(t, map[string]files.Node{"": file("1")})
		if a := d.post(t, "dag/put", query, kind, body); a.status != 400 {
			t.Errorf("dag/put?%s: got status %d: %s", query, a.status, a.body)
		}
	}
}

func TestKuboPins(t *testing.T) {
	d := newDaemon(t, nil, Config{})
	one, two := d.added(t, []byte("one"), cairn.AddOptions{NoPin: true}).CID.String(), d.added(t, []byte("two"), cairn.AddOptions{NoPin: true}).CID.String()
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
		"pin/add?arg=" + newBlock(t, block.Raw, []byte("nowhere")).CID().String(): "ipld: could not find",
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

func TestKuboRest(t *testing.T) {
	d := newDaemon(t, nil, Config{Version: "9.9"})
	const v0 = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"
	const v1 = "bafybeicg2rebjoofv4kbyovkw7af3rpiitvnl6i7ckcywaq6xjcxnc2mby"
	equalJSON(t, "cid/base32", d.ask(t, "cid/base32", "arg", v0).body, `{"CidStr":"`+v0+`","Formatted":"`+v1+`","ErrorMsg":""}`)
	if got := d.ask(t, "cid/base32", "arg", "x").body; !strings.Contains(got, `"CidStr":"x","Formatted":"","ErrorMsg":"`) || strings.Contains(got, `"ErrorMsg":""`) {
		t.Errorf("cid/base32 of no CID: got %s", got)
	}
	equalJSON(t, "cid/format", d.ask(t, "cid/format", "arg", v1, "v", "0").body, `{"CidStr":"`+v1+`","Formatted":"`+v0+`","ErrorMsg":""}`)
	equalJSON(t, "cid/format with a pattern", d.ask(t, "cid/format", "arg", v0, "f", "%V-%v-%c-%h-%L-%b-%%").body,
		`{"CidStr":"`+v0+`","Formatted":"0-cidv0-dag-pb-sha2-256-32-base58btc-%","ErrorMsg":""}`)
	if got := d.ask(t, "cid/codecs", "supported", "true").body; !strings.Contains(got, `{"Code":113,"Name":"dag-cbor"}`) {
		t.Errorf("cid/codecs: got %s", got)
	}
	var stat struct{ RepoSize, StorageMax, NumObjects uint64 }
	if err := json.Unmarshal([]byte(d.ask(t, "repo/stat").body), &stat); err != nil || stat.StorageMax < stat.RepoSize {
		t.Errorf("repo/stat: got %+v, %v", stat, err)
	}
	d.added(t, []byte("garbage"), cairn.AddOptions{NoPin: true})
	d.ask(t, "repo/gc")
	if st, err := d.node.Store().Stats(t.Context()); err != nil || st.CachedBlocks != 0 {
		t.Errorf("repo/gc: left %d blocks, %v", st.CachedBlocks, err)
	}
	if got := d.ask(t, "repo/verify").body; !strings.Contains(got, "all blocks validated") {
		t.Errorf("repo/verify: got %s", got)
	}
	d.ask(t, "repo/version")
	if got := d.ask(t, "version").body; !strings.Contains(got, `"Version":"9.9"`) || !strings.Contains(got, `"Golang":"go`) {
		t.Errorf("version: got %s", got)
	}
	var id idShape
	if err := json.Unmarshal([]byte(d.ask(t, "id").body), &id); err != nil || id.ID == "" || id.PublicKey == "" {
		t.Errorf("id: got %+v, %v", id, err)
	}
	for verb, query := range map[string]string{
		"swarm/connect": "arg=nonsense", "swarm/peers": "", "ping": "arg=nonsense", "swarm/disconnect": "arg=nonsense",
		"swarm/addrs": "", "swarm/addrs/local": "", "id": "arg=nonsense", "cat": "arg=" + v1 + "&timeout=1ms",
	} {
		if a := d.post(t, verb, query, "", nil); a.status < 400 || !strings.Contains(a.body, `"Type":"error"`) {
			t.Errorf("%s?%s: got status %d: %s", verb, query, a.status, a.body)
		}
	}
}

// TestSwarm is about two nodes with a network, on loopback.
func TestSwarm(t *testing.T) {
	listen := cairn.Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Local: true}
	d, far := newDaemon(t, newNode(t, listen), Config{}), newDaemon(t, newNode(t, listen), Config{})
	me, err := far.unix.Identity(t.Context())
	if err != nil || len(me.Addrs) == 0 || len(me.Protocols) == 0 {
		t.Fatalf("got %+v, %v", me, err)
	}
	addr := me.Addrs[0]
	equalJSON(t, "swarm/connect", d.ask(t, "swarm/connect", "arg", addr).body, `{"Strings":["connect `+me.ID.String()+` success"]}`)
	var peers struct{ Peers []swarmPeer }
	if err := json.Unmarshal([]byte(d.ask(t, "swarm/peers", "verbose", "true", "identify", "true").body), &peers); err != nil {
		t.Fatal(err)
	}
	if len(peers.Peers) != 1 || peers.Peers[0].Peer != me.ID.String() || peers.Peers[0].Direction != 2 || peers.Peers[0].Identify.ID == "" {
		t.Errorf("swarm/peers: got %+v", peers)
	}
	if got := d.ask(t, "swarm/addrs").body; !strings.Contains(got, me.ID.String()) {
		t.Errorf("swarm/addrs: got %s", got)
	}
	equalJSON(t, "swarm/addrs/local", far.ask(t, "swarm/addrs/local", "id", "true").body, `{"Strings":["`+addr+`"]}`)
	bare, _, _ := strings.Cut(addr, "/p2p/")
	equalJSON(t, "swarm/addrs/listen", far.ask(t, "swarm/addrs/listen").body, `{"Strings":["`+bare+`"]}`)
	if got := d.ask(t, "id", "arg", me.ID.String()).body; !strings.Contains(got, `"ID":"`+me.ID.String()) {
		t.Errorf("id of a peer: got %s", got)
	}
	lines := strings.Split(strings.TrimSpace(d.ask(t, "ping", "arg", me.ID.String(), "count", "2", "interval", "1ms").body), "\n")
	if len(lines) != 4 || !strings.Contains(lines[0], "PING "+me.ID.String()) || !strings.Contains(lines[1], `"Success":true,"Time":`) || !strings.Contains(lines[3], "Average latency: ") {
		t.Errorf("ping: got %q", lines)
	}
	d.both(t, func(t *testing.T, c *Client) {
		all, err := c.Peers(t.Context())
		if err != nil || len(all) != 1 || all[0].ID != me.ID || !all[0].Connected || all[0].Inbound || all[0].Addr == nil || all[0].Since.IsZero() {
			t.Errorf("peers: got %+v, %v", all, err)
		}
		n := 0
		for rtt, err := range c.Ping(t.Context(), me.ID.String(), 3, 0) {
			if err != nil || rtt <= 0 {
				t.Errorf("ping: got %v, %v", rtt, err)
			}
			n++
		}
		if n != 3 {
			t.Errorf("got %d pings, want 3", n)
		}
	})

	// What Kubo's verbs don't find here comes from peers; our client's don't look.
	data := noise(3<<20, 9)
	file := far.added(t, data, cairn.AddOptions{})
	if err := d.unix.Cat(t.Context(), io.Discard, file.CID, 0, -1, nil); err == nil {
		t.Error("the client's Cat looked into the network")
	}
	if got := d.ask(t, "cat", "arg", file.CID.String()).body; got != string(data) {
		t.Errorf("cat: got %d bytes, want %d", len(got), len(data))
	}
	more := far.added(t, noise(2<<20, 10), cairn.AddOptions{})
	d.ask(t, "pin/add", "arg", more.CID.String())
	if _, err := d.node.Store().GetAlias(t.Context(), cairn.PinName(more.CID)); err != nil {
		t.Error(err)
	}
	for k, err := range d.node.Store().Missing(t.Context(), more.CID, store.Selection{}) {
		t.Fatalf("pinned, but not here: %s, %v", k, err)
	}
	last := far.added(t, noise(4<<20, 11), cairn.AddOptions{})
	var end cairn.SyncProgress
	for p, err := range d.tcp.Sync(t.Context(), last.CID, cairn.SyncOptions{From: []string{addr}, Alias: "last"}) {
		if err != nil {
			t.Fatal(err)
		}
		end = p
	}
	if !end.Done || end.Blocks != 5 || len(end.Sources) == 0 {
		t.Errorf("sync: got %+v", end)
	}
	if a, err := d.node.Store().GetAlias(t.Context(), "last"); err != nil || a.Root != last.CID {
		t.Errorf("got %v, %v", a.Root, err)
	}
	for _, err := range d.tcp.Sync(t.Context(), last.CID, cairn.SyncOptions{From: []string{"nonsense"}}) {
		if err == nil {
			t.Error("a wrong address: got progress")
		}
	}
	equalJSON(t, "swarm/disconnect", d.ask(t, "swarm/disconnect", "arg", addr).body, `{"Strings":["disconnect `+me.ID.String()+` success"]}`)
}
