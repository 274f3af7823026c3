package unixfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// listNames returns a directory's names, sorted.
func listNames(t testing.TB, get block.Getter, c cid.Cid) []string {
	t.Helper()
	var names []string
	for e, err := range ReadDir(t.Context(), get, c) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, e.Name)
	}
	slices.Sort(names)
	return names
}

// TestDirectories lists and looks up names in directories of any kind.
func TestDirectories(t *testing.T) {
	for _, count := range []int{0, 1, 2, 10, 700} {
		tree := fstest.MapFS{"d": {Mode: fs.ModeDir | 0o755}}
		for i := range count {
			tree[fmt.Sprintf("d/name-%d", i)] = &fstest.MapFile{Data: fmt.Append(nil, i)}
		}
		for _, fanout := range []int{8, 16, 64, 128, 256, 512, 1024} {
			t.Run(fmt.Sprintf("%d entries, fanout %d", count, fanout), func(t *testing.T) {
				p := tinyProfile()
				p.ShardFanout = fanout
				p.ShardThreshold = 60
				m := newMemoryStore()
				r, err := ImportFS(t.Context(), m, tree, Options{Profile: p})
				if err != nil {
					t.Fatal(err)
				}
				dir, err := Lookup(t.Context(), m, r.CID, "d")
				if err != nil {
					t.Fatal(err)
				}
				if root, err := load(t.Context(), m, dir.CID); err != nil || (root.Type == TypeHAMTShard) != (count > 1) {
					t.Errorf("%d entries make a %s, %v", count, root.Type, err)
				}
				want := []string{}
				for i := range count {
					name := fmt.Sprintf("name-%d", i)
					want = append(want, name)
					e, err := Lookup(t.Context(), m, dir.CID, name)
					if err != nil {
						t.Fatal(err)
					}
					info, err := Stat(t.Context(), m, e.CID)
					if err != nil || info.Type != TypeFile || info.Size != int64(len(fmt.Sprint(i))) {
						t.Errorf("%s: got %+v, %v", name, info, err)
					}
				}
				slices.Sort(want)
				if got := listNames(t, m, dir.CID); !slices.Equal(got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
				for _, absent := range []string{"", "name-", "name-700", "0name-1", strings.Repeat("x", 100)} {
					if e, err := Lookup(t.Context(), m, dir.CID, absent); !errors.Is(err, fs.ErrNotExist) {
						t.Errorf("%q: got %+v, %v, want fs.ErrNotExist", absent, e, err)
					}
				}
				// A listing that ends early leaves no goroutine.
				for range ReadDir(t.Context(), m, dir.CID) {
					break
				}
			})
		}
	}
}

// TestNameHash checks the example of the UnixFS specification.
func TestNameHash(t *testing.T) {
	shape, err := newShape(256)
	if err != nil {
		t.Fatal(err)
	}
	hash := nameHash("470.txt")
	if got := shape.label(shape.bucket(hash, 0)) + shape.label(shape.bucket(hash, 1)); got != "006E" {
		t.Errorf("got %s, want 006E", got)
	}
}

// TestRepeatedNames: of entries with the same name the first one counts.
func TestRepeatedNames(t *testing.T) {
	m := newMemoryStore()
	a, b := putRaw(t, m, "a"), putRaw(t, m, "b")
	link := func(l Link, name string) Link {
		l.Name = name
		return l
	}
	root := putNode(t, m, Node{Type: TypeDirectory, Links: []Link{link(a, "y"), link(b, "y"), link(a, "x"), link(b, "z"), link(b, "x"), link(b, "y")}})
	var got []string
	for e, err := range ReadDir(t.Context(), m, root.CID) {
		if err != nil {
			t.Fatal(err)
		}
		blk, err := m.Get(t.Context(), e.CID)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Name+"="+string(blk.Data()))
	}
	if want := "y=a x=a z=b"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if e, err := Lookup(t.Context(), m, root.CID, "y"); err != nil || e.CID != a.CID {
		t.Errorf("got %+v, %v, want the first", e, err)
	}
}

