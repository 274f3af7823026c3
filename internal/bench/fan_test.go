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

// fanNodes is the number of nodes on the other side.
const fanNodes = 8

// measureFan measures one node that gets a file from many, and many that get it from
// one, all over loopback sockets, with their blocks in memory.
func measureFan(s *stage) []row {
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
	single, _ := open()
	var one, out, in time.Duration
	one = timeOf(func() { get(single, added.CID, firstAddr) })
	s.check(single.Close())

	nodes, addrs := []*cairn.Node{first}, []string{firstAddr}
	for range fanNodes - 1 {
		n, addr := open()
		nodes, addrs = append(nodes, n), append(addrs, addr)
	}
	var group sync.WaitGroup
	twice := make([]int64, fanNodes)
	out = timeOf(func() {
		for i, n := range nodes[1:] {
			group.Go(func() { twice[i] = get(n, added.CID, firstAddr).DuplicateBytes })
		}
		group.Wait()
	})
	last, _ := open()
	var p cairn.SyncProgress
	in = timeOf(func() { p = get(last, added.CID, addrs...) })
	used := 0
	for _, src := range p.Sources {
		if src.Blocks > 0 {
			used++
		}
	}
	s.Logf("from %d nodes, of which %d were used", fanNodes, used)
	s.check(last.Close())
	for _, n := range nodes {
		s.check(n.Close())
	}
	var outTwice int64
	for _, n := range twice {
		outTwice += n
	}
	// 0 would look as if it had not been measured.
	percent := func(part, whole int64) float64 { return max(100*float64(part)/float64(whole), 0.001) }
	return []row{
		{work: fmt.Sprintf("sync a file of %s from %d nodes to one", formatBytes(size), fanNodes), yardstick: "from one node", cairn: in.Seconds(), beside: one.Seconds(), unit: "s"},
		{work: "the same: bytes received twice", cairn: percent(p.DuplicateBytes, size), unit: "%", goal: goal{atMost: 1}},
		{work: fmt.Sprintf("sync it from one node to %d", fanNodes-1), yardstick: "to one node", cairn: out.Seconds(), beside: one.Seconds(), unit: "s"},
		{work: "the same: bytes received twice", cairn: percent(outTwice, size*(fanNodes-1)), unit: "%", goal: goal{atMost: 1}},
	}
}
