package car_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/car"
)

// 16 MiB of 256 KiB blocks, the usual size of chunks.
func benchmarkBlocks(b *testing.B) ([]block.Block, int64) {
	var blocks []block.Block
	var size int64
	for i := range 64 {
		p := make([]byte, 256<<10)
		binary.BigEndian.PutUint64(p, uint64(i))
		bl, err := block.New(block.Raw, p)
		if err != nil {
			b.Fatal(err)
		}
		blocks = append(blocks, bl)
		size += int64(len(p))
	}
	return blocks, size
}

func BenchmarkReader(b *testing.B) {
	blocks, size := benchmarkBlocks(b)
	p := writeV1(b, nil, blocks)
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		r, err := car.NewReader(bytes.NewReader(p))
		if err != nil {
			b.Fatal(err)
		}
		for _, err := range r.Blocks() {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkWriter(b *testing.B) {
	blocks, size := benchmarkBlocks(b)
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		w, err := car.NewWriter(io.Discard, nil)
		if err != nil {
			b.Fatal(err)
		}
		for _, bl := range blocks {
			if err := w.Put(bl); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkSHA256 is the yardstick of BenchmarkReader: the same bytes hashed
// and nothing else.
func BenchmarkSHA256(b *testing.B) {
	blocks, size := benchmarkBlocks(b)
	b.SetBytes(size)
	for b.Loop() {
		for _, bl := range blocks {
			sha256.Sum256(bl.Data())
		}
	}
}

func BenchmarkWriteIndex(b *testing.B) {
	entries := randomEntries(10_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := car.WriteIndex(io.Discard, entries); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadIndex(b *testing.B) {
	var buf bytes.Buffer
	if _, err := car.WriteIndex(&buf, randomEntries(10_000)); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(buf.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := car.ReadIndex(bytes.NewReader(buf.Bytes()), 10_000); err != nil {
			b.Fatal(err)
		}
	}
}
