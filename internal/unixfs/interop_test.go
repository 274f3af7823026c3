package unixfs

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/ipld/merkledag"
	mdtest "github.com/ipfs/boxo/ipld/merkledag/test"
	boxobalanced "github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	boxotrickle "github.com/ipfs/boxo/ipld/unixfs/importer/trickle"
	uio "github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

// makeReferenceFile imports data with boxo's importers.
func makeReferenceFile(t *testing.T, p Profile, spec string, data []byte, a attributes) cid.Cid {
	t.Helper()
	splitter, err := chunk.FromString(bytes.NewReader(data), spec)
	if err != nil {
		t.Fatal(err)
	}
	params := helpers.DagBuilderParams{
		Maxlinks: p.Width, RawLeaves: p.RawLeaves, CidBuilder: newReferenceBuilder(p), Dagserv: mdtest.Mock(),
		FileMode: fileMode(a.mode), FileModTime: a.modified,
	}
	builder, err := params.New(splitter)
	if err != nil {
		t.Fatal(err)
	}
	layout := boxobalanced.Layout
	if p.Layout == Trickle {
		layout = boxotrickle.Layout
	}
	root, err := layout(builder)
	if err != nil {
		t.Fatal(err)
	}
	return root.Cid()
}

func newReferenceBuilder(p Profile) cid.Builder {
	var b cid.Builder = cid.Prefix{Version: p.CIDVersion, Codec: cid.DagProtobuf, MhType: p.Hash, MhLength: -1}
	if p.Inline > 0 {
		b = inliner{b, p.Inline}
	}
	return b
}

// An inliner gives small blocks identity CIDs, as Kubo does with --inline.
type inliner struct {
	cid.Builder
	limit int
}

func (i inliner) Sum(data []byte) (cid.Cid, error) {
	if len(data) > i.limit {
		return i.Builder.Sum(data)
	}
	return cid.V1Builder{Codec: i.GetCodec(), MhType: multihash.IDENTITY}.Sum(data)
}

func (i inliner) WithCodec(codec uint64) cid.Builder {
	return inliner{i.Builder.WithCodec(codec), i.limit}
}

// TestFilesMatchBoxo imports files by every chunker and layout, compares their
// CIDs with those of boxo, Kubo's library, and reads the files back.
func TestFilesMatchBoxo(t *testing.T) {
	all := readVectorStream(t, "like kubo", 2_000_000)
	copy(all[700_000:], all[:600_000]) // a repetition, for content-defined cuts
	specs := map[string][]int{
		"size-1000":                  {0, 1, 999, 1000, 1001, 5000, 6001, 100_000, 543_210},
		"size-262144":                {0, 5, 262_144, 262_145, 2_000_000},
		"rabin-512-1024-2048":        {0, 5, 512, 513, 1024, 2049, 4000, 100_000, 543_210},
		"rabin-16-256-1000":          {0, 1, 16, 17, 300, 50_000},
		"rabin-2000":                 {0, 600, 667, 100_000},
		"rabin":                      {0, 87_381, 87_382, 2_000_000},
		"buzhash":                    {0, 5, 131_071, 131_072, 131_073, 600_000, 2_000_000},
		"rabin-100000-200000-999999": {99_999, 100_000, 100_001, 2_000_000},
	}
	profiles := map[string]func(*Profile){
		"v1":             func(p *Profile) { *p = V1Profile() },
		"v0":             func(p *Profile) { *p = V0Profile() },
		"v1 wrapped":     func(p *Profile) { *p = V1Profile(); p.RawLeaves = false },
		"narrow":         func(p *Profile) { *p = V1Profile(); p.Width = 3 },
		"narrow wrapped": func(p *Profile) { *p = V0Profile(); p.Width = 2 },
		"sha2-512":       func(p *Profile) { *p = V1Profile(); p.Hash = 0x13 },
		"inline":         func(p *Profile) { *p = V1Profile(); p.Inline = 64 },
		"inline wrapped": func(p *Profile) { *p = V0Profile(); p.Inline = 64 },
	}
	for spec, sizes := range specs {
		for name, make := range profiles {
			if sizes[len(sizes)-1] > 1_000_000 && name != "v1" && name != "v0" {
				continue // the chunks are the same
			}
			for _, layout := range []Layout{Balanced, Trickle} {
				t.Run(fmt.Sprintf("%s/%s/%d", spec, name, layout), func(t *testing.T) {
					var p Profile
					make(&p)
					p.Layout = layout
					if err := p.SetChunker(spec); err != nil {
						t.Fatal(err)
					}
					for _, size := range sizes {
						want := makeReferenceFile(t, p, spec, all[:size], attributes{})
						m := newMemoryStore()
						r, err := Import(t.Context(), m, bytes.NewReader(all[:size]), Options{Profile: p})
						if err != nil || r.CID != want {
							t.Errorf("%d bytes: got %s, %v, want %s", size, r.CID, err, want)
							continue
						}
						tree, err := ImportFS(t.Context(), m, fstest.MapFS{"f": {Data: all[:size]}}, Options{Profile: p})
						if err != nil {
							t.Fatal(err)
						}
						if e, err := Lookup(t.Context(), m, tree.CID, "f"); err != nil || e.CID != want {
							t.Errorf("%d bytes in a tree: got %s, %v, want %s", size, e.CID, err, want)
						}
						checkContent(t, m, r.CID, all[:size])
						if r.DAGSize != sumDAGSize(t, m, r.CID) {
							t.Errorf("%d bytes: got a DAG of %d bytes, want %d", size, r.DAGSize, sumDAGSize(t, m, r.CID))
						}
					}
				})
			}
		}
	}
}

