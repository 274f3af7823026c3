package car_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	carv2 "github.com/ipld/go-car/v2"
	"github.com/ipld/go-car/v2/blockstore"
	"github.com/ipld/go-car/v2/index"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/car"
)

// goCarBlocks reads a CAR as a stream with go-car.
func goCarBlocks(t *testing.T, p []byte) (roots []cid.Cid, got []block.Block) {
	t.Helper()
	r, err := carv2.NewBlockReader(bytes.NewReader(p))
	if err != nil {
		t.Fatalf("go-car: NewBlockReader: %v", err)
	}
	for {
		b, err := r.Next()
		if err == io.EOF {
			return r.Roots, got
		}
		if err != nil {
			t.Fatalf("go-car: Next: %v", err)
		}
		ours, err := block.Verify(b.Cid(), b.RawData())
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, ours)
	}
}

func TestGoCarReadsOurStreams(t *testing.T) {
	want := testBlocks(t)
	v1 := writeV1(t, cids(want)[:4], want)
	for name, p := range map[string][]byte{
		"v1":              v1,
		"v2":              writeV2(t, cids(want)[:4], want, true),
		"v2 with padding": append(wrap(v1, 33, len(v1)), 0, 0, 0),
		"v2 still open":   writeV2(t, cids(want)[:4], want, false),
	} {
		roots, got := goCarBlocks(t, p)
		if !slices.Equal(roots, cids(want)[:4]) {
			t.Errorf("%s: got roots %v, want %v", name, roots, cids(want)[:4])
		}
		sameBlocks(t, got, want)
	}
}

// Random access through go-car: by our index, or, while the file is open, by the one
// that go-car makes from the data.
func TestGoCarLooksUpInOurFiles(t *testing.T) {
	want := testBlocks(t)
	closed := writeV2(t, cids(want)[:1], want, true)

	// The same with padding between the data and the index.
	h, err := car.ParseHeaderV2(closed[car.PragmaSize:])
	if err != nil {
		t.Fatal(err)
	}
	const padding = 4096 - 51
	padded := slices.Insert(slices.Clone(closed), int(h.IndexOffset), make([]byte, padding)...)
	h.IndexOffset += padding
	copy(padded[car.PragmaSize:], h.Append(nil))

	for name, p := range map[string][]byte{
		"closed": closed,
		"padded": padded,
		"open":   writeV2(t, cids(want)[:1], want, false),
	} {
		t.Run(name, func(t *testing.T) {
			store, err := blockstore.NewReadOnly(bytes.NewReader(p), nil)
			if err != nil {
				t.Fatalf("go-car: NewReadOnly: %v", err)
			}
			defer store.Close()
			for _, b := range want {
				got, err := store.Get(context.Background(), b.CID())
				if err != nil {
					t.Errorf("go-car: Get %s: %v", b.CID(), err)
					continue
				}
				if !bytes.Equal(got.RawData(), b.Data()) {
					t.Errorf("go-car: Get %s: got other bytes", b.CID())
				}
			}
			missing, err := block.New(block.Raw, []byte("missing"))
			if err != nil {
				t.Fatal(err)
			}
			if has, err := store.Has(context.Background(), missing.CID()); has || err != nil {
				t.Errorf("go-car: Has %s: got %v, %v, want false", missing.CID(), has, err)
			}
		})
	}

	r, err := carv2.NewReader(bytes.NewReader(closed))
	if err != nil {
		t.Fatalf("go-car: NewReader: %v", err)
	}
	stats, err := r.Inspect(true)
	if err != nil {
		t.Fatalf("go-car: Inspect: %v", err)
	}
	if stats.BlockCount != uint64(len(want)) || !stats.RootsPresent || uint64(stats.IndexCodec) != car.IndexCodec {
		t.Errorf("go-car: Inspect: got %+v", stats)
	}
}

