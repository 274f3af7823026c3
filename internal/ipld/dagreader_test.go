package ipld

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/block/blocktest"
	"github.com/ipfs/go-cid"
)

// A counter is a Getter that counts.
type counter struct {
	*blocktest.Mem
	gets int
}

func (c *counter) Get(ctx context.Context, k cid.Cid) (block.Block, error) {
	c.gets++
	return c.Mem.Get(ctx, k)
}

// streamOf returns what reads the blocks one by one, and then err.
func streamOf(blocks []block.Block, err error) func() (block.Block, error) {
	return func() (block.Block, error) {
		if len(blocks) == 0 {
			return block.Block{}, err
		}
		b := blocks[0]
		blocks = blocks[1:]
		return b, nil
	}
}

// TestDAGReader reads a stream in order, from its end to its beginning, and again
// after blocks were evicted, within the bounds on memory.
func TestDAGReader(t *testing.T) {
	m := &counter{Mem: &blocktest.Mem{}}
	var blocks []block.Block
	for i := range (maxAhead + maxRecent) / block.MaxSize * 5 / 4 {
		data := make([]byte, block.MaxSize)
		copy(data, fmt.Append(nil, i))
		b, err := block.New(block.Raw, data)
		if err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, b)
	}
	if err := m.Put(t.Context(), blocks...); err != nil {
		t.Fatal(err)
	}
	read := func(d *DAGReader, blocks []block.Block) {
		t.Helper()
		for _, want := range blocks {
			got, err := d.Get(t.Context(), want.CID())
			if err != nil || !got.CID().Equals(want.CID()) || !bytes.Equal(got.Data(), want.Data()) {
				t.Fatalf("%s: got %v, %v", want.CID(), got.CID(), err)
			}
			if d.bytes.ahead > maxAhead+block.MaxSize || d.bytes.recent > maxRecent {
				t.Fatalf("got %d bytes ahead and %d recent", d.bytes.ahead, d.bytes.recent)
			}
		}
	}
	d := NewDAGReader(streamOf(blocks, io.EOF), m)
	read(d, blocks)
	if m.gets != 0 {
		t.Errorf("got %d requests, want none", m.gets)
	}
	read(d, blocks[len(blocks)-2:]) // recent ones
	if m.gets != 0 {
		t.Errorf("recent blocks: got %d requests, want none", m.gets)
	}
	read(d, blocks[:2])
	if m.gets != 2 {
		t.Errorf("evicted blocks: got %d requests, want 2", m.gets)
	}
	backwards := slices.Clone(blocks)
	slices.Reverse(backwards)
	read(NewDAGReader(streamOf(blocks, io.EOF), m), backwards)
	read(NewDAGReader(nil, m), blocks[:1])

	inlined := cid.MustParse("bafkqabtimvwgy3yk")
	if b, err := d.Get(t.Context(), inlined); err != nil || string(b.Data()) != "hello\n" {
		t.Errorf("identity: got %q, %v", b.Data(), err)
	}
}

// TestDAGReaderBreaks: a stream that breaks off is an error, except for blocks
// that came before.
func TestDAGReaderBreaks(t *testing.T) {
	m := &blocktest.Mem{}
	var blocks []block.Block
	for i := range 3 {
		b, err := block.New(block.Raw, []byte{byte(i)})
		if err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, b)
	}
	broken := errors.New("broken")
	d := NewDAGReader(streamOf(blocks[:2], broken), m)
	for range 2 {
		if _, err := d.Get(t.Context(), blocks[2].CID()); !errors.Is(err, broken) {
			t.Errorf("got %v, want %v", err, broken)
		}
	}
	if b, err := d.Get(t.Context(), blocks[1].CID()); err != nil || !bytes.Equal(b.Data(), blocks[1].Data()) {
		t.Errorf("got %v, %v", b, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	d.turn <- struct{}{}
	cancel()
	if _, err := d.Get(ctx, blocks[0].CID()); !errors.Is(err, context.Canceled) {
		t.Errorf("while another reads: got %v, want Canceled", err)
	}
}