// checkContent reads a whole file, and at a few offsets.
func checkContent(t *testing.T, m *memoryStore, c cid.Cid, want []byte) {
	t.Helper()
	f, err := Open(t.Context(), m, c)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var got bytes.Buffer
	if _, err := f.WriteTo(&got); err != nil || !bytes.Equal(got.Bytes(), want) {
		t.Fatalf("read back %d bytes, %v, want %d", got.Len(), err, len(want))
	}
	for _, part := range []int{3, 2} {
		at := len(want) / part
		p := make([]byte, min(100, len(want)-at))
		if n, err := f.ReadAt(p, int64(at)); len(p) > 0 && (err != nil || !bytes.Equal(p[:n], want[at:at+len(p)])) {
			t.Fatalf("at %d: got %d bytes, %v, or different ones", at, n, err)
		}
	}
}

// sumDAGSize adds up the sizes of the blocks of c; repeated ones count each time.
func sumDAGSize(t *testing.T, m *memoryStore, c cid.Cid) uint64 {
	t.Helper()
	b, err := getBlock(t.Context(), m, c)
	if err != nil {
		t.Fatal(err)
	}
	n, err := decodeBlock(b)
	if err != nil {
		t.Fatal(err)
	}
	size := uint64(b.Size())
	for _, l := range n.Links {
		size += sumDAGSize(t, m, l.CID)
	}
	return size
}

// TestAttributesMatchBoxo: permissions and times are where boxo has them. Boxo
// drops those of a raw block; here a node above it has them.
func TestAttributesMatchBoxo(t *testing.T) {
	all := readVectorStream(t, "attributes", 5000)
	for _, a := range []attributes{
		{mode: 0o644},
		{modified: time.Unix(1_700_000_000, 0)},
		{modified: time.Unix(-12345, 999)},
		{mode: 0o4751, modified: time.Unix(1_700_000_000, 123_456_789)},
	} {
		for _, p := range []Profile{V0Profile(), V1Profile()} {
			for _, layout := range []Layout{Balanced, Trickle} {
				for _, spec := range []string{"size-1000", "rabin-512-1024-2048"} {
					for _, size := range []int{0, 10, 512, 600, 1000, 1001, 5000} {
						p.Layout = layout
						if err := p.SetChunker(spec); err != nil {
							t.Fatal(err)
						}
						name := fmt.Sprintf("%+v, %s, layout %d, raw leaves %t, %d bytes", a, spec, layout, p.RawLeaves, size)
						m := newMemoryStore()
						tree := fstest.MapFS{"f": {Data: all[:size], Mode: fileMode(a.mode), ModTime: a.modified}}
						o := Options{Profile: p, KeepMode: a.mode != 0, KeepTimes: !a.modified.IsZero()}
						r, err := ImportFS(t.Context(), m, tree, o)
						if err != nil {
							t.Fatal(err)
						}
						e, err := Lookup(t.Context(), m, r.CID, "f")
						if err != nil {
							t.Fatal(err)
						}
						info, err := Stat(t.Context(), m, e.CID)
						if err != nil || info.Mode != a.mode || !info.Modified.Equal(a.modified) || info.Size != int64(size) {
							t.Errorf("%s: got %+v, %v", name, info, err)
						}
						checkContent(t, m, e.CID, all[:size])
						want := makeReferenceFile(t, p, spec, all[:size], a)
						if want.Type() != cid.Raw && e.CID != want {
							t.Errorf("%s: got %s, want %s", name, e.CID, want)
						}
						if want.Type() == cid.Raw {
							n, err := load(t.Context(), m, e.CID)
							if err != nil || len(n.Links) != 1 || n.Links[0].CID != want {
								t.Errorf("%s: got %+v, %v, want one link to %s", name, n, err, want)
							}
						}
					}
				}
			}
		}
	}
}

