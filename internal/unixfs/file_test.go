package unixfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
	"pgregory.net/rapid"
)

// putNode puts a node into m.
func putNode(t testing.TB, m *memoryStore, n Node) Link {
	t.Helper()
	b, err := block.New(block.DagPB, n.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Put(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	return Link{CID: b.CID(), Tsize: uint64(b.Size())}
}

// putRaw puts a raw block into m.
func putRaw(t testing.TB, m *memoryStore, data string) Link {
	t.Helper()
	b, err := block.New(block.Raw, []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Put(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	return Link{CID: b.CID(), Tsize: uint64(b.Size())}
}

// TestFileModel reads files by random calls and compares with bytes.Reader.
func TestFileModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := rapid.SampledFrom([]Profile{tinyProfile(), tinyV0Profile(), V1Profile()}).Draw(rt, "profile")
		p.ChunkSize = rapid.IntRange(1, 9).Draw(rt, "chunk")
		p.Width = rapid.IntRange(2, 5).Draw(rt, "width")
		data := readVectorStream(t, "model", int64(rapid.IntRange(0, 300).Draw(rt, "size")))
		m := newMemoryStore()
		r, err := Import(t.Context(), m, bytes.NewReader(data), Options{Profile: p})
		if err != nil {
			rt.Fatal(err)
		}
		var get block.Getter = m
		if rapid.Bool().Draw(rt, "into memory of the file's") {
			get = &lendingGetter{memoryStore: m, used: make(map[*byte]bool)}
		}
		f, err := Open(t.Context(), get, r.CID)
		if err != nil {
			rt.Fatal(err)
		}
		defer f.Close()
		if f.Size() != int64(len(data)) {
			rt.Fatalf("size: got %d, want %d", f.Size(), len(data))
		}
		model := bytes.NewReader(data)
		place := rapid.Int64Range(0, int64(len(data))+5)
		rt.Repeat(map[string]func(*rapid.T){
			"Read": func(rt *rapid.T) {
				n := rapid.IntRange(1, 40).Draw(rt, "n")
				got, want := make([]byte, n), make([]byte, n)
				gotN, gotErr := io.ReadFull(f, got)
				wantN, wantErr := io.ReadFull(model, want)
				if gotN != wantN || gotErr != wantErr || !bytes.Equal(got, want) {
					rt.Fatalf("got %x, %v, want %x, %v", got[:gotN], gotErr, want[:wantN], wantErr)
				}
			},
			"Seek": func(rt *rapid.T) {
				whence := rapid.IntRange(0, 2).Draw(rt, "whence")
				offset := place.Draw(rt, "offset") - int64(whence)*int64(len(data)/2)
				got, gotErr := f.Seek(offset, whence)
				want, wantErr := model.Seek(offset, whence)
				if got != want || (gotErr == nil) != (wantErr == nil) {
					rt.Fatalf("got %d, %v, want %d, %v", got, gotErr, want, wantErr)
				}
			},
			"ReadAt": func(rt *rapid.T) {
				n, off := rapid.IntRange(0, 60).Draw(rt, "n"), place.Draw(rt, "off")
				got, want := make([]byte, n), make([]byte, n)
				gotN, gotErr := f.ReadAt(got, off)
				wantN, wantErr := model.ReadAt(want, off)
				if gotN != wantN || gotErr != wantErr || !bytes.Equal(got, want) {
					rt.Fatalf("at %d: got %x, %v, want %x, %v", off, got[:gotN], gotErr, want[:wantN], wantErr)
				}
			},
			"WriteTo": func(rt *rapid.T) {
				var got, want bytes.Buffer
				gotN, gotErr := f.WriteTo(&got)
				wantN, wantErr := model.WriteTo(&want)
				if gotN != wantN || gotErr != nil || wantErr != nil || got.String() != want.String() {
					rt.Fatalf("got %d, %v, want %d, %v", gotN, gotErr, wantN, wantErr)
				}
			},
		})
	})
}

// TestReadReusesMemory reads a file through memory of a few leaves.
func TestReadReusesMemory(t *testing.T) {
	p := V1Profile()
	p.ChunkSize = 1000
	data := readVectorStream(t, "again", 500_500)
	m := &lendingGetter{memoryStore: newMemoryStore(), used: make(map[*byte]bool)}
	r, err := Import(t.Context(), m, bytes.NewReader(data), Options{Profile: p})
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(t.Context(), m, r.CID)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out bytes.Buffer
	if _, err := f.WriteTo(&out); err != nil || !bytes.Equal(out.Bytes(), data) {
		t.Errorf("got %d bytes, %v, want the %d of the file", out.Len(), err, len(data))
	}
	if len(m.used) > readAhead+1 || len(m.used) == 0 {
		t.Errorf("got memory for %d leaves, want %d at most", len(m.used), readAhead+1)
	}
}

// TestOtherFileLayouts reads files with the layouts of other tools.
func TestOtherFileLayouts(t *testing.T) {
	m := newMemoryStore()
	const text = "in the CID"
	inlined, err := block.NewWithPrefix(cid.Prefix{Version: 1, Codec: block.Raw, MhType: block.Identity, MhLength: -1}, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	inline := inlined.CID()
	leaf := putRaw(t, m, "leaf")
	old := putNode(t, m, Node{Type: TypeRaw, Data: []byte("old"), FileSize: 3})
	empty := putRaw(t, m, "")
	inner := putNode(t, m, Node{Type: TypeFile, Data: []byte("<"), FileSize: 8, BlockSizes: []uint64{4, 3}, Links: []Link{leaf, old}})
	tests := []struct {
		name string
		node Node
		want string
	}{
		{"leaf of type Raw", Node{Type: TypeFile, FileSize: 3, BlockSizes: []uint64{3}, Links: []Link{old}}, "old"},
		{"inlined leaf", Node{Type: TypeFile, FileSize: uint64(len(text)), BlockSizes: []uint64{uint64(len(text))}, Links: []Link{{CID: inline}}}, text},
		{"data before links, uneven depth", Node{Type: TypeFile, Data: []byte("["), FileSize: 14, BlockSizes: []uint64{8, 4, 1}, Links: []Link{inner, leaf, putRaw(t, m, "]")}}, "[<leafoldleaf]"},
		{"empty children", Node{Type: TypeFile, FileSize: 4, BlockSizes: []uint64{0, 4, 0}, Links: []Link{empty, leaf, empty}}, "leaf"},
		{"only empty children", Node{Type: TypeFile, BlockSizes: []uint64{0, 0}, Links: []Link{empty, empty}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := Open(t.Context(), m, putNode(t, m, tt.node).CID)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			got, err := io.ReadAll(f)
			if err != nil || string(got) != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
			at := make([]byte, len(tt.want))
			if n, err := f.ReadAt(at, 0); n != len(at) || (err != nil && err != io.EOF) || string(at) != tt.want {
				t.Errorf("ReadAt: got %q, %v, want %q", at, err, tt.want)
			}
		})
	}
}

// TestHostileFiles: a contradiction in a file is an error that names the block.
func TestHostileFiles(t *testing.T) {
	m := newMemoryStore()
	leaf := putRaw(t, m, "leaf")
	named := leaf
	named.Name = "name"
	dir := putNode(t, m, Node{Type: TypeDirectory})
	chain := leaf
	for range maxFileDepth + 1 {
		chain = putNode(t, m, Node{Type: TypeFile, FileSize: 4, BlockSizes: []uint64{4}, Links: []Link{chain}})
	}
	file := func(size uint64, sizes []uint64, links ...Link) Node {
		return Node{Type: TypeFile, FileSize: size, BlockSizes: sizes, Links: links}
	}
	tests := []struct {
		name    string
		root    cid.Cid
		culprit cid.Cid // undefined: the root
		want    error
	}{
		{"a size too few", putNode(t, m, file(4, nil, leaf)).CID, cid.Undef, block.ErrMalformed},
		{"a size too many", putNode(t, m, file(8, []uint64{4, 4}, leaf)).CID, cid.Undef, block.ErrMalformed},
		{"file size too small", putNode(t, m, file(3, []uint64{4}, leaf)).CID, cid.Undef, block.ErrMalformed},
		{"file size beyond 2^63", putNode(t, m, file(math.MaxUint64, []uint64{math.MaxUint64}, leaf)).CID, cid.Undef, block.ErrMalformed},
		{"sum beyond 2^63", putNode(t, m, file(1, []uint64{1 << 63, 1<<63 + 1}, leaf, leaf)).CID, cid.Undef, block.ErrMalformed},
		{"a named link", putNode(t, m, file(4, []uint64{4}, named)).CID, cid.Undef, block.ErrMalformed},
		{"a child shorter than said", putNode(t, m, file(5, []uint64{5}, leaf)).CID, leaf.CID, block.ErrMalformed},
		{"a child longer than said", putNode(t, m, file(3, []uint64{3}, leaf)).CID, leaf.CID, block.ErrMalformed},
		{"a directory in a file", putNode(t, m, file(4, []uint64{4}, dir)).CID, dir.CID, ErrNotFile},
		{"a child that is not here", putNode(t, m, file(4, []uint64{4}, Link{CID: makeLeafCID(t, "absent")})).CID, makeLeafCID(t, "absent"), block.ErrNotFound},
		{"too deep a chain", chain.CID, cid.Undef, block.ErrMalformed},
		{"a directory", dir.CID, cid.Undef, ErrNotFile},
		{"a symlink", putNode(t, m, Node{Type: TypeSymlink, Data: []byte("x")}).CID, cid.Undef, ErrNotFile},
		{"metadata", putNode(t, m, Node{Type: TypeMetadata}).CID, cid.Undef, ErrNotFile},
		{"dag-cbor", cid.NewCidV1(block.DagCBOR, leaf.CID.Hash()), cid.Undef, block.ErrUnknownCodec},
		{"not dag-pb", cid.NewCidV1(block.DagPB, leaf.CID.Hash()), cid.Undef, block.ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := Open(t.Context(), m, tt.root)
			if err == nil {
				defer f.Close()
				_, err = io.ReadAll(f)
			}
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			culprit := tt.culprit
			if !culprit.Defined() {
				culprit = tt.root
			}
			if tt.name != "too deep a chain" && !strings.Contains(err.Error(), culprit.String()) {
				t.Errorf("got %v, want an error that contains %s", err, culprit)
			}
		})
	}
}

// TestEndlessFile: a read at any offset of a file of 8 EiB, made of 21 blocks,
// needs only a few of them.
func TestEndlessFile(t *testing.T) {
	m := newMemoryStore()
	at, size := putRaw(t, m, "x"), uint64(1)
	for size < 1<<62 {
		n := Node{Type: TypeFile}
		for range 8 {
			n.Links, n.BlockSizes, n.FileSize = append(n.Links, at), append(n.BlockSizes, size), n.FileSize+size
		}
		if n.FileSize > math.MaxInt64 {
			break
		}
		at, size = putNode(t, m, n), n.FileSize
	}
	f, err := Open(t.Context(), m, at.CID)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Size() != int64(size) {
		t.Fatalf("got %d, want %d", f.Size(), size)
	}
	for _, off := range []int64{0, f.Size() / 3, f.Size() - 10} {
		m.gets = 0
		p := make([]byte, 10)
		if _, err := f.ReadAt(p, off); err != nil || string(p) != "xxxxxxxxxx" {
			t.Errorf("at %d: got %q, %v", off, p, err)
		}
		if limit := 10 + 2*maxFileDepth*readAhead; m.gets > limit {
			t.Errorf("at %d: %d blocks for ten bytes, want at most %d", off, m.gets, limit)
		}
	}
}

// A waitingGetter counts the Gets in progress, which wait in it.
type waitingGetter struct {
	block.Getter
	gate    chan struct{}
	now     atomic.Int32
	highest atomic.Int32
}

func (c *waitingGetter) Get(ctx context.Context, id cid.Cid) (block.Block, error) {
	now := c.now.Add(1)
	defer c.now.Add(-1)
	for high := c.highest.Load(); now > high && !c.highest.CompareAndSwap(high, now); high = c.highest.Load() {
	}
	select {
	case <-c.gate:
	case <-ctx.Done():
		return block.Block{}, ctx.Err()
	}
	return c.Getter.Get(ctx, id)
}

// TestReadAhead: reading requests several blocks at once, but never more than the
// bound, and Close cancels them.
func TestReadAhead(t *testing.T) {
	m := newMemoryStore()
	p := V1Profile()
	p.ChunkSize, p.Width = 10, 512
	data := readVectorStream(t, "ahead", 4000)
	r, err := Import(t.Context(), m, bytes.NewReader(data), Options{Profile: p})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		c := &waitingGetter{Getter: m, gate: make(chan struct{})}
		root, err := m.Get(t.Context(), r.CID)
		if err != nil {
			t.Fatal(err)
		}
		n, err := decodeBlock(root)
		if err != nil {
			t.Fatal(err)
		}
		f, err := openNode(t.Context(), c, r.CID, n)
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		var reading sync.WaitGroup
		reading.Go(func() { got, err = io.ReadAll(f) })
		synctest.Wait()
		if now := c.now.Load(); now < 1 || now > firstAhead {
			t.Errorf("at first %d blocks were requested, want 1 to %d", now, firstAhead)
		}
		done := make(chan struct{})
		go func() { reading.Wait(); close(done) }()
		for open := true; open; {
			select {
			case c.gate <- struct{}{}:
			case <-done:
				open = false
			}
			synctest.Wait()
		}
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("got %d bytes, %v, want %d", len(got), err, len(data))
		}
		if high := c.highest.Load(); high < readAhead || high > readAhead+1 {
			t.Errorf("at most %d blocks were requested at once, want %d", high, readAhead)
		}

		// Closing the file ends a waiting reader.
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		reading.Go(func() { _, err = f.Read(make([]byte, 1)) })
		synctest.Wait()
		f.Close()
		reading.Wait()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
		if _, err := f.Read(make([]byte, 1)); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("got %v, want fs.ErrClosed", err)
		}
		if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("got %v, want fs.ErrClosed", err)
		}
	})
}

// TestReadAfterError: after an error, reading continues where it stopped.
func TestReadAfterError(t *testing.T) {
	m := newMemoryStore()
	r, err := Import(t.Context(), m, strings.NewReader("one two three"), Options{Profile: tinyProfile()})
	if err != nil {
		t.Fatal(err)
	}
	lost := m.order[2]
	kept := m.blocks[string(lost.Hash())]
	delete(m.blocks, string(lost.Hash()))
	f, err := Open(t.Context(), m, r.CID)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var got bytes.Buffer
	if _, err := f.WriteTo(&got); !errors.Is(err, block.ErrNotFound) || !strings.Contains(err.Error(), lost.String()) {
		t.Errorf("got %v, want ErrNotFound of %s", err, lost)
	}
	m.blocks[string(lost.Hash())] = kept
	if _, err := f.WriteTo(&got); err != nil || got.String() != "one two three" {
		t.Errorf("got %q, %v, want all", got.String(), err)
	}
}
