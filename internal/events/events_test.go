package events

import (
	"context"
	"errors"
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

var errClosed = errors.New("closed")

// collect returns what is left of a subscription, and the error that ended it.
func collect(t *testing.T, events iter.Seq2[event, error]) (got []event, last error) {
	t.Helper()
	for e, err := range events {
		if last != nil {
			t.Errorf("got %v, %v after the error %v", e, err, last)
		}
		if last = err; err == nil {
			got = append(got, e)
		}
	}
	if last == nil {
		t.Error("got no error at the end")
	}
	return got, last
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
	h.Close(errClosed)
	h.Close(errClosed)
	h.Send(event{n: 3})
	for _, test := range []struct {
		name   string
		events iter.Seq2[event, error]
		want   []event
	}{
		{"the first", first, []event{{n: 1}, {n: 2}}},
		{"the second", second, []event{{n: 2}}},
		{"after Close", h.Subscribe(t.Context()), nil},
	} {
		if got, err := collect(t, test.events); !slices.Equal(got, test.want) || err != errClosed {
			t.Errorf("%s: got %v, %v, want %v and the error of Close", test.name, got, err, test.want)
		}
	}
}

// TestLost: a slow subscriber loses the latest events and gets their number; others
// lose nothing.
func TestLost(t *testing.T) {
	const buffer = 3
	h := newHub(buffer)
	next, stop := iter.Pull2(h.Subscribe(t.Context()))
	defer stop()
	quick, end := iter.Pull2(h.Subscribe(t.Context()))
	defer end()
	take := func(next func() (event, error, bool), want event) {
		t.Helper()
		if got, err, _ := next(); err != nil || got != want {
			t.Errorf("got %v, %v, want %v", got, err, want)
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
		waiting := make(chan struct{})
		last := h.Subscribe(ctx)
		go func() {
			defer close(waiting)
			if got, err := collect(t, last); len(got) > 0 || err != context.Canceled {
				t.Errorf("got %v, %v, want the context's error", got, err)
			}
		}()
		cancel()
		<-waiting
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
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if got, err := collect(t, events); len(got) > 0 || err != errEnded {
				t.Errorf("got %v, %v, want nothing sent since, and errEnded", got, err)
			}
		}()
		synctest.Wait()
		select {
		case <-ended:
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
			h.Close(errClosed)
		}
	})
	for range 100 {
		h.Send(event{})
	}
	h.Close(errClosed)
	all.Wait()
	if got := h.count(); got != 0 {
		t.Errorf("got %d subscriptions after Close, want none", got)
	}
}
