package trustless

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// TestLimiter: a new remote gets a spare place when the others are taken. A remote
// with mostEach requests waits a while for one of them to end.
func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(3, 2, 1)
		ctx, cancel := context.WithCancel(t.Context())
		enter := func(remote string) <-chan error {
			entered := make(chan error, 1)
			go func() { entered <- l.enter(ctx, remote) }()
			synctest.Wait()
			return entered
		}
		expect := func(what string, entered <-chan error, status int) {
			t.Helper()
			synctest.Wait()
			if len(entered) == 0 {
				t.Fatalf("%s: waits", what)
			}
			err := <-entered
			var refused *refusal
			if status == 0 && err != nil || status > 0 && (!errors.As(err, &refused) || refused.status != status) {
				t.Errorf("%s: got %v, want status %d", what, err, status)
			}
		}
		expect("a", enter("a"), 0)
		expect("a again", enter("a"), 0)
		first, second := enter("a"), enter("a")
		if len(first)+len(second) > 0 {
			t.Error("a was answered, and has as many under way as it may")
		}
		expect("a with as many waiting as may", enter("a"), http.StatusTooManyRequests)
		expect("b", enter("b"), 0)
		expect("b where all places are taken", enter("b"), http.StatusServiceUnavailable)
		expect("c, who has none", enter("c"), 0)
		expect("d where the spare places are taken", enter("d"), http.StatusServiceUnavailable)
		l.leave("c")
		expect("d, as c has left", enter("d"), 0)

		l.leave("a")
		expect("who waited first", first, 0)
		if len(second) > 0 {
			t.Error("two were let in for one that left")
		}
		time.Sleep(patience)
		expect("who waited long", second, http.StatusTooManyRequests)
		third := enter("a")
		cancel()
		synctest.Wait()
		if err := <-third; !errors.Is(err, context.Canceled) {
			t.Errorf("canceled while it waited: got %v", err)
		}
		for _, remote := range []string{"a", "a", "b", "d"} {
			l.leave(remote)
		}
		if l.all != 0 || len(l.each) != 0 {
			t.Errorf("all have left, and %d of %d remotes are counted", l.all, len(l.each))
		}
	})
}
