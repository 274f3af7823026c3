package kubo

import (
	"bytes"
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
	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/ipfs/boxo/files"
)

// These tests hold the answers against Kubo's shapes. The requests are those of
// Kubo's own clients: their multipart bodies come from boxo.

// formOf returns a multipart body as Kubo's Go client sends it.
func formOf(t *testing.T, entries map[string]files.Node) (contentType string, body io.Reader) {
	t.Helper()
	r := files.NewMultiFileReader(files.NewMapDirectory(entries), true, false)
	return "multipart/form-data; boundary=" + r.Boundary(), r
}

// upload posts a body to a verb, and returns the lines of the answer.
func (d *daemon) upload(t *testing.T, verb, query string, entries map[string]files.Node) string {
	t.Helper()
	kind, body := formOf(t, entries)
	a := d.post(t, verb, query, kind, body)
	if a.status != http.StatusOK || a.trailer.Get(httpapi.StreamError) != "" {
		t.Fatalf("%s?%s: got status %d and %q: %s", verb, query, a.status, a.trailer.Get(httpapi.StreamError), a.body)
	}
	return a.body
}

func file(text string) files.Node { return files.NewBytesFile([]byte(text)) }

func TestAdd(t *testing.T) {
	d := newDaemon(t, nil)
	const hello = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o" // Kubo's CID of "hello world\n"
	one := map[string]files.Node{"hello": file("hello world\n")}
	equalJSON(t, "a file", d.upload(t, "add", "", one), `{"Name":"hello","Hash":"`+hello+`","Size":"20"}`)
	equalJSON(t, "progress", d.upload(t, "add", "progress=true", map[string]files.Node{"hello": file("hello world\n")}),
		`{"Name":"hello","Bytes":12}`, `{"Name":"hello","Hash":"`+hello+`","Size":"20"}`)
	equalJSON(t, "version 1", d.upload(t, "add", "cid-version=1", map[string]files.Node{"hello": file("hello world\n")}),
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
	// The same tree on disk: the tests of import compare that with Kubo.
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
	want, err := control.Hash(t.Context(), control.AddRequest{Items: []control.AddItem{{Path: dir}}, Options: cairn.AddOptions{Profile: "unixfs-v0-2015"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{"", "only-hash=true", "pin=false", "pin-name=tree"} {
		lines := strings.Split(strings.TrimSpace(d.upload(t, "add", query, tree())), "\n")
		last := lines[len(lines)-1]
		equalJSON(t, "tree "+query, last, fmt.Sprintf(`{"Name":"tree","Hash":%q,"Size":"%d"}`, want[0].CID, want[0].DAGSize))
		for _, name := range []string{"tree/a", "tree/sub/b c%", "tree/sub", "tree/empty"} {
			if !strings.Contains(strings.Join(lines, "\n"), `{"Name":"`+name+`","Hash":"Qm`) {
				t.Errorf("%q: no line for %s: %q", query, name, lines)
			}
		}
		if len(lines) != 5 {
			t.Errorf("%q: got %q, want five lines", query, lines)
		}
	}
	if a, err := d.node.Store().GetAlias(t.Context(), "tree"); err != nil || !block.Equal(a.Root, want[0].CID) {
		t.Errorf("pin-name: got %v, %v", a.Root, err)
	}
	equalJSON(t, "quieter", d.upload(t, "add", "quieter=true", tree()),
		fmt.Sprintf(`{"Name":"tree","Hash":%q,"Size":"%d"}`, want[0].CID, want[0].DAGSize))
	if got := d.upload(t, "add", "silent=true", tree()); got != "" {
		t.Errorf("silent: got %q", got)
	}

	// Wrapped; several; without a name.
	lines := strings.Split(strings.TrimSpace(d.upload(t, "add", "wrap-with-directory=true", map[string]files.Node{"x": file("x"), "y": file("y")})), "\n")
	var root struct{ Name, Hash string }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &root); err != nil || root.Name != "" || len(lines) != 3 {
		t.Errorf("wrapped: got %q, %v", lines, err)
	}
	equalJSON(t, "cat below it", `"`+d.ask(t, "cat", "arg", "/ipfs/"+root.Hash+"/y").body+`"`, `"y"`)
	equalJSON(t, "several", d.upload(t, "add", "cid-version=1", map[string]files.Node{"x": file("x"), "y": file("y")}),
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

	// An option that isn't supported is refused, not ignored.
	for _, query := range []string{
		"nocopy=true", "inline=true", "fscache=true", "raw-leaves=true&cid-version=0", "to-files=/x", "mtime=5", "preserve-mode=true",
		"chunker=knife", "hash=none", "hash=md5", "cid-version=2", "cid-version=x", "pin=maybe", "max-file-links=1",
	} {
		kind, body := formOf(t, map[string]files.Node{"hello": file("x")})
		if a := d.post(t, "add", query, kind, body); a.status != http.StatusBadRequest || !strings.Contains(a.body, `"Code":1,"Type":"error"`) {
			t.Errorf("%s: got status %d: %s", query, a.status, a.body)
		}
	}
}

// lineOf returns the line of add for a file whose name is its content.
func lineOf(t *testing.T, text string) string {
	t.Helper()
	b := newBlock(t, block.Raw, []byte(text))
	return fmt.Sprintf(`{"Name":%q,"Hash":%q,"Size":"%d"}`, text, b.CID(), len(text))
}

// TestHostilePaths adds files whose names lead out of the tree.
func TestHostilePaths(t *testing.T) {
	d := newDaemon(t, nil)
	for _, name := range []string{"../x", "..%2fx", "a/../../x", "%2e%2e/x", "a%00b/c"} {
		text := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + name + "\"\r\n\r\nx\r\n--b--\r\n"
		if a := d.post(t, "add", "", "multipart/form-data; boundary=b", strings.NewReader(text)); a.status != 400 {
			t.Errorf("%s: got status %d: %s", name, a.status, a.body)
		}
	}
}