func TestGoCarReadsOurIndex(t *testing.T) {
	entries := randomEntries(3000)
	var buf bytes.Buffer
	if _, err := car.WriteIndex(&buf, entries); err != nil {
		t.Fatal(err)
	}
	ours := slices.Clone(buf.Bytes())
	idx, err := index.ReadFrom(&buf)
	if err != nil {
		t.Fatalf("go-car: ReadFrom: %v", err)
	}
	for _, e := range entries {
		var offsets []uint64
		err := idx.GetAll(cid.NewCidV1(block.Raw, e.Hash), func(offset uint64) bool {
			offsets = append(offsets, offset)
			return true
		})
		if err != nil || !slices.Contains(offsets, e.Offset) {
			t.Fatalf("go-car: GetAll %x: got %v, %v, want %d among them", []byte(e.Hash), offsets, err, e.Offset)
		}
	}
	// An index that go-car writes of entries without duplicates equals ours, byte
	// for byte.
	var records []index.Record
	unique := randomEntries(10)
	for _, e := range unique {
		records = append(records, index.Record{Cid: cid.NewCidV1(block.Raw, e.Hash), Offset: e.Offset})
	}
	theirs := index.NewMultihashSorted()
	if err := theirs.Load(records); err != nil {
		t.Fatal(err)
	}
	var want, got bytes.Buffer
	if _, err := index.WriteTo(theirs, &want); err != nil {
		t.Fatal(err)
	}
	if _, err := car.WriteIndex(&got, unique); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Errorf("index of %d entries: got %x, want %x", len(unique), got.Bytes(), want.Bytes())
	}
	back, err := car.ReadIndex(bytes.NewReader(ours), len(entries))
	if err != nil {
		t.Fatal(err)
	}
	sameEntries(t, back, entries)
}

func TestReadWhatGoCarWrites(t *testing.T) {
	want := testBlocks(t)
	for _, tt := range []struct {
		name    string
		version int
		options []carv2.Option
	}{
		{"v2", 2, nil},
		{"v2 with paddings", 2, []carv2.Option{carv2.UseDataPadding(1413), carv2.UseIndexPadding(1314)}},
		{"v2, fully indexed", 2, []carv2.Option{carv2.StoreIdentityCIDs(true)}},
		{"v1", 1, []carv2.Option{blockstore.WriteAsCarV1(true)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "go-car.car")
			options := append([]carv2.Option{blockstore.UseWholeCIDs(true)}, tt.options...)
			store, err := blockstore.OpenReadWrite(path, cids(want)[:2], options...)
			if err != nil {
				t.Fatalf("go-car: OpenReadWrite: %v", err)
			}
			stored := want
			if tt.name != "v2, fully indexed" {
				stored = slices.DeleteFunc(slices.Clone(want), func(b block.Block) bool { return block.IsIdentity(b.CID()) })
			}
			for _, b := range want {
				theirs, err := blocks.NewBlockWithCid(b.Data(), b.CID())
				if err != nil {
					t.Fatal(err)
				}
				if err := store.Put(context.Background(), theirs); err != nil {
					t.Fatalf("go-car: Put: %v", err)
				}
			}
			if err := store.Finalize(); err != nil {
				t.Fatalf("go-car: Finalize: %v", err)
			}
			p, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			r, err := car.NewReader(bytes.NewReader(p))
			if err != nil {
				t.Fatalf("NewReader: %v", err)
			}
			if r.Version() != tt.version || !slices.Equal(r.Roots(), cids(want)[:2]) {
				t.Errorf("got version %d, roots %v, want %d, %v", r.Version(), r.Roots(), tt.version, cids(want)[:2])
			}
			got, err := readAll(r)
			if err != nil {
				t.Fatalf("read: %v", err)
			}
			sameBlocks(t, got, stored)
			if tt.version == 2 {
				checkIndex(t, p, stored)
			}
		})
	}
}

