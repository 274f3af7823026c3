package bench_test

import (
	"crypto/rand"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/ipfs/go-cid"
)

// fanned is how many nodes are on the other side.
const fanned = 8

// fan measures one node that gets a file from many, and many that get it from
// one, all over loopback sockets, with their blocks in memory.
func fan(s *stage) []row {
	s.Helper()
	open := func() (*cairn.Node, string) {
		n, err := cairn.Open(s.Context(), cairn.Config{Local: true, Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
		s.check(err)
		addrs, err := n.Addrs(s.Context())
		s.check(err)
		return n, addrs[0].String()
	}
	get := func(n *cairn.Node, root cid.Cid, from ...string) (p cairn.SyncProgress) {
		for now, err := range n.Sync(s.Context(), root, cairn.SyncOptions{From: from}) {
			s.check(err)
			p = now
		}
		return p
	}
	size := s.wan
	first, firstAddr := open()
	added, err := first.Add(s.Context(), io.LimitReader(rand.Reader, size), cairn.AddOptions{Chunker: "size-65536"})
	s.check(err)
	alone, _ := open()
	var one, out, in time.Duration
	one = timed(func() { get(alone, added.CID, firstAddr) })
	s.check(alone.Close())

	nodes, addrs := []*cairn.Node{first}, []string{firstAddr}
	for range fanned - 1 {
		n, addr := open()
		nodes, addrs = append(nodes, n), append(addrs, addr)
	}
	var group sync.WaitGroup
	twice := make([]int64, fanned)
	out = timed(func() {
		for i, n := range nodes[1:] {
			group.Go(func() { twice[i] = get(n, added.CID, firstAddr).DuplicateBytes })
		}
		group.Wait()
	})
	last, _ := open()
	var p cairn.SyncProgress
	in = timed(func() { p = get(last, added.CID, addrs...) })
	used := 0
	for _, src := range p.Sources {
		if src.Blocks > 0 {
			used++
		}
	}
	s.Logf("from %d nodes: %d of them were used", fanned, used)
	s.check(last.Close())
	for _, n := range nodes {
		s.check(n.Close())
	}
	var outTwice int64
	for _, n := range twice {
		outTwice += n
	}
	// What is nothing must not look as if it hadn't been measured.
	percent := func(part, whole int64) float64 { return max(100*float64(part)/float64(whole), 0.001) }
	return []row{
		{work: fmt.Sprintf("sync a file of %s from %d nodes to one", binarySize(size), fanned), yardstick: "from one node", cairn: in.Seconds(), beside: one.Seconds(), unit: "s"},
		{work: "the same: bytes that came twice", cairn: percent(p.DuplicateBytes, size), unit: "%", goal: goal{atMost: 1}},
		{work: fmt.Sprintf("sync it from one node to %d", fanned-1), yardstick: "to one node", cairn: out.Seconds(), beside: one.Seconds(), unit: "s"},
		{work: "the same: bytes that came twice", cairn: percent(outTwice, size*(fanned-1)), unit: "%", goal: goal{atMost: 1}},
	}
}
