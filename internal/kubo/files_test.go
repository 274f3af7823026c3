package kubo

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/ipfs/boxo/files"
)

func TestFiles(t *testing.T) {
	d := newDaemon(t, nil)
	d.upload(t, "add", "cid-version=1&pin-name=tree", map[string]files.Node{"tree": files.NewMapDirectory(map[string]files.Node{
		"a": file("aaa\n"), "sub": files.NewMapDirectory(map[string]files.Node{"b": file("bbb\n"), "l": files.NewLinkFile("b", nil)}),
	})})
	alias, err := d.node.Store().GetAlias(t.Context(), "tree")
	if err != nil {
		t.Fatal(err)
	}
	root := alias.Root.String()
	sub := strings.TrimPrefix(strings.Trim(strings.SplitN(d.ask(t, "resolve", "arg", root+"/sub").body, `"`, 5)[3], "\n"), "/ipfs/")

	if got := d.ask(t, "cat", "arg", root+"/a", "arg", root+"/sub/b", "offset", "2", "length", "4"); got.body != "a\nbb" || got.header.Get(httpapi.ContentLength) != "4" {
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
		t.Errorf("an unknown level: got status %d", a.status)
	}
}
