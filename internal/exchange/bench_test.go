package exchange

import (
	"testing"

	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// BenchmarkSync gets DAGs from one source in this process into a store in
// memory, and reports the time of a block: a chain is all link blocks, a tree
// mostly small leaves, a file mostly bytes, and a mesh mostly links.
func BenchmarkSync(b *testing.B) {
	f := newFixture(b)
	for _, dag := range []struct {
		name string
		root cid.Cid
	}{{"chain", f.chain(20_000)}, {"tree", f.tree(20_000)}, {"file", f.file(256<<20, 1)}, {"mesh", f.mesh(100, 4000)}} {
		b.Run(dag.name, func(b *testing.B) {
			b.ReportAllocs()
			var blocks int64
			for b.Loop() {
				b.StopTimer()
				ours, err := store.Open(b.Context(), "", store.Options{})
				f.check(err)
				b.StartTimer()
				p, err := f.sync(Config{Store: ours}, dag.root, Options{From: []Source{&gateway{name: "gateway", blocks: f.theirs}}, Alias: "got"})
				f.check(err)
				blocks += p.Blocks
				b.StopTimer()
				ours.Close()
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(blocks), "µs/block")
		})
	}
}
