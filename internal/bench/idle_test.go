package bench_test

import (
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/simnet"
)

// connections is a node's default limit of connections.
const connections = 96

// measureIdle measures the traffic between two idle nodes.
func measureIdle(s *stage) []row {
	if s.idle == 0 {
		return nil
	}
	open := func(listen ...string) *cairn.Node {
		n, err := cairn.Open(s.Context(), cairn.Config{Local: true, Listen: listen})
		s.check(err)
		return n
	}
	theirs := open("/ip4/127.0.0.1/tcp/0")
	ours := open("/ip4/127.0.0.1/tcp/0")
	addrs, err := theirs.Addrs(s.Context())
	s.check(err)
	line, near := s.newLine(addrs[0].String(), simnet.Link{})
	_, err = ours.Connect(s.Context(), near)
	s.check(err)
	time.Sleep(s.idle / 4) // so that the messages of a new connection don't count
	upBefore, downBefore := line.Bytes()
	began := time.Now()
	time.Sleep(s.idle)
	up, down := line.Bytes()
	day := float64(up-upBefore+down-downBefore) / time.Since(began).Seconds() * (24 * time.Hour).Seconds() * connections
	s.check(ours.Close())
	s.check(theirs.Close())
	return []row{{work: "traffic of 96 connections in an idle day", cairn: day / 1e6, unit: "MB", goal: goal{atMost: 1000}}}
}
