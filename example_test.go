package cairn_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing/fstest"
	"text/template"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// A node on disk: its content is there for the next node that opens the folder.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "cairn")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	n, err := cairn.Open(ctx, cairn.Config{Dir: filepath.Join(dir, "repo")})
	if err != nil {
		log.Fatal(err)
	}
	added, err := n.Add(ctx, strings.NewReader("hello\n"), cairn.AddOptions{Alias: "greeting"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(added.CID)
	if err := n.Close(); err != nil {
		log.Fatal(err)
	}

	n, err = cairn.Open(ctx, cairn.Config{Dir: filepath.Join(dir, "repo")})
	if err != nil {
		log.Fatal(err)
	}
	defer n.Close()
	root, err := n.Resolve(ctx, "greeting")
	if err != nil {
		log.Fatal(err)
	}
	f, err := n.OpenFile(ctx, root)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	io.Copy(os.Stdout, f)
	// Output:
	// bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am
	// hello
}

// A growing chain, as in ipfs-embed: each entry links to the one before and to some
// earlier ones. TMP_ROOT keeps an entry that is not official yet, and ROOT is the
// official head. After a crash at any moment the chain below ROOT is whole.
func Example_chain() {
	type entry struct {
		Text  string    `ipld:"text"`
		Prev  *cid.Cid  `ipld:"prev"`
		Loops []cid.Cid `ipld:"loops"`
	}
	ctx := context.Background()
	n, err := cairn.Open(ctx, cairn.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer n.Close()

	var heads []cid.Cid
	for i, text := range []string{"one", "two", "three", "four"} {
		e := entry{Text: text}
		if i > 0 {
			e.Prev = &heads[i-1]
			e.Loops = append(e.Loops, heads[i/2])
		}
		k, err := cairn.Encode(e)
		if err != nil {
			log.Fatal(err)
		}
		// The block and the alias that keeps it, in one step.
		b := n.Batch()
		b.Put(ctx, k)
		b.Alias("TMP_ROOT", k.CID(), store.AliasOptions{})
		if err := b.Commit(ctx); err != nil {
			log.Fatal(err)
		}
		// Here an application would index the entry, and then:
		if err := n.SetAlias(ctx, "ROOT", k.CID()); err != nil {
			log.Fatal(err)
		}
		heads = append(heads, k.CID())
	}

	root, err := n.Resolve(ctx, "ROOT")
	for c := &root; c != nil && err == nil; {
		var k block.Block
		if k, err = n.Get(ctx, *c); err != nil {
			break
		}
		var e entry
		e, err = cairn.Decode[entry](k)
		fmt.Println(e.Text, len(e.Loops))
		c = e.Prev
	}
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// four 1
	// three 1
	// two 1
	// one 0
}

func ExampleEncode() {
	type point struct {
		X     int               `ipld:"x"`
		Y     int               `ipld:"y"`
		Notes map[string]string `ipld:"notes,omitempty"`
	}
	b, err := cairn.Encode(point{X: 3, Y: -4})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s %x\n", b.CID(), b.Data())
	// Output: bafyreihwnlmj6b6b4w446bckznc75b4agxpeidze4plxwr76bhqc6kwqdy a2617803617923
}

func ExampleDecode() {
	b, err := cairn.Encode(map[string]any{"name": "cairn", "stones": 12, "colour": "grey"})
	if err != nil {
		log.Fatal(err)
	}
	type pile struct {
		Name   string `ipld:"name"`
		Stones int    `ipld:"stones"`
	}
	p, err := cairn.Decode[pile](b)
	fmt.Printf("%+v %v\n", p, err)
	// Output: {Name:cairn Stones:12} <nil>
}

func site() fstest.MapFS {
	return fstest.MapFS{
		"index.html":     {Data: []byte("<h1>Hello, {{.}}!</h1>\n")},
		"style/main.css": {Data: []byte("h1 { color: teal }\n")},
	}
}

func ExampleNode_AddFS() {
	ctx := context.Background()
	n, err := cairn.Open(ctx, cairn.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer n.Close()
	added, err := n.AddFS(ctx, site(), cairn.AddOptions{
		Alias: "site",
		OnAdd: func(e cairn.AddEntry) { fmt.Println(e.Path, e.Size) },
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(added.Files, added.Dirs, added.CID)
	// Output:
	// index.html 23
	// style/main.css 19
	// style 19
	// . 42
	// 2 2 bafybeid5rsfmvmdwrz6uvwowi67tln3jjld7x5v2dbcg5whq3y5q7ld56e
}

// A directory on disk, added again after a change: only changed files are read.
func ExampleNode_AddPath() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "cairn")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for name, data := range map[string]string{"a": "first", "b": "second"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			log.Fatal(err)
		}
	}
	n, err := cairn.Open(ctx, cairn.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer n.Close()
	before, err := n.AddPath(ctx, dir, cairn.AddOptions{Alias: "dir"})
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "c"), []byte("third"), 0o644); err != nil {
		log.Fatal(err)
	}
	after, err := n.AddPath(ctx, dir, cairn.AddOptions{Alias: "dir"})
	fmt.Println(before.Files, after.Files, before.CID == after.CID, err)
	// Output: 2 3 false <nil>
}

// Several files as one change: all are kept, or none.
func ExampleAdder() {
	ctx := context.Background()
	n, err := cairn.Open(ctx, cairn.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer n.Close()
	a, err := n.Adder(cairn.AddOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer a.Discard()
	for _, text := range []string{"one\n", "two\n"} {
		added, err := a.Add(ctx, strings.NewReader(text))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(cairn.PinName(added.CID))
	}
	fmt.Println(a.Commit(ctx))
	// Output:
	// pin/bafkreibmrmenuxhgaomod4m26ds5ztdujxzhjobgvpsyl2v2ndcskq2iay
	// pin/bafkreibh3whnisud76knkv7z7ucbf3k2rs6knhvajernrdabdbfaomakli
	// <nil>
}

// A directory is an fs.FS: it can be served and walked, and hold templates.
func ExampleNode_FS() {
	ctx := context.Background()
	n, err := cairn.Open(ctx, cairn.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer n.Close()
	added, err := n.AddFS(ctx, site(), cairn.AddOptions{})
	if err != nil {
		log.Fatal(err)
	}
	dir := n.FS(ctx, added.CID)

	t, err := template.ParseFS(dir, "*.html")
	if err != nil {
		log.Fatal(err)
	}
	if err := t.ExecuteTemplate(os.Stdout, "index.html", "world"); err != nil {
		log.Fatal(err)
	}

	server := httptest.NewServer(http.FileServerFS(dir))
	defer server.Close()
	answer, err := http.Get(server.URL + "/style/main.css")
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	io.Copy(os.Stdout, answer.Body)

	err = fs.WalkDir(dir, ".", func(path string, d fs.DirEntry, err error) error {
		fmt.Println(path)
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// <h1>Hello, world!</h1>
	// h1 { color: teal }
	// .
	// index.html
	// style
	// style/main.css
}

func ExampleNode_OpenFile() {
	ctx := context.Background()
	n, err := cairn.Open(ctx, cairn.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer n.Close()
	added, err := n.Add(ctx, strings.NewReader("a stone on a stone"), cairn.AddOptions{})
	if err != nil {
		log.Fatal(err)
	}
	f, err := n.OpenFile(ctx, added.CID)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(-5, io.SeekEnd); err != nil {
		log.Fatal(err)
	}
	end, err := io.ReadAll(f)
	fmt.Printf("%q of %d bytes, %v\n", end, f.Size(), err)
	// Output: "stone" of 18 bytes, <nil>
}

// Directories are immutable. Edit makes a new one, which shares all unchanged blocks
// with the old one.
func ExampleNode_Edit() {
	ctx := context.Background()
	n, err := cairn.Open(ctx, cairn.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer n.Close()
	old, err := n.AddFS(ctx, site(), cairn.AddOptions{Alias: "site"})
	if err != nil {
		log.Fatal(err)
	}

	t, err := n.Edit(ctx, old.CID, cairn.EditOptions{Alias: "site"})
	if err != nil {
		log.Fatal(err)
	}
	defer t.Discard()
	err = errors.Join(
		t.Mkdir(ctx, "docs/old"),
		t.Move(ctx, "index.html", "docs/old/index.html"),
		t.Write(ctx, "index.html", strings.NewReader("<h1>New</h1>")),
		t.Remove(ctx, "style"),
	)
	if err != nil {
		log.Fatal(err)
	}
	root, err := t.Commit(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, dir := range []cid.Cid{old.CID, root} {
		names, err := fs.Glob(n.FS(ctx, dir), "*")
		fmt.Println(names, err)
	}
	// Output:
	// [index.html style] <nil>
	// [docs index.html] <nil>
}

// A CAR takes a DAG from one node to another.
func ExampleNode_ExportCAR() {
	ctx := context.Background()
	from, err := cairn.Open(ctx, cairn.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer from.Close()
	to, err := cairn.Open(ctx, cairn.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer to.Close()
	added, err := from.AddFS(ctx, site(), cairn.AddOptions{})
	if err != nil {
		log.Fatal(err)
	}

	var car bytes.Buffer
	if err := from.ExportCAR(ctx, &car, added.CID); err != nil {
		log.Fatal(err)
	}
	roots, err := to.ImportCAR(ctx, &car)
	if err != nil {
		log.Fatal(err)
	}
	css, err := fs.ReadFile(to.FS(ctx, roots[0]), "style/main.css")
	fmt.Printf("%s%v\n", css, err)
	// Output:
	// h1 { color: teal }
	// <nil>
}

// A temporary pin keeps blocks until their root has an alias.
func ExampleNode_TempPin() {
	ctx := context.Background()
	n, err := cairn.Open(ctx, cairn.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer n.Close()
	k, err := cairn.Encode("in the making")
	if err != nil {
		log.Fatal(err)
	}
	pin := n.TempPin()
	if err := errors.Join(pin.Add(ctx, k.CID()), n.Put(ctx, k)); err != nil {
		log.Fatal(err)
	}
	evict := func() {
		if _, err := n.Store().Evict(ctx, store.EvictOptions{}); err != nil {
			log.Fatal(err)
		}
		_, err := n.Get(ctx, k.CID())
		fmt.Println(errors.Is(err, block.ErrNotFound))
	}
	evict()
	if err := pin.Release(ctx); err != nil {
		log.Fatal(err)
	}
	evict()
	// Output:
	// false
	// true
}

func ExampleNode_Events() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	n, err := cairn.Open(ctx, cairn.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer n.Close()
	events := n.Events(ctx)
	if _, err := n.Add(ctx, strings.NewReader("hello\n"), cairn.AddOptions{Alias: "greeting"}); err != nil {
		log.Fatal(err)
	}
	for e, err := range events {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(e.Kind, e.Name, e.CID)
		break
	}
	// Output: alias greeting bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am
}

// One node has a folder. Another fetches it, and later the difference to its next
// version.
func ExampleNode_Sync() {
	ctx := context.Background()
	publisher, err := cairn.Open(ctx, cairn.Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Local: true})
	if err != nil {
		log.Fatal(err)
	}
	defer publisher.Close()
	addrs, err := publisher.Addrs(ctx)
	if err != nil {
		log.Fatal(err)
	}
	mirror, err := cairn.Open(ctx, cairn.Config{Local: true})
	if err != nil {
		log.Fatal(err)
	}
	defer mirror.Close()

	site := fstest.MapFS{"index.html": {Data: []byte("first")}, "about.html": {Data: []byte("about us")}}
	for _, text := range []string{"first", "second"} {
		site["index.html"] = &fstest.MapFile{Data: []byte(text)}
		version, err := publisher.AddFS(ctx, site, cairn.AddOptions{Alias: "site"})
		if err != nil {
			log.Fatal(err)
		}
		for p, err := range mirror.Sync(ctx, version.CID, cairn.SyncOptions{From: []string{addrs[0].String()}, Alias: "site"}) {
			if err != nil {
				log.Fatal(err)
			}
			if p.Done {
				fmt.Println("blocks that came:", p.Blocks)
			}
		}
		data, err := fs.ReadFile(mirror.FS(ctx, version.CID), "index.html")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("index.html: %s\n", data)
	}
	// Output:
	// blocks that came: 3
	// index.html: first
	// blocks that came: 2
	// index.html: second
}

// A name stays the same while its content changes.
func Example_names() {
	ctx := context.Background()
	n, err := cairn.Open(ctx, cairn.Config{Offline: true})
	if err != nil {
		log.Fatal(err)
	}
	defer n.Close()
	keys, err := n.Keys()
	if err != nil {
		log.Fatal(err)
	}
	key, err := keys.Generate("greeting")
	if err != nil {
		log.Fatal(err)
	}
	for _, text := range []string{"hello", "hello again"} {
		added, err := n.Add(ctx, strings.NewReader(text), cairn.AddOptions{Alias: "greeting"})
		if err != nil {
			log.Fatal(err)
		}
		r, err := n.PublishName(ctx, key.Name, added.CID.String(), cairn.PublishOptions{})
		if err != nil && !errors.Is(err, cairn.ErrNotSent) { // offline, it is sent later
			log.Fatal(err)
		}
		c, err := n.ResolvePath(ctx, "/ipns/"+key.ID, cairn.ResolveOptions{})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(r.Sequence, c.Equals(added.CID))
	}
	// Output:
	// 0 true
	// 1 true
}
