package feed

import (
	"context"
	"iter"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

type event struct {
	n    int
	lost uint64
}

func newHub(most int) *Hub[event] {
	return New(most, func(e *event, n uint64) { e.lost = n })
}

func (h *Hub[E]) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.listeners)
}

// TestEachListener: everybody gets what is sent while they listen, in order.
func TestEachListener(t *testing.T) {
	h := newHub(10)
	h.Send(event{n: 0}) // nobody listens
	first := h.Listen(t.Context())
	h.Send(event{n: 1})
	second := h.Listen(t.Context())
	h.Send(event{n: 2})
	h.Close()
	h.Close()
	h.Send(event{n: 3})
	if got, want := slices.Collect(first), []event{{n: 1}, {n: 2}}; !slices.Equal(got, want) {
		t.Errorf("the first: got %v, want %v", got, want)
	}
	if got, want := slices.Collect(second), []event{{n: 2}}; !slices.Equal(got, want) {
		t.Errorf("the second: got %v, want %v", got, want)
	}
	if got := slices.Collect(h.Listen(t.Context())); len(got) > 0 {
		t.Errorf("after Close: got %v", got)
	}
}

// TestLost: who is slow loses the latest, and hears how many, while others lose
// nothing.
func TestLost(t *testing.T) {
	const most = 3
	h := newHub(most)
	next, stop := iter.Pull(h.Listen(t.Context()))
	defer stop()
	quick, end := iter.Pull(h.Listen(t.Context()))
	defer end()
	take := func(next func() (event, bool), want event) {
		t.Helper()
		if got, ok := next(); !ok || got != want {
			t.Errorf("got %v, %v, want %v", got, ok, want)
		}
	}
	for n := range most + 7 {
		h.Send(event{n: n})
		take(quick, event{n: n})
	}
	for n := range most {
		take(next, event{n: n})
	}
	h.Send(event{n: 100})
	take(next, event{n: 100, lost: 7})
	h.Send(event{n: 101})
	take(next, event{n: 101})
}

// TestLeave: a listener is gone when the iteration ends, or the context, whether
// there was an iteration or not.
func TestLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(3)
		ctx, cancel := context.WithCancel(t.Context())
		h.Listen(ctx)
		broken := h.Listen(ctx)
		h.Send(event{})
		for range broken {
			break
		}
		if got := h.count(); got != 1 {
			t.Errorf("got %d listeners, want the one that doesn't iterate", got)
		}
		waiting := make(chan []event)
		last := h.Listen(ctx)
		go func() { waiting <- slices.Collect(last) }()
		cancel()
		if got := <-waiting; len(got) > 0 {
			t.Errorf("got %v", got)
		}
		synctest.Wait()
		if got := h.count(); got != 0 {
			t.Errorf("got %d listeners when the context has ended, want none", got)
		}
	})
}

// TestAgain: a second iteration over what Listen returned, after the first was
// broken off, ends, rather than waiting for what will never come.
func TestAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(3)
		listening := h.Listen(t.Context())
		h.Send(event{n: 1})
		for range listening {
			break
		}
		h.Send(event{n: 2})
		ended := make(chan []event, 1)
		go func() { ended <- slices.Collect(listening) }()
		synctest.Wait()
		select {
		case got := <-ended:
			if len(got) > 0 {
				t.Errorf("got %v, want nothing sent since", got)
			}
		default:
			t.Error("the second iteration waits for ever")
		}
	})
}

// TestConcurrently sends, listens and closes at the same time.
func TestConcurrently(t *testing.T) {
	h := newHub(5)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for n := range 1000 {
				h.Send(event{n: n})
			}
		})
		all.Go(func() {
			for range 100 {
				for range h.Listen(t.Context()) {
					break
				}
			}
		})
		listening := h.Listen(t.Context())
		all.Go(func() {
			for range listening {
			}
		})
	}
	all.Go(func() {
		for range h.Listen(t.Context()) {
			h.Close()
		}
	})
	for range 100 {
		h.Send(event{})
	}
	h.Close()
	all.Wait()
	if got := h.count(); got != 0 {
		t.Errorf("got %d listeners after Close, want none", got)
	}
}
