package sources

import (
	"fmt"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/bitswap"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// BenchmarkServe has a node serve small blocks from a store on disk by bitswap.
func BenchmarkServe(b *testing.B) {
	const count, size = 20_000, 1 << 10
	f := &fixture{TB: b}
	theirs, err := store.Open(b.Context(), b.TempDir(), store.Options{})
	f.check(err)
	defer theirs.Close()
	f.theirs = theirs
	var cids []cid.Cid
	batch := theirs.Batch()
	for i := range count {
		k, err := block.New(block.Raw, fmt.Appendf(make([]byte, size), "%d", i))
		f.check(err)
		f.check(batch.Put(b.Context(), k))
		batch.Alias(fmt.Sprint(i), k.CID(), store.AliasOptions{})
		cids = append(cids, k.CID())
	}
	f.check(batch.Commit(b.Context()))
	us, they := f.host(), f.host()
	f.bitswap(they)
	client := f.bitswap(us)
	f.check(us.Connect(b.Context(), peer.AddrInfo{ID: they.ID(), Addrs: they.Addrs()}))
	b.ReportAllocs()
	for b.Loop() {
		c, err := client.Open(b.Context(), they.ID())
		f.check(err)
		f.check(c.Want(bitswap.WantBlock, true, 0, cids...))
		for range count {
			r, err := c.Next(b.Context())
			f.check(err)
			if r.Kind != bitswap.Block {
				b.Fatalf("got a reply of kind %d", r.Kind)
			}
		}
		c.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*count), "µs/block")
}
