package unixfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
	"pgregory.net/rapid"
)

// An editModel is the expected content of a Tree.
type editModel fstest.MapFS

func (m editModel) isDir(p string) bool {
	return p == "." || m[p] != nil && m[p].Mode.IsDir()
}

// under returns the paths at p and below.
func (m editModel) under(p string) []string {
	var all []string
	for name := range m {
		if name == p || strings.HasPrefix(name, p+"/") {
			all = append(all, name)
		}
	}
	return all
}

// TestEditMatchesImport: after random changes a Tree's root is that of an import
// of the model, also when directories become HAMTs and plain again.
func TestEditMatchesImport(t *testing.T) {
	linkBytes := tinyV0Profile()
	linkBytes.ShardRule = LinkBytes
	wide := tinyProfile()
	wide.ShardFanout, wide.ShardThreshold = 64, 600
	inlined := tinyProfile()
	inlined.Inline = 40
	never := tinyProfile()
	never.ShardThreshold = 0
	names := rapid.Custom(func(t *rapid.T) string {
		dir := rapid.SampledFrom([]string{"", "", "d/", "d/e/", "f/"}).Draw(t, "dir")
		return dir + rapid.SampledFrom([]string{"d", "e", "f"}).Draw(t, "stem") + fmt.Sprint(rapid.IntRange(0, 12).Draw(t, "n"))
	})
	dirs := rapid.SampledFrom([]string{"d", "d/e", "f", "d/d1", "f1"})
	sharded := 0
	rapid.Check(t, func(rt *rapid.T) {
		ctx := t.Context()
		p := rapid.SampledFrom([]Profile{tinyProfile(), tinyV0Profile(), linkBytes, wide, inlined, never}).Draw(rt, "profile")
		store := newMemoryStore()
		tree, err := Edit(ctx, store, store, cid.Undef, Options{Profile: p})
		if err != nil {
			rt.Fatal(err)
		}
		model := editModel{}
		check := func(what string, err, want error) bool {
			if !errors.Is(err, want) || (want == nil) != (err == nil) {
				rt.Fatalf("%s: got %v, want %v", what, err, want)
			}
			return err == nil
		}
		// place returns the error expected for a file at name.
		place := func(name string) error {
			for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
				if parent := path.Dir(dir); model[dir] == nil && model.isDir(parent) {
					return fs.ErrNotExist
				} else if model[dir] != nil && !model.isDir(dir) {
					return ErrNotDirectory
				}
			}
			return nil
		}
		fileAt := func(name string) error {
			if err := place(name); err != nil {
				return err
			}
			if model.isDir(name) {
				return ErrNotFile
			}
			return nil
		}
		commit := func() {
			root, err := tree.Commit(ctx)
			check("commit", err, nil)
			fresh := newMemoryStore()
			want, err := ImportFS(ctx, fresh, fstest.MapFS(model), Options{Profile: p})
			check("import", err, nil)
			if root != want.CID {
				rt.Fatalf("got %s, want %s, that of %v", root, want.CID, fstest.MapFS(model))
			}
			if n, err := load(ctx, store, root); err == nil && n.Type == TypeHAMTShard {
				sharded++
			}
			for c := range fresh.blocks {
				if _, ok := store.blocks[c]; !ok {
					rt.Fatal("a block is missing")
				}
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"write": func(rt *rapid.T) {
				name, data := names.Draw(rt, "name"), rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(rt, "data")
				if check("write "+name, tree.Write(ctx, name, bytes.NewReader(data)), fileAt(name)) {
					model[name] = &fstest.MapFile{Data: data}
				}
			},
			"many": func(rt *rapid.T) {
				for i := range 15 {
					name := fmt.Sprint("many", i)
					check("write "+name, tree.Write(ctx, name, strings.NewReader(name)), nil)
					model[name] = &fstest.MapFile{Data: []byte(name)}
				}
			},
			"few": func(rt *rapid.T) {
				for name := range model {
					if !strings.Contains(name, "/") && !model.isDir(name) {
						check("remove "+name, tree.Remove(ctx, name), nil)
						delete(model, name)
					}
				}
			},
			"symlink": func(rt *rapid.T) {
				name := names.Draw(rt, "name")
				if check("symlink "+name, tree.Symlink(ctx, name, "to/"+name), fileAt(name)) {
					model[name] = &fstest.MapFile{Mode: fs.ModeSymlink, Data: []byte("to/" + name)}
				}
			},
			"mkdir": func(rt *rapid.T) {
				name := dirs.Draw(rt, "name")
				var want error
				for dir := name; dir != "."; dir = path.Dir(dir) {
					if model[dir] != nil && !model.isDir(dir) {
						want = ErrNotDirectory
					}
				}
				if check("mkdir "+name, tree.Mkdir(ctx, name), want) {
					for dir := name; dir != "."; dir = path.Dir(dir) {
						model[dir] = &fstest.MapFile{Mode: fs.ModeDir | 0o755}
					}
				}
			},
			"remove": func(rt *rapid.T) {
				name := rapid.OneOf(names, dirs).Draw(rt, "name")
				want := place(name)
				if want == nil && model[name] == nil {
					want = fs.ErrNotExist
				}
				if check("remove "+name, tree.Remove(ctx, name), want) {
					for _, gone := range model.under(name) {
						delete(model, gone)
					}
				}
			},
			"move": func(rt *rapid.T) {
				from, to := rapid.OneOf(names, dirs).Draw(rt, "from"), rapid.OneOf(names, dirs).Draw(rt, "to")
				want := place(from)
				if want == nil && model[from] == nil {
					want = fs.ErrNotExist
				}
				if want == nil && strings.HasPrefix(to, from+"/") {
					want = block.ErrMalformed
				}
				if want == nil && from != to {
					want = fileAt(to)
				}
				if check("move "+from+" to "+to, tree.Move(ctx, from, to), want) && from != to {
					delete(model, to)
					for _, name := range model.under(from) {
						model[to+strings.TrimPrefix(name, from)] = model[name]
						delete(model, name)
					}
				}
			},
			"commit": func(*rapid.T) { commit() },
			"again": func(rt *rapid.T) {
				root, err := tree.Commit(ctx)
				check("commit", err, nil)
				tree, err = Edit(ctx, store, store, root, Options{Profile: p})
				check("edit", err, nil)
			},
		})
		commit()
	})
	if sharded == 0 {
		t.Error("no root was a HAMT")
	}
}

