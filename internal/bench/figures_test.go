package bench_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/cairn-ipfs/cairn/store"
)

var (
	fullFlag   = flag.Bool("full", false, "measure at full size")
	reportFlag = flag.String("report", "", "write the table to this `file`")
	fileFlag   = flag.Int64("file", 0, "`bytes` of the large file (0: the default of the run's size)")
	roundsFlag = flag.Int("rounds", 0, "`number` of rounds for each side, of which the best counts (0: the default of the run's size)")
	blocksFlag = flag.Int("blocks", 0, "`number` of blocks in the large store (0: the default of the run's size)")
)

// sizes are the sizes of a run.
type sizes struct {
	rounds  int
	file    int64         // bytes of the large file
	tree    string        // the source tree, below GOROOT
	live    int           // blocks of the DAG that is aliased again
	garbage int64         // bytes that are evicted while blocks are put
	beside  int           // live blocks, and garbage, of a collection
	blocks  int           // blocks of the large store
	fresh   int           // blocks put before a crash
	asked   int           // absent blocks that are asked for
	calls   int           // repetitions of short operations
	entries int           // of the large directory
	chained int           // blocks of the long chain
	wan     int64         // bytes of the file that is sent over a slow line
	idle    time.Duration // for which two idle nodes are watched; 0: not measured
	command bool          // build and run the command
}

var (
	tiny = sizes{
		rounds: 1, file: 3 << 20, tree: "src/encoding/json", live: 500, garbage: 1 << 20,
		beside: 2_000, blocks: 5_000, fresh: 1_000, asked: 5_000, calls: 3, entries: 10_000, chained: 200, wan: 1 << 20,
	}
	small = sizes{
		rounds: 3, file: 64 << 20, tree: "src/crypto", live: 12_800, garbage: 64 << 20,
		beside: 20_000, blocks: 100_000, fresh: 20_000, asked: 100_000, calls: 20, entries: 100_000, chained: 1000, wan: 8 << 20, idle: 45 * time.Second, command: true,
	}
	full = sizes{
		rounds: 3, file: 1 << 30, tree: "src", live: 12_800, garbage: 1 << 30,
		beside: 1_000_000, blocks: 4_000_000, fresh: 100_000, asked: 1_000_000, calls: 100, entries: 1_000_000, chained: 10_000, wan: 64 << 20, idle: 2 * time.Minute, command: true,
	}
)

// withFlags returns the sizes with those that flags set.
func (s sizes) withFlags() sizes {
	if *roundsFlag > 0 {
		s.rounds = *roundsFlag
	}
	if *fileFlag > 0 {
		s.file = *fileFlag
	}
	if *blocksFlag > 0 {
		s.blocks = *blocksFlag
	}
	return s
}

// A figure measures one operation.
type figure struct {
	name    string
	measure func(*stage) []row
}

var figures = []figure{
	{"add-file", measureAddFile},
	{"add-tree", measureAddTree},
	{"add-again", measureAddAgain},
	{"cat", measureCat},
	{"cat-daemon", measureCatDaemon},
	{"list", measureList},
	{"alias", measureAlias},
	{"put-while-evicting", measurePutWhileEvicting},
	{"collect", measureCollect},
	{"many-blocks", measureManyBlocks},
	{"sync", measureSync},
	{"far", measureFar},
	{"fan", measureFan},
	{"names", measureNames},
	{"rest", measureRest},
	{"idle", measureIdle},
	{"ready", measureReady},
	{"command", measureCommand},
}

// TestFigures runs every figure, at the tiny size unless flags say otherwise.
func TestFigures(t *testing.T) {
	size := tiny
	if *fullFlag {
		size = full
	}
	var rows []row
	for _, f := range figures {
		t.Run(f.name, func(t *testing.T) {
			got := f.measure(&stage{TB: t, sizes: size.withFlags()})
			for _, r := range got {
				t.Log(r)
				if r.cairn <= 0 || (r.yardstick != "") != (r.beside > 0) {
					t.Errorf("%s: got %v, and %v for the yardstick %q", r.work, r.cairn, r.beside, r.yardstick)
				}
			}
			rows = append(rows, got...)
		})
	}
	if *fullFlag && !t.Failed() {
		fmt.Print("\n", formatReport(rows))
	}
	if *reportFlag != "" && !t.Failed() {
		if err := os.WriteFile(*reportFlag, []byte(formatReport(rows)+lookupSection(*reportFlag)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// BenchmarkFigures runs every figure at the small size. It does not report the time
// of an iteration, which includes the setup.
func BenchmarkFigures(b *testing.B) {
	for _, f := range figures {
		b.Run(f.name, func(b *testing.B) {
			var rows []row
			for b.Loop() {
				rows = f.measure(&stage{TB: b, sizes: small.withFlags()})
			}
			b.ReportMetric(0, "ns/op")
			for _, r := range rows {
				b.Log(r)
			}
		})
	}
}

// A stage has what a figure needs: the test and the sizes.
type stage struct {
	testing.TB
	sizes
}

// check ends the run on an error.
func (s *stage) check(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// open opens the store at dir.
func (s *stage) open(dir string) *store.Store {
	s.Helper()
	st, err := store.Open(s.Context(), dir, store.Options{Program: "bench"})
	s.check(err)
	return st
}

// scratch calls f with a temporary folder, and removes it.
func (s *stage) scratch(f func(dir string)) {
	s.Helper()
	dir, err := os.MkdirTemp(s.TempDir(), "")
	s.check(err)
	f(dir)
	s.check(os.RemoveAll(dir))
}

// timeOf returns the time of one call, after a garbage collection.
func timeOf(f func()) time.Duration {
	runtime.GC()
	debug.FreeOSMemory()
	start := time.Now()
	f()
	return time.Since(start)
}

// alternate calls both sides in turns, rounds times, and returns the best time of
// each in seconds.
func (s *stage) alternate(cairn, yardstick func() time.Duration) (best, beside float64) {
	for i := range s.rounds {
		c, y := cairn().Seconds(), yardstick().Seconds()
		s.Logf("round %d: %.3f s, yardstick %.3f s", i+1, c, y)
		if i == 0 || c < best {
			best = c
		}
		if i == 0 || y < beside {
			beside = y
		}
	}
	return best, beside
}

// bytesBelow returns the size of all files below dir.
func (s *stage) bytesBelow(dir string) (total int64) {
	s.Helper()
	s.check(filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	}))
	return total
}
