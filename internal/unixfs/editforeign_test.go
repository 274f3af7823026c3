package unixfs

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// TestEditForeignTrees edits trees as other tools write them: HAMTs of another
// fanout, names out of order and repeated, attributes. Unchanged parts stay as
// they are.
func TestEditForeignTrees(t *testing.T) {
	m := newMemoryStore()
	a, b := putRaw(t, m, "a"), putRaw(t, m, "b")
	as := func(l Link, name string) Link {
		l.Name = name
		return l
	}
	dir := putNode(t, m, Node{Type: TypeDirectory, Mode: 0o700, Links: []Link{as(a, "z"), as(b, "y"), as(a, "y"), as(b, "x")}})
	var links []Link
	for i := range 300 {
		links = append(links, as(a, fmt.Sprint(i)))
	}
	narrow, err := buildHAMT(links, 8, attributes{mode: 0o711}, func(n *Node) (part, error) {
		l := putNode(t, m, *n)
		return part{cid: l.CID, tsize: l.Tsize}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	root := putNode(t, m, Node{Type: TypeDirectory, Links: []Link{as(dir, "dir"), {CID: narrow.cid, Name: "narrow", Tsize: narrow.tsize}}})
	o := Options{Profile: V1Profile()}
	o.Profile.ShardThreshold = 1000
	tree, err := Edit(t.Context(), m, m, root.CID, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"dir/new", "narrow/new"} {
		if err := tree.Link(t.Context(), path, b.CID); err != nil {
			t.Fatal(err)
		}
	}
	if err := tree.Remove(t.Context(), "dir/x"); err != nil {
		t.Fatal(err)
	}
	changed, err := tree.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at := func(path string) (cid.Cid, Node) {
		e := lookupPath(t, m, changed, path)
		n, err := load(t.Context(), m, e.CID)
		if err != nil {
			t.Fatal(err)
		}
		return e.CID, n
	}
	c, n := at("dir")
	if got := strings.Join(listNames(t, m, c), " "); got != "new y z" || n.Mode != 0o700 {
		t.Errorf("got %s, mode %o, want new y z, 700", got, n.Mode)
	}
	if e, err := Lookup(t.Context(), m, c, "y"); err != nil || e.CID != b.CID {
		t.Errorf("y: got %+v, %v, want the first of two", e, err)
	}
	c, n = at("narrow")
	if got := len(listNames(t, m, c)); got != 301 || n.Fanout != 8 || n.Mode != 0o711 {
		t.Errorf("got %d entries, fanout %d, mode %o, want 301, 8, 711", got, n.Fanout, n.Mode)
	}
}

// TestEditErrors: a call that fails changes nothing.
func TestEditErrors(t *testing.T) {
	m := newMemoryStore()
	r, err := ImportFS(t.Context(), m, fstest.MapFS{"d/f": {Data: []byte("f")}, "f": {Data: []byte("f")}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	tree, err := Edit(t.Context(), m, m, r.CID, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	reads := &failingSource{}
	for what, got := range map[string][2]error{
		"write over a directory":     {tree.Write(ctx, "d", reads), ErrNotFile},
		"write into a file":          {tree.Write(ctx, "f/x", reads), ErrNotDirectory},
		"write into nothing":         {tree.Write(ctx, "x/y", reads), fs.ErrNotExist},
		"write the root":             {tree.Write(ctx, "", reads), nil},
		"write outside":              {tree.Write(ctx, "../x", reads), block.ErrMalformed},
		"write what breaks":          {tree.Write(ctx, "d/new", reads), errBroken},
		"a name that is not UTF-8":   {tree.Write(ctx, "d/\xff", reads), errInvalidEntryName},
		"a name with NUL":            {tree.Mkdir(ctx, "d/\x00"), errInvalidEntryName},
		"remove nothing":             {tree.Remove(ctx, "d/x"), fs.ErrNotExist},
		"remove the root":            {tree.Remove(ctx, "/"), nil},
		"move nothing":               {tree.Move(ctx, "x", "y"), fs.ErrNotExist},
		"move into itself":           {tree.Move(ctx, "d", "d/e"), block.ErrMalformed},
		"move over a directory":      {tree.Move(ctx, "f", "d"), ErrNotFile},
		"make a directory of a file": {tree.Mkdir(ctx, "f/x"), ErrNotDirectory},
		"link what is not there":     {tree.Link(ctx, "x", makeLeafCID(t, "absent")), block.ErrNotFound},
	} {
		if got[0] == nil || got[1] != nil && !errors.Is(got[0], got[1]) {
			t.Errorf("%s: got %v, want %v", what, got[0], got[1])
		}
	}
	if got, err := tree.Commit(ctx); err != nil || got != r.CID {
		t.Errorf("got %s, %v, want %s as before", got, err, r.CID)
	}
	// A failed Commit can be repeated.
	bad := &Tree{get: m, put: &failingSource{}, options: tree.options, root: &treeDir{link: Link{CID: r.CID}}}
	if err := bad.Mkdir(ctx, "new"); err != nil {
		t.Fatal(err)
	}
	if _, err := bad.Commit(ctx); !errors.Is(err, errBroken) {
		t.Errorf("got %v, want %v", err, errBroken)
	}
	bad.put = m
	root, err := bad.Commit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(listNames(t, m, root), " "); got != "d f new" {
		t.Errorf("got %s, want d f new", got)
	}
	file := putRaw(t, m, "file")
	if _, err := Edit(ctx, m, m, file.CID, Options{}); !errors.Is(err, ErrNotDirectory) {
		t.Errorf("edit a file: got %v, want ErrNotDirectory", err)
	}
}