// TestEditThreshold: a directory becomes a HAMT with the entry that exceeds the
// threshold, and a plain one when that is removed, under both profiles.
func TestEditThreshold(t *testing.T) {
	for _, p := range []Profile{V1Profile(), V0Profile()} {
		m := newMemoryStore()
		tree, err := Edit(t.Context(), m, m, cid.Undef, Options{Profile: p})
		if err != nil {
			t.Fatal(err)
		}
		empty := putNode(t, m, Node{Type: TypeFile})
		n := Node{Type: TypeDirectory}
		name := func(i int) string { return fmt.Sprintf("entry-%06d", i) }
		for i := 0; ; i++ {
			n.Links = append(n.Links, Link{CID: empty.CID, Name: name(i), Tsize: empty.Tsize})
			if dirSize(&n, p.ShardRule) > p.ShardThreshold {
				break
			}
			if err := tree.Link(t.Context(), name(i), empty.CID); err != nil {
				t.Fatal(err)
			}
		}
		last := len(n.Links) - 1
		at := func(what string, want Type) cid.Cid {
			t.Helper()
			root, err := tree.Commit(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got, err := load(t.Context(), m, root)
			if err != nil || got.Type != want {
				t.Errorf("%s, %s: got a %s, %v, want a %s", p.Name, what, got.Type, err, want)
			}
			return root
		}
		plain := at("at the threshold", TypeDirectory)
		if err := tree.Link(t.Context(), name(last), empty.CID); err != nil {
			t.Fatal(err)
		}
		hamt := at("above it", TypeHAMTShard)
		// Replacing an entry by another changes nothing about that.
		if err := tree.Move(t.Context(), name(7), "entry-00000x"); err != nil {
			t.Fatal(err)
		}
		at("renamed", TypeHAMTShard)
		if err := tree.Move(t.Context(), "entry-00000x", name(7)); err != nil {
			t.Fatal(err)
		}
		if got := at("renamed back", TypeHAMTShard); got != hamt {
			t.Errorf("%s: renamed back: got %s, want %s", p.Name, got, hamt)
		}
		if err := tree.Remove(t.Context(), name(last)); err != nil {
			t.Fatal(err)
		}
		if got := at("back at the threshold", TypeDirectory); got != plain {
			t.Errorf("%s: back: got %s, want %s", p.Name, got, plain)
		}
	}
}

// TestEditCost: a change in a large tree costs the blocks on its path, and a
// removal at most the entries up to the threshold more.
func TestEditCost(t *testing.T) {
	p := V1Profile()
	p.ShardThreshold = 20_000
	m := newMemoryStore()
	empty := putNode(t, m, Node{Type: TypeFile})
	var links []Link
	for i := range 100_000 {
		links = append(links, Link{CID: empty.CID, Name: fmt.Sprint("n", i), Tsize: empty.Tsize})
	}
	big, err := buildHAMT(links, p.ShardFanout, attributes{}, func(n *Node) (part, error) {
		l := putNode(t, m, *n)
		return part{cid: l.CID, tsize: l.Tsize}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	root := putNode(t, m, Node{Type: TypeDirectory, Links: []Link{{CID: big.cid, Name: "big", Tsize: big.tsize}}})
	tree, err := Edit(t.Context(), m, m, root.CID, Options{Profile: p})
	if err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		name          string
		do            func(ctx context.Context) error
		gets, written int
	}{
		// The path twice: to look up the entry, and to change it. Two blocks
		// above the HAMT, three levels in it.
		{"write", func(ctx context.Context) error { return tree.Write(ctx, "big/new", strings.NewReader("")) }, 14, 6},
		{"remove", func(ctx context.Context) error { return tree.Remove(ctx, "big/n77") }, 14 + 330, 5},
		{"move", func(ctx context.Context) error { return tree.Move(ctx, "big/n78", "big/other") }, 20, 9},
		{"nothing", func(ctx context.Context) error { return tree.Mkdir(ctx, "big") }, 4, 0},
	}
	for _, s := range steps {
		m.gets, m.order = 0, nil
		if err := s.do(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := tree.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if m.gets > s.gets || len(m.order) > s.written {
			t.Errorf("%s: %d blocks got and %d written, want at most %d and %d", s.name, m.gets, len(m.order), s.gets, s.written)
		}
	}
}
