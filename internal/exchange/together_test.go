package exchange

import (
	"fmt"
	"testing"
)

// A source that there's nothing to ask for the time being has done nothing wrong.
func TestIdle(t *testing.T) {
	b := newBench(t)
	root := b.chain(1000)
	var from []Source
	for i := range 4 {
		from = append(from, &answerer{name: fmt.Sprint("peer ", i), blocks: b.theirs})
	}
	p, err := b.sync(Config{}, root, Options{From: from, Alias: "got"})
	b.check(err)
	for _, s := range p.Sources {
		if s.Err != nil {
			t.Errorf("%s: got the error %v, want none", s.Name, s.Err)
		}
	}
}
