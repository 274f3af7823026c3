package bench_test

import (
	"fmt"
	"math"
	"time"

	"github.com/cairn-ipfs/cairn/store"
)

// evictedSize is the size of the blocks that are evicted while others are put.
const evictedSize = 16 << 10

// measurePutWhileEvicting measures how long puts take while garbage is evicted,
// beside puts without eviction. The garbage lies between live blocks, which have to
// be moved: the harder case.
func measurePutWhileEvicting(s *stage) []row {
	quiet, busy := latencies{}, latencies{}
	first := true
	for round := range s.rounds {
		var q, e latencies
		s.scratch(func(dir string) {
			st := s.open(dir)
			f := s.newFiller(st)
			n := uint64(s.garbage / evictedSize)
			for i := range n {
				f.keep(s.numberedBlock(1, i, evictedSize))
				f.add(s.numberedBlock(2, i, evictedSize)) // in no DAG: garbage
			}
			f.alias("live")
			s.check(st.Flush(s.Context()))
			p := &putter{stage: s, st: st, series: 3}
			p.put(&q, func() bool { return len(q.commit) < 5*s.calls })
			evicted := make(chan error, 1)
			start := time.Now()
			go func() {
				_, err := st.Evict(s.Context(), store.EvictOptions{})
				evicted <- err
			}()
			over := false
			p.put(&e, func() bool {
				select {
				case err := <-evicted:
					s.check(err)
					over = true
				default:
				}
				return !over
			})
			s.Logf("round %d: evicted in %.2f s, beside %d puts", round+1, time.Since(start).Seconds(), len(e.commit))
			s.check(st.Close())
		})
		s.Logf("commit: p50 %.2f ms, p99 %.2f ms; evicting: %.2f, %.2f", quantile(q.commit, 0.5), quantile(q.commit, 0.99), quantile(e.commit, 0.5), quantile(e.commit, 0.99))
		s.Logf("put: p50 %.3f ms, p99 %.3f ms; evicting: %.3f, %.3f", quantile(q.put, 0.5), quantile(q.put, 0.99), quantile(e.put, 0.5), quantile(e.put, 0.99))
		if first || quantile(q.commit, 0.99) < quantile(quiet.commit, 0.99) {
			quiet.commit = q.commit
		}
		if first || quantile(q.put, 0.99) < quantile(quiet.put, 0.99) {
			quiet.put = q.put
		}
		if first || quantile(e.commit, 0.99) < quantile(busy.commit, 0.99) {
			busy.commit = e.commit
		}
		if first || quantile(e.put, 0.99) < quantile(busy.put, 0.99) {
			busy.put = e.put
		}
		first = false
	}
	var rows []row
	for _, side := range []struct {
		what        string
		busy, quiet []float64
	}{
		{"commit one block of 4 KiB", busy.commit, quiet.commit},
		{"put one block of 4 KiB, without a commit", busy.put, quiet.put},
	} {
		for _, q := range []struct {
			name string
			part float64
			goal goal
		}{{"p50", 0.5, goal{}}, {"p99", 0.99, goal{ratio: 2}}} {
			rows = append(rows, row{
				work: fmt.Sprintf("%s while %s of garbage is evicted, %s", side.what, formatBytes(s.garbage), q.name),
				kubo: "waits for the whole collection", yardstick: "the same without eviction",
				beside: quantile(side.quiet, q.part), cairn: quantile(side.busy, q.part), unit: "ms", goal: q.goal,
			})
		}
	}
	return rows
}

// latencies are the times of commits and puts, in milliseconds.
type latencies struct{ commit, put []float64 }

// A putter puts one block after another.
type putter struct {
	*stage
	st     *store.Store
	series uint64
	n      uint64
}

// put measures as long as more returns true, and at least once.
func (p *putter) put(l *latencies, more func() bool) {
	for again := true; again; again = more() {
		b := p.numberedBlock(p.series, p.n, 4<<10)
		l.commit = append(l.commit, milliseconds(func() {
			batch := p.st.Batch()
			p.check(batch.Put(p.Context(), b))
			p.check(batch.Commit(p.Context()))
		}))
		b = p.numberedBlock(p.series+1, p.n, 4<<10)
		l.put = append(l.put, milliseconds(func() { p.check(p.st.Put(p.Context(), b)) }))
		p.n++
	}
}

// measureCollect measures how long it takes to free the space of a removed alias,
// by its size and by where its blocks lie.
func measureCollect(s *stage) []row {
	tenth, whole, mixed := math.Inf(1), math.Inf(1), math.Inf(1)
	s.scratch(func(dir string) {
		st := s.open(dir)
		f := s.newFiller(st)
		for i := range s.beside {
			f.keep(s.numberedBlock(1, uint64(i), tinySize))
		}
		f.alias("live")
		for round := range s.rounds {
			for _, n := range []struct {
				blocks int
				best   *float64
			}{{s.beside / 10, &tenth}, {s.beside, &whole}} {
				f := s.newFiller(st)
				for i := range n.blocks {
					f.keep(s.numberedBlock(uint64(2+round), uint64(i), tinySize))
				}
				f.alias("garbage")
				*n.best = min(*n.best, s.collect(st, n.blocks))
			}
		}
		s.check(st.Close())
	})
	for range s.rounds {
		s.scratch(func(dir string) {
			st := s.open(dir)
			live, garbage := s.newFiller(st), s.newFiller(st)
			for i := range s.beside {
				live.keep(s.numberedBlock(1, uint64(i), tinySize))
				garbage.keep(s.numberedBlock(2, uint64(i), tinySize))
			}
			live.alias("live")
			garbage.alias("garbage")
			mixed = min(mixed, s.collect(st, s.beside))
			s.check(st.Close())
		})
	}
	return []row{
		{work: fmt.Sprintf("collect %d blocks of garbage beside %d live ones", s.beside/10, s.beside), cairn: tenth, unit: "s"},
		{work: fmt.Sprintf("collect %d blocks of garbage beside %d live ones", s.beside, s.beside),
			yardstick: "ten times that for a tenth", beside: 10 * tenth, cairn: whole, unit: "s", goal: goal{ratio: 1.5}},
		{work: "the same if garbage and live blocks alternate in the packs",
			yardstick: "if they are separate", beside: whole, cairn: mixed, unit: "s"},
	}
}

// collect removes the alias "garbage", evicts its blocks, and returns the seconds
// that this took.
func (s *stage) collect(st *store.Store, want int) float64 {
	var got store.EvictResult
	d := timeOf(func() {
		s.check(st.RemoveAlias(s.Context(), "garbage"))
		var err error
		got, err = st.Evict(s.Context(), store.EvictOptions{})
		s.check(err)
	})
	s.Logf("evicted %d blocks, %d packs, %s in %.2f s", got.Blocks, got.Packs, formatBytes(got.Bytes), d.Seconds())
	if got.Blocks < int64(want) {
		s.Errorf("got %d blocks evicted, want %d", got.Blocks, want)
	}
	return d.Seconds()
}
