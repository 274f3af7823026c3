package trustless

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/cairn-ipfs/cairn/block"
)

// TestQuota has one remote take what it can, then all others, and expects a remote
// that holds nothing to get something.
func TestQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const all, each = 64 << 20, 4 << 20
		q := newQuota(all, each, all)
		ctx, cancel := context.WithCancel(t.Context())
		take := func(remote string) <-chan error {
			taken := make(chan error, 1)
			go func() { taken <- q.take(ctx, remote, block.MaxSize) }()
			synctest.Wait()
			return taken
		}
		waits := func(taken <-chan error) bool { return len(taken) == 0 }
		for range each / block.MaxSize {
			if waits(take("a")) {
				t.Fatalf("a waits with %d bytes held", q.all)
			}
		}
		more := take("a")
		if !waits(more) {
			t.Error("a got more than there is for one remote")
		}
		remotes := "bcdefghijklmnopqrstuvwxyz"
		for _, r := range remotes {
			if waits(take(string(r))) {
				t.Errorf("%c waits, and holds nothing", r)
			}
		}
		for _, r := range remotes {
			take(string(r)) // what they can get
			take(string(r))
		}
		if q.all > all {
			t.Errorf("%d bytes are held, want %d at most of those who hold something", q.all, all)
		}
		if waits(take("new")) {
			t.Error("a newcomer waits")
		}
		// A waiting take gets what is given back.
		for range each / block.MaxSize {
			q.give("a", block.MaxSize)
		}
		synctest.Wait()
		if waits(more) {
			t.Error("a waits, and holds nothing")
		}
		last := take("new")
		cancel()
		if err := <-last; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: got %v", err)
		}
	})
}
