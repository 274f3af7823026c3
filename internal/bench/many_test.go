package bench_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

// measureManyBlocks measures what must not grow with the number of blocks.
func measureManyBlocks(s *stage) []row {
	var rows []row
	s.scratch(func(dir string) {
		st := s.open(dir)
		f := s.newFiller(st)
		d := timeOf(func() {
			for i := range s.blocks {
				f.add(s.numberedBlock(1, uint64(i), tinySize))
			}
			f.commit()
		})
		s.check(st.Close())
		s.Logf("put %d blocks in %.1f s", s.blocks, d.Seconds())
		rows = append(rows, row{
			work:  fmt.Sprintf("index size per block, with %d raw leaves", s.blocks),
			cairn: float64(s.bytesBelow(filepath.Join(dir, "index"))) / float64(s.blocks), unit: "B",
		})
		rows = append(rows, s.measureAbsent(dir))
		rows = append(rows, s.measureOpen(dir)...)
	})
	s.scratch(func(dir string) {
		st := s.open(dir)
		f := s.newFiller(st)
		n := s.blocks / 4
		for i := range n {
			f.keep(s.numberedBlock(1, uint64(i), tinySize))
		}
		f.alias("live")
		s.check(st.Close())
		rows = append(rows, row{
			work:  fmt.Sprintf("index size per block, with %d live leaves below link blocks", n),
			cairn: float64(s.bytesBelow(filepath.Join(dir, "index"))) / float64(f.put), unit: "B",
		})
	})
	return rows
}

// measureAbsent measures Has for absent blocks, on one goroutine, beside Pebble's
// plain Get of the same keys from the same index.
func (s *stage) measureAbsent(dir string) row {
	asked := make([]cid.Cid, s.asked)
	for i := range asked {
		var digest [32]byte
		rand.NewChaCha8([32]byte{1, byte(i), byte(i >> 8), byte(i >> 16), byte(i >> 24)}).Read(digest[:])
		mh, err := multihash.Encode(digest[:], multihash.SHA2_256)
		s.check(err)
		asked[i] = cid.NewCidV1(block.Raw, mh)
	}
	r := row{
		work: fmt.Sprintf("ask for an absent block, among %d blocks, one core", s.blocks),
		kubo: "1 lookup each", yardstick: "Pebble's plain Get in the same index",
		unit: "/s", goal: goal{atLeast: 500_000},
	}
	st := s.open(dir)
	for round := range s.rounds {
		d := timeOf(func() {
			for _, c := range asked {
				if has, err := st.Has(s.Context(), c); has || err != nil {
					s.Fatalf("has %s: got %v, %v, want false", c, has, err)
				}
			}
		})
		r.cairn = max(r.cairn, float64(len(asked))/d.Seconds())
		s.Logf("round %d: %.0f/s", round+1, float64(len(asked))/d.Seconds())
	}
	s.check(st.Close())

	cache := pebble.NewCache(32 << 20)
	defer cache.Unref()
	o := &pebble.Options{ReadOnly: true, Cache: cache, Logger: discardLogger{}}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	db, err := pebble.Open(filepath.Join(dir, "index"), o)
	s.check(err)
	for range s.rounds {
		d := timeOf(func() {
			for _, c := range asked {
				if _, _, err := db.Get(append([]byte{'b'}, c.Hash()...)); err != pebble.ErrNotFound {
					s.Fatalf("get %s: got %v, want %v", c, err, pebble.ErrNotFound)
				}
			}
		})
		r.beside = max(r.beside, float64(len(asked))/d.Seconds())
	}
	s.check(db.Close())
	return r
}

// A discardLogger discards Pebble's messages.
type discardLogger struct{ pebble.Logger }

func (discardLogger) Infof(string, ...any)  {}
func (discardLogger) Errorf(string, ...any) {}

// measureOpen measures opening the store at dir until its first answer: after it was
// closed, and after its process was killed.
func (s *stage) measureOpen(dir string) []row {
	clean := row{work: fmt.Sprintf("open a store of %d blocks", s.blocks), kubo: "0.1 s, empty", unit: "ms", goal: goal{atMost: 100}}
	crashed := row{work: fmt.Sprintf("the same after its process put %d blocks and was killed", s.fresh), unit: "ms", goal: goal{atMost: 100}}
	here := s.numberedBlock(1, 0, tinySize).CID()
	measure := func(r *row) {
		var st *store.Store
		ms := milliseconds(func() {
			st = s.open(dir)
			if has, err := st.Has(s.Context(), here); !has || err != nil {
				s.Fatalf("has: got %v, %v, want true", has, err)
			}
		})
		s.Logf("%s: %.1f ms", r.work, ms)
		if r.cairn == 0 || ms < r.cairn {
			r.cairn = ms
		}
		s.check(st.Close())
	}
	for round := range s.rounds {
		measure(&clean)
		s.crash(dir, round)
		measure(&crashed)
	}
	return []row{clean, crashed}
}

// victim is set in the environment of a process that crash will kill.
const victim = "CAIRN_BENCH_VICTIM"

// crash starts another process that puts blocks into the store, and kills it.
func (s *stage) crash(dir string, round int) {
	name, err := os.Executable()
	s.check(err)
	c := exec.Command(name, dir, strconv.Itoa(s.fresh), strconv.Itoa(100+round))
	c.Env = append(os.Environ(), victim+"=1")
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	s.check(err)
	s.check(c.Start())
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		s.Errorf("got %q (%v) from the process to be killed, want %q", line, err, "ready\n")
	}
	s.check(c.Process.Kill())
	c.Wait() // returns that it was killed
}

func TestMain(m *testing.M) {
	if os.Getenv(victim) == "" {
		os.Exit(m.Run())
	}
	if err := runVictim(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// runVictim runs in the process that is killed: it puts blocks, durably, and waits.
func runVictim(dir, number, series string) error {
	ctx := context.Background()
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return err
	}
	which, err := strconv.ParseUint(series, 10, 64)
	if err != nil {
		return err
	}
	st, err := store.Open(ctx, dir, store.Options{Program: "bench, to be killed"})
	if err != nil {
		return err
	}
	batch := st.Batch()
	for i := range n {
		b, err := block.New(block.Raw, fmt.Appendf(nil, "%d of %d", i, which))
		if err == nil {
			err = batch.Put(ctx, b)
		}
		if err != nil {
			return err
		}
	}
	if err := batch.Commit(ctx); err != nil {
		return err
	}
	fmt.Println("ready")
	select {}
}
