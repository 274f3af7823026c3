package bench_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cairn-ipfs/cairn/store"
)

// measureAlias measures aliasing a root that is already live, beside one sync of
// 4 KiB.
func measureAlias(s *stage) []row {
	r := row{
		work: fmt.Sprintf("alias a root that is already live (%d blocks), durable, median", s.live),
		kubo: "walks the whole DAG again", yardstick: "append 4 KiB to a file, fsync",
		unit: "ms", goal: goal{atMost: 5},
	}
	s.scratch(func(dir string) {
		st := s.open(dir)
		f := s.newFiller(st)
		for i := range s.live {
			f.keep(s.numberedBlock(0, uint64(i), 100))
		}
		root := f.alias("first")
		file, err := os.Create(filepath.Join(dir, "plain"))
		s.check(err)
		page := make([]byte, 4<<10)
		var aliased, synced []float64
		for i := range s.rounds * s.calls {
			aliased = append(aliased, milliseconds(func() {
				s.check(st.SetAlias(s.Context(), fmt.Sprintf("again/%d", i), root, store.AliasOptions{}))
			}))
			synced = append(synced, milliseconds(func() {
				_, err := file.Write(page)
				s.check(err)
				s.check(file.Sync())
			}))
		}
		s.check(file.Close())
		s.check(st.Close())
		r.cairn, r.beside = quantile(aliased, 0.5), quantile(synced, 0.5)
	})
	return []row{r}
}

func milliseconds(f func()) float64 {
	start := time.Now()
	f()
	return float64(time.Since(start)) / float64(time.Millisecond)
}

// quantile returns the value below which the given part of the values lies.
func quantile(values []float64, part float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(part*float64(len(sorted))), len(sorted)-1)]
}
