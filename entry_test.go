package cairn

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestEntry(t *testing.T) {
	failed := errors.New("nobody there")
	for what, c := range map[string]struct {
		peers int
		tried []error
		want  time.Duration
	}{
		"no peers":             {0, nil, 0},
		"the second one":       {3, []error{failed, nil}, 0},
		"all of them":          {2, []error{nil, nil}, 0},
		"none of them":         {2, []error{failed, failed}, 0},
		"one that is silent":   {2, []error{failed}, entryTime},
		"all of them are that": {2, nil, entryTime},
	} {
		synctest.Test(t, func(t *testing.T) {
			e := newEntry(c.peers)
			for _, err := range c.tried {
				e.tried(err)
			}
			begin := time.Now()
			if err := e.wait(t.Context()); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			if took := time.Since(begin); took != c.want {
				t.Errorf("%s: it took %v, want %v", what, took, c.want)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := newEntry(1).wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
}