// TestDirectoriesMatchBoxo imports directories with and without attributes, plain
// and sharded, around both thresholds.
func TestDirectoriesMatchBoxo(t *testing.T) {
	when := time.Unix(1_700_000_000, 5)
	before := uio.HAMTShardingSize
	uio.HAMTShardingSize = 2000
	t.Cleanup(func() { uio.HAMTShardingSize = before })
	for _, p := range []Profile{V0Profile(), V1Profile()} {
		p.ShardThreshold = uio.HAMTShardingSize
		rule := uio.SizeEstimationBlock
		if p.ShardRule == LinkBytes {
			rule = uio.SizeEstimationLinks
		}
		for _, keep := range []bool{false, true} {
			sharded := 0
			for count := 20; count < 55; count++ {
				tree := fstest.MapFS{".": {Mode: fs.ModeDir | 0o750, ModTime: when}}
				for i := range count {
					tree[fmt.Sprintf("name %d", i)] = &fstest.MapFile{Data: fmt.Append(nil, i), Mode: 0o600, ModTime: when}
				}
				m := newMemoryStore()
				r, err := ImportFS(t.Context(), m, tree, Options{Profile: p, KeepMode: keep, KeepTimes: keep})
				if err != nil {
					t.Fatal(err)
				}
				options := []uio.DirectoryOption{
					uio.WithCidBuilder(newReferenceBuilder(p)), uio.WithSizeEstimationMode(rule),
				}
				if keep {
					options = append(options, uio.WithStat(0o750, when))
				}
				dir, err := uio.NewDirectory(mdtest.Mock(), options...)
				if err != nil {
					t.Fatal(err)
				}
				for e, err := range ReadDir(t.Context(), m, r.CID) {
					if err != nil {
						t.Fatal(err)
					}
					child, err := m.Get(t.Context(), e.CID)
					if err != nil {
						t.Fatal(err)
					}
					if err := addReference(dir, e.Name, child, p); err != nil {
						t.Fatal(err)
					}
				}
				want, err := dir.GetNode()
				if err != nil {
					t.Fatal(err)
				}
				if r.CID != want.Cid() {
					t.Errorf("%d entries, rule %d, attributes %t: got %s, want %s", count, p.ShardRule, keep, r.CID, want.Cid())
				}
				n, err := load(t.Context(), m, r.CID)
				if err != nil {
					t.Fatal(err)
				}
				if n.Type == TypeHAMTShard {
					sharded++
				}
			}
			if sharded == 0 || sharded == 35 {
				t.Errorf("rule %d: %d directories of 35 were sharded, want some", p.ShardRule, sharded)
			}
		}
	}
}

func addReference(dir uio.Directory, name string, b block.Block, p Profile) error {
	if b.CID().Type() == block.Raw {
		node, err := merkledag.NewRawNodeWPrefix(b.Data(), newReferenceBuilder(p))
		if err != nil {
			return err
		}
		return dir.AddChild(context.Background(), name, node)
	}
	node, err := merkledag.DecodeProtobuf(b.Data())
	if err != nil {
		return err
	}
	if err := node.SetCidBuilder(newReferenceBuilder(p)); err != nil {
		return err
	}
	return dir.AddChild(context.Background(), name, node)
}
