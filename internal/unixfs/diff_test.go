package unixfs

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// listChanges lists the changes of Diff as "+ path", "- path" and "~ path".
func listChanges(t *testing.T, get block.Getter, before, after cid.Cid) []string {
	t.Helper()
	list := []string{}
	for c, err := range Diff(t.Context(), get, before, after) {
		if err != nil {
			t.Fatal(err)
		}
		sign := "~"
		if !c.Before.Defined() {
			sign = "+"
		} else if !c.After.Defined() {
			sign = "-"
		}
		list = append(list, sign+" "+c.Path)
	}
	return list
}

func TestDiff(t *testing.T) {
	old := fstest.MapFS{}
	for i := range 300 {
		old[fmt.Sprintf("many/%d", i)] = &fstest.MapFile{Data: []byte(fmt.Sprint(i))}
	}
	for name, data := range map[string]string{"a": "1", "b/c/d": "2", "b/e": "3", "same/f": "4", "turns": "5", "z": "6"} {
		old[name] = &fstest.MapFile{Data: []byte(data)}
	}
	changed := maps.Clone(old)
	delete(changed, "a")
	delete(changed, "many/17")
	changed["many/x"] = &fstest.MapFile{Data: []byte("x")}
	changed["b/c/d"] = &fstest.MapFile{Data: []byte("22")}
	changed["b/new/f"] = &fstest.MapFile{Data: []byte("7")}
	delete(changed, "turns")
	changed["turns/into/dir"] = &fstest.MapFile{}
	want := []string{"- a", "~ b/c/d", "+ b/new", "- many/17", "+ many/x", "~ turns"}

	// A HAMT on both sides, or on one.
	plain, sharded := V1Profile(), V1Profile()
	sharded.ShardThreshold = 1000
	for _, profiles := range [][2]Profile{{plain, plain}, {sharded, sharded}, {plain, sharded}} {
		m := newMemoryStore()
		var roots [2]cid.Cid
		for i, tree := range []fs.FS{old, changed} {
			r, err := ImportFS(t.Context(), m, tree, Options{Profile: profiles[i]})
			if err != nil {
				t.Fatal(err)
			}
			roots[i] = r.CID
		}
		if got := listChanges(t, m, roots[0], roots[1]); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if got := listChanges(t, m, roots[0], roots[0]); len(got) != 0 {
			t.Errorf("of one tree: got %v", got)
		}
		if got := listChanges(t, m, cid.Undef, roots[0]); !slices.Equal(got, []string{"+ ."}) {
			t.Errorf("of nothing: got %v", got)
		}
		// The loop may end early.
		for range Diff(t.Context(), m, roots[0], roots[1]) {
			break
		}
	}
}

// TestDiffMissing: a missing block is an error that names the path, unless Diff
// doesn't need it.
func TestDiffMissing(t *testing.T) {
	m := newMemoryStore()
	var roots [2]cid.Cid
	for i, tree := range []fstest.MapFS{{"d/a": {}, "s/x": {}}, {"d/b": {}, "s/x": {}}} {
		r, err := ImportFS(t.Context(), m, tree, Options{})
		if err != nil {
			t.Fatal(err)
		}
		roots[i] = r.CID
	}
	same := lookupPath(t, m, roots[0], "s")
	delete(m.blocks, string(same.CID.Hash()))
	if got := listChanges(t, m, roots[0], roots[1]); !slices.Equal(got, []string{"- d/a", "+ d/b"}) {
		t.Errorf("got %v", got)
	}
	dir := lookupPath(t, m, roots[1], "d")
	delete(m.blocks, string(dir.CID.Hash()))
	var failed error
	for _, err := range Diff(t.Context(), m, roots[0], roots[1]) {
		failed = err
	}
	if !errors.Is(failed, block.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", failed)
	}
}
