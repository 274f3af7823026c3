package bench_test

import (
	"errors"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/simnet"
)

// measureNames measures resolving names: one that is known here, and names whose
// publisher is connected over a line of 50 ms.
func measureNames(s *stage) []row {
	const rtt = 50 * time.Millisecond
	ctx := s.Context()
	theirs, err := cairn.Open(ctx, cairn.Config{Local: true, Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	s.check(err)
	defer func() { s.check(theirs.Close()) }()
	keys, err := theirs.Keys()
	s.check(err)
	// Each name is unknown to our node until it is resolved for the first time.
	const names = 10
	var published []string
	for i := range names {
		key, err := keys.Generate(string(rune('a' + i)))
		s.check(err)
		_, err = theirs.PublishName(ctx, key.Name, "/ipfs/bafkqabtimvwgy3yk", cairn.PublishOptions{})
		if !errors.Is(err, cairn.ErrNotSent) {
			s.Fatalf("publish: got %v, want ErrNotSent", err)
		}
		published = append(published, key.ID)
	}
	addrs, err := theirs.Addrs(ctx)
	s.check(err)

	var here, far []float64
	s.scratch(func(dir string) {
		ours, err := cairn.Open(ctx, cairn.Config{Dir: dir, Local: true})
		s.check(err)
		_, near := s.newLine(addrs[0].String(), simnet.Link{RTT: rtt})
		_, err = ours.Connect(ctx, near)
		s.check(err)
		resolve := func(name string) float64 {
			return milliseconds(func() {
				r, err := ours.ResolveName(ctx, "/ipns/"+name, cairn.ResolveOptions{})
				s.check(err)
				if r.Path != "/ipfs/bafkqabtimvwgy3yk" {
					s.Fatalf("resolve: got %+v, want the path that was published", r)
				}
			})
		}
		for _, name := range published {
			far = append(far, resolve(name))
		}
		for range s.calls {
			here = append(here, resolve(published[0]))
		}
		s.check(ours.Close())
	})
	return []row{
		{work: "resolve a name that is known locally, median", cairn: quantile(here, 0.5), unit: "ms", goal: goal{atMost: 1}},
		{
			work: "resolve a name whose publisher is connected, at 50 ms, median", yardstick: "a round trip",
			beside: float64(rtt.Milliseconds()), cairn: quantile(far, 0.5), unit: "ms", goal: goal{ratio: 2},
		},
	}
}