// checkIndex looks each block up in the CARv2's index and parses the section
// found there.
func checkIndex(t *testing.T, p []byte, blocks []block.Block) {
	t.Helper()
	h, err := car.ParseHeaderV2(p[car.PragmaSize:])
	if err != nil {
		t.Fatalf("ParseHeaderV2: %v", err)
	}
	entries, err := car.ReadIndex(bytes.NewReader(p[h.IndexOffset:]), 1000)
	if err != nil {
		t.Fatalf("ReadIndex: %v", err)
	}
	data := p[h.DataOffset:][:h.DataSize]
	for _, b := range blocks {
		i := slices.IndexFunc(entries, func(e car.IndexEntry) bool { return bytes.Equal(e.Hash, b.CID().Hash()) })
		if i < 0 {
			t.Errorf("%s isn't in the index", b.CID())
			continue
		}
		section := data[entries[i].Offset:]
		c, head, size, err := car.ParseSection(section)
		if err != nil || c != b.CID() || !bytes.Equal(section[head:head+size], b.Data()) {
			t.Errorf("section of %s: got %s, %d, %v", b.CID(), c, size, err)
		}
	}
	if len(entries) != len(blocks) {
		t.Errorf("index: got %d entries, want %d", len(entries), len(blocks))
	}
}

// The fixtures of the specification, and files of past versions that go-car keeps.
func TestFixtures(t *testing.T) {
	for _, tt := range []struct {
		file   string
		roots  []string
		blocks int
		index  error // of reading the index; nil if it is readable
	}{
		{"carv1-basic.car", []string{"bafyreihyrpefhacm6kkp4ql6j6udakdit7g3dmkzfriqfykhjw6cad5lrm", "bafyreidj5idub6mapiupjwjsyyxhyhedxycv4vihfsicm2vt46o7morwlm"}, 8, nil},
		{"carv2-basic.car", []string{"QmfEoLyB5NndqeKieExd1rtJzTduQUPEV8TwAYcUiy3H5Z"}, 5, block.ErrUnknownCodec},
		{"sample-unixfs-v2.car", []string{"bafybeiakgrehdxxgy5kca72znt6jllrj2sqkehtqeojfuxlbeuqg3vfkwq"}, 3, nil},
		{"sample-rw-bs-v2.car", []string{"bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu", "bafkreifc4hca3inognou377hfhvu2xfchn2ltzi7yu27jkaeujqqqdbjju", "bafkreig5lvr4l6b4fr3un4xvzeyt3scevgsqjgrhlnwxw2unwbn5ro276u"}, 3, nil},
	} {
		p, err := os.ReadFile(filepath.Join("testdata", tt.file))
		if err != nil {
			t.Fatal(err)
		}
		r, err := car.NewReader(bytes.NewReader(p))
		if err != nil {
			t.Errorf("%s: %v", tt.file, err)
			continue
		}
		var roots []string
		for _, c := range r.Roots() {
			roots = append(roots, c.String())
		}
		if !slices.Equal(roots, tt.roots) {
			t.Errorf("%s: got roots %v, want %v", tt.file, roots, tt.roots)
		}
		got, err := readAll(r)
		if err != nil || len(got) != tt.blocks {
			t.Errorf("%s: got %d blocks, %v, want %d", tt.file, len(got), err, tt.blocks)
		}
		_, theirs := goCarBlocks(t, p)
		sameBlocks(t, got, theirs)
		if r.Version() == 1 {
			continue
		}
		if tt.index == nil {
			checkIndex(t, p, got)
			continue
		}
		h, err := car.ParseHeaderV2(p[car.PragmaSize:])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := car.ReadIndex(bytes.NewReader(p[h.IndexOffset:]), 100); !errors.Is(err, tt.index) {
			t.Errorf("%s: index: got %v, want %v", tt.file, err, tt.index)
		}
	}
}

func TestPragmaAndHeaderAreGoCars(t *testing.T) {
	if got := car.AppendPragma(nil); !bytes.Equal(got, carv2.Pragma) || len(got) != car.PragmaSize {
		t.Errorf("pragma: got %x, want %x", got, carv2.Pragma)
	}
	theirs := carv2.NewHeader(1000).WithDataPadding(5).WithIndexPadding(7)
	theirs.Characteristics.SetFullyIndexed(true)
	var buf bytes.Buffer
	if _, err := theirs.WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	ours := car.HeaderV2{DataOffset: 56, DataSize: 1000, IndexOffset: 1063}
	ours.Characteristics[0] = car.FullyIndexed
	if got := ours.Append(nil); !bytes.Equal(got, buf.Bytes()) {
		t.Errorf("header: got %x, want %x", got, buf.Bytes())
	}
}
