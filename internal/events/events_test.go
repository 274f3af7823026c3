package events

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

func newHub(buffer int) *Hub[event] {
	return New(buffer, func(e *event, n uint64) { e.lost = n })
}

func (h *Hub[E]) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subscriptions)
}

// TestSubscribers: each gets what is sent while it is subscribed, in order.
func TestSubscribers(t *testing.T) {
	h := newHub(10)
	h.Send(event{n: 0}) // no subscriber
	first := h.Subscribe(t.Context())
	h.Send(event{n: 1})
	second := h.Subscribe(t.Context())
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
	if got := slices.Collect(h.Subscribe(t.Context())); len(got) > 0 {
		t.Errorf("after Close: got %v", got)
	}
}

// TestLost: a slow subscriber loses the latest events and gets their number; others
// lose nothing.
func TestLost(t *testing.T) {
	const buffer = 3
	h := newHub(buffer)
	next, stop := iter.Pull(h.Subscribe(t.Context()))
	defer stop()
	quick, end := iter.Pull(h.Subscribe(t.Context()))
	defer end()
	take := func(next func() (event, bool), want event) {
		t.Helper()
		if got, ok := next(); !ok || got != want {
			t.Errorf("got %v, %v, want %v", got, ok, want)
		}
	}
	for n := range buffer + 7 {
		h.Send(event{n: n})
		take(quick, event{n: n})
	}
	for n := range buffer {
		take(next, event{n: n})
	}
	h.Send(event{n: 100})
	take(next, event{n: 100, lost: 7})
	h.Send(event{n: 101})
	take(next, event{n: 101})
}

// TestUnsubscribe: a subscription ends with its iteration or its context, iterated
// over or not.
func TestUnsubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(3)
		ctx, cancel := context.WithCancel(t.Context())
		h.Subscribe(ctx)
		broken := h.Subscribe(ctx)
		h.Send(event{})
		for range broken {
			break
		}
		if got := h.count(); got != 1 {
			t.Errorf("got %d subscriptions, want the one that isn't iterated over", got)
		}
		waiting := make(chan []event)
		last := h.Subscribe(ctx)
		go func() { waiting <- slices.Collect(last) }()
		cancel()
		if got := <-waiting; len(got) > 0 {
			t.Errorf("got %v", got)
		}
		synctest.Wait()
		if got := h.count(); got != 0 {
			t.Errorf("got %d subscriptions after the context ended, want none", got)
		}
	})
}

// TestIterateTwice: a second iteration ends at once when the first was broken off.
func TestIterateTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(3)
		events := h.Subscribe(t.Context())
		h.Send(event{n: 1})
		for range events {
			break
		}
		h.Send(event{n: 2})
		ended := make(chan []event, 1)
		go func() { ended <- slices.Collect(events) }()
		synctest.Wait()
		select {
		case got := <-ended:
			if len(got) > 0 {
				t.Errorf("got %v, want nothing sent since", got)
			}
		default:
			t.Error("the second iteration does not end")
		}
	})
}

// TestConcurrent sends, subscribes and closes at the same time.
func TestConcurrent(t *testing.T) {
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
				for range h.Subscribe(t.Context()) {
					break
				}
			}
		})
		events := h.Subscribe(t.Context())
		all.Go(func() {
			for range events {
			}
		})
	}
	all.Go(func() {
		for range h.Subscribe(t.Context()) {
			h.Close()
		}
	})
	for range 100 {
		h.Send(event{})
	}
	h.Close()
	all.Wait()
	if got := h.count(); got != 0 {
		t.Errorf("got %d subscriptions after Close, want none", got)
	}
}
