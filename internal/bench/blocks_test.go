package bench_test

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

const (
	// tinySize is the size of blocks, in bytes, if only their number counts.
	tinySize = 16
	// fanout is the number of links of a link block.
	fanout = 1000
	// perBatch is the number of blocks put in one batch.
	perBatch = 20_000
)

// numberedBlock returns the n-th raw block of a series. Equal arguments give equal
// blocks.
func (s *stage) numberedBlock(series, n uint64, size int) block.Block {
	data := make([]byte, size)
	binary.BigEndian.PutUint64(data, series)
	binary.BigEndian.PutUint64(data[8:], n)
	if size > tinySize {
		rand.NewChaCha8([32]byte(append(data[:16:16], data[:16]...))).Read(data[16:])
	}
	b, err := block.New(block.Raw, data)
	s.check(err)
	return b
}

// linkBlock returns a dag-cbor block that lists links.
func (s *stage) linkBlock(links []cid.Cid) block.Block {
	data := make([]byte, 0, 8+45*len(links))
	data = binary.BigEndian.AppendUint32(append(data, 0x9a), uint32(len(links))) // an array
	for _, c := range links {
		data = append(data, 0xd8, 42, 0x58, byte(1+c.ByteLen()), 0) // a tagged string of bytes
		data = append(data, c.Bytes()...)
	}
	b, err := block.New(block.DagCBOR, data)
	s.check(err)
	return b
}

// A filler puts blocks into a store, many in each batch, and builds link blocks above
// those to keep alive.
type filler struct {
	*stage
	st     *store.Store
	batch  *store.Batch
	put    int
	levels [][]cid.Cid // links that are in no link block yet, those of leaves first
}

func (s *stage) newFiller(st *store.Store) *filler {
	return &filler{stage: s, st: st, batch: st.Batch()}
}

// add puts a block.
func (f *filler) add(b block.Block) {
	f.check(f.batch.Put(f.Context(), b))
	if f.put++; f.put%perBatch == 0 {
		f.check(f.batch.Commit(f.Context()))
		f.batch = f.st.Batch()
	}
}

// keep puts a block that alias will keep alive.
func (f *filler) keep(b block.Block) {
	f.add(b)
	f.link(0, b.CID())
}

func (f *filler) link(level int, c cid.Cid) {
	if level == len(f.levels) {
		f.levels = append(f.levels, nil)
	}
	f.levels[level] = append(f.levels[level], c)
	if len(f.levels[level]) == fanout {
		f.close(level)
	}
}

// close puts a link block above the links of one level.
func (f *filler) close(level int) {
	b := f.linkBlock(f.levels[level])
	f.levels[level] = nil
	f.add(b)
	f.link(level+1, b.CID())
}

// alias makes a root above the blocks of keep, and aliases it. It returns the root
// when all of its blocks are counted as live.
func (f *filler) alias(name string) cid.Cid {
	top := 0
	for ; top < len(f.levels)-1 || len(f.levels[top]) != 1; top++ {
		if len(f.levels[top]) > 0 {
			f.close(top)
		}
	}
	root := f.levels[top][0]
	f.batch.Alias(name, root, store.AliasOptions{})
	f.commit()
	for _, err := range f.st.Wanted(f.Context()) {
		f.check(err)
	}
	return root
}

// commit commits the last batch.
func (f *filler) commit() { f.check(f.batch.Commit(f.Context())) }