// TestHostileShards: an invalid shard ends the listing with an error.
func TestHostileShards(t *testing.T) {
	m := newMemoryStore()
	leaf := putRaw(t, m, "leaf")
	shard := func(field []byte, links ...Link) Node {
		return Node{Type: TypeHAMTShard, Data: field, HashType: hashMurmur3, Fanout: 8, Links: links}
	}
	under := func(l Link, name string) Link {
		l.Name = name
		return l
	}
	change := func(n Node, f func(*Node)) Node {
		f(&n)
		return n
	}
	shape, err := newShape(8)
	if err != nil {
		t.Fatal(err)
	}
	bucket := shape.bucket(nameHash("name"), 0)
	right := under(leaf, shape.label(bucket)+"name")
	bit := []byte{1 << bucket}
	if got := listNames(t, m, putNode(t, m, shard(bit, right)).CID); !slices.Equal(got, []string{"name"}) {
		t.Fatalf("got %v, want the entries of the valid HAMT", got)
	}
	elsewhere := under(leaf, shape.label((bucket+1)%8)+"name")
	endless := putNode(t, m, shard(bit, right))
	for range 30 {
		var links []Link
		for i := range 8 {
			links = append(links, under(endless, shape.label(i)))
		}
		endless = putNode(t, m, shard([]byte{0xff}, links...))
	}
	tests := map[string]Node{
		"fanout 0":               change(shard(bit, right), func(n *Node) { n.Fanout = 0 }),
		"fanout 100":             change(shard(bit, right), func(n *Node) { n.Fanout = 100 }),
		"fanout 2^40":            change(shard(bit, right), func(n *Node) { n.Fanout = 1 << 40 }),
		"another hash":           change(shard(bit, right), func(n *Node) { n.HashType = 0x12 }),
		"field too long":         shard([]byte{1, 0}, right),
		"more bits than links":   shard([]byte{0xff}, right),
		"fewer bits than links":  shard(nil, right),
		"the wrong bit":          shard([]byte{1 << ((bucket + 1) % 8)}, right),
		"a name elsewhere":       shard([]byte{1 << ((bucket + 1) % 8)}, elsewhere),
		"no prefix":              shard(bit, under(leaf, "")),
		"a small prefix":         shard(bit, under(leaf, "x")),
		"a prefix over fanout":   shard(bit, under(leaf, "9name")),
		"one bucket twice":       shard([]byte{3 << min(bucket, 6)}, right, right),
		"a file below":           shard(bit, under(leaf, shape.label(bucket))),
		"a directory below":      shard(bit, under(putNode(t, m, Node{Type: TypeDirectory}), shape.label(bucket))),
		"an empty shard below":   shard(bit, under(putNode(t, m, shard(nil)), shape.label(bucket))),
		"another fanout below":   shard(bit, under(putNode(t, m, change(shard(bit, right), func(n *Node) { n.Fanout = 16 })), shape.label(bucket))),
		"shards without an end":  shard([]byte{1}, under(endless, "0")),
		"a shard that is absent": shard(bit, under(Link{CID: makeLeafCID(t, "absent")}, shape.label(bucket))),
	}
	for name, n := range tests {
		t.Run(name, func(t *testing.T) {
			m.gets = 0
			root := putNode(t, m, n).CID
			var last error
			entries := 0
			for _, err := range ReadDir(t.Context(), m, root) {
				entries++
				last = err
			}
			if last == nil || entries > 1 {
				t.Errorf("got %d entries, %v, want only an error", entries, last)
			}
			if !errors.Is(last, block.ErrMalformed) && !errors.Is(last, block.ErrNotFound) {
				t.Errorf("got %v, want ErrMalformed", last)
			}
			if m.gets > 400 {
				t.Errorf("got %d blocks", m.gets)
			}
		})
	}
	if _, err := Lookup(t.Context(), m, endless.CID, "name"); !errors.Is(err, block.ErrMalformed) {
		t.Errorf("looking up without an end: got %v", err)
	}
}

// A countingGetter counts the Gets in progress.
type countingGetter struct {
	block.Getter
	now, highest atomic.Int32
}

func (w *countingGetter) Get(ctx context.Context, c cid.Cid) (block.Block, error) {
	now := w.now.Add(1)
	defer w.now.Add(-1)
	if now > w.highest.Load() {
		w.highest.Store(now)
	}
	return w.Getter.Get(ctx, c)
}

// TestRequestShardsAhead: a listing requests several shards at once, within a
// bound.
func TestRequestShardsAhead(t *testing.T) {
	tree := fstest.MapFS{}
	for i := range 3000 {
		tree[fmt.Sprint(i)] = &fstest.MapFile{}
	}
	m := newMemoryStore()
	r, err := ImportFS(t.Context(), m, tree, Options{Profile: tinyProfile()})
	if err != nil {
		t.Fatal(err)
	}
	w := &countingGetter{Getter: m}
	want := slices.Sorted(maps.Keys(tree))
	if got := listNames(t, w, r.CID); !slices.Equal(got, want) {
		t.Errorf("got %d names, want %d", len(got), len(want))
	}
	shape, err := newShape(8)
	if err != nil {
		t.Fatal(err)
	}
	if high := w.highest.Load(); high > int32(shardsAhead+shape.depth()) {
		t.Errorf("%d shards were requested at once, want at most %d", high, shardsAhead)
	}
}
