package sources

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/exchange"
	"github.com/cairn-ipfs/cairn/internal/trustless"
	"github.com/libp2p/go-libp2p/core/peer"
)

// A limitedLine carries requests to a handler. Each takes a while, and those
// beyond most at a time are refused.
type limitedLine struct {
	h      http.Handler
	takes  time.Duration
	most   int
	status int
	after  string        // Retry-After
	wait   time.Duration // what that means

	mu      sync.Mutex // guards the following
	now     int
	asked   int
	refused int
	until   time.Time // no request may come before
	early   int       // requests that did
}

func (l *limitedLine) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	l.mu.Lock()
	l.asked++
	if begin := l.until.Add(-l.wait); time.Now().After(begin) && time.Now().Before(l.until) {
		l.early++
	}
	if l.now >= l.most {
		l.refused++
		l.until = time.Now().Add(l.wait)
		l.mu.Unlock()
		if l.after != "" {
			w.Header().Set("Retry-After", l.after)
		}
		w.WriteHeader(l.status)
		return w.Result(), nil
	}
	l.now++
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.now--
	}()
	time.Sleep(l.takes)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	l.h.ServeHTTP(w, r.WithContext(context.WithoutCancel(r.Context())))
	return w.Result(), nil
}

// maxPauses and maxFailures are the limits of internal/exchange.
const (
	maxPauses   = 5
	maxFailures = 3
)

// A busy gateway gets the pause that it asks for, and fewer requests after it. A
// gateway that is never ready, or asks for too long a pause, is dropped.
func TestBusy(t *testing.T) {
	for _, c := range []struct {
		what   string
		line   *limitedLine
		stream bool
		second bool // another gateway has the DAG, too
		want   error
		within time.Duration
	}{
		{what: "limits requests", line: &limitedLine{takes: 100 * time.Millisecond, most: 5, status: http.StatusTooManyRequests, after: "2", wait: 2 * time.Second}, within: 20 * time.Second},
		{what: "doesn't say for how long", line: &limitedLine{takes: 100 * time.Millisecond, most: 5, status: http.StatusServiceUnavailable, wait: exchange.MinPause}, within: 20 * time.Second},
		{what: "is never ready", line: &limitedLine{status: http.StatusServiceUnavailable, wait: exchange.MinPause}, want: exchange.ErrNoSource, within: time.Minute},
		{what: "is never ready to stream", line: &limitedLine{status: http.StatusServiceUnavailable, wait: exchange.MinPause}, stream: true, want: exchange.ErrNoSource, within: time.Minute},
		{what: "wants an hour", line: &limitedLine{status: http.StatusTooManyRequests, after: "3600", wait: time.Hour}, want: exchange.ErrNoSource, within: time.Second},
		{what: "is one of two", line: &limitedLine{status: http.StatusTooManyRequests, after: "60", wait: time.Minute}, second: true, within: 10 * time.Second},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				root := f.tree(200)
				line := c.line
				line.h = trustless.NewHandler(trustless.Config{Blocks: f.theirs})
				if !c.stream {
					line.h = rawOnly{line.h}
				}
				from := []exchange.Source{newGateway(&url.URL{Scheme: "http", Host: "x"}, &http.Client{Transport: line})}
				if c.second {
					good := &limitedLine{h: rawOnly{trustless.NewHandler(trustless.Config{Blocks: f.theirs})}, takes: 50 * time.Millisecond, most: maxRequests}
					from = append(from, newGateway(&url.URL{Scheme: "http", Host: "good"}, &http.Client{Transport: good}))
				}
				begin := time.Now()
				_, err := f.sync(root, from...)
				if !errors.Is(err, c.want) {
					t.Errorf("got %v, want %v", err, c.want)
				}
				if err == nil {
					f.compare(root)
				}
				if took := time.Since(begin); took > c.within {
					t.Errorf("it took %v, want at most %v", took, c.within)
				}
				if line.early > 0 || line.refused == 0 {
					t.Errorf("got %d requests during pauses and %d refused, want none and some", line.early, line.refused)
				}
				if most := maxPauses + 1 + maxRequests; c.want != nil && line.asked > most {
					t.Errorf("got %d requests, want at most %d", line.asked, most)
				}
			})
		})
	}
}

// A stream is asked for again after the pause, too.
func TestBusyStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		root := f.tree(200)
		h := trustless.NewHandler(trustless.Config{Blocks: f.theirs})
		var asked []time.Time
		line := slowLine{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked = append(asked, time.Now()); len(asked) <= maxFailures {
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			h.ServeHTTP(w, r)
		}), block.MaxSize}
		src := newGateway(&url.URL{Scheme: "http", Host: "x"}, &http.Client{Transport: line})
		_, err := f.sync(root, src)
		f.check(err)
		f.compare(root)
		for i := range asked[1:] {
			if pause := asked[i+1].Sub(asked[i]); i < maxFailures && pause < 7*time.Second {
				t.Errorf("got a pause of %v, want 7 s", pause)
			}
		}
	})
}

// A peer that has no stream left is busy, too.
func TestBusyPeer(t *testing.T) {
	t.Parallel() // it mostly waits
	f := newFixture(t)
	us, they := f.host(), f.host()
	begun, over := make(chan struct{}, 2), make(chan struct{})
	stop := trustless.Serve(they, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		begun <- struct{}{}
		<-over
	}), trustless.ServeConfig{MaxEach: 1})
	defer stop()
	defer close(over)
	f.check(us.Connect(t.Context(), peer.AddrInfo{ID: they.ID(), Addrs: they.Addrs()}))
	src := (&peers{host: us, connect: us.Connect}).peer(they.ID(), nil).(*peerSource)
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	root := f.chain(1)
	asking.Go(func() { src.gateway().Stream(ctx, root, nil) })
	<-begun
	_, err := src.gateway().Stream(ctx, root, nil) // waits for a free stream first
	if busy := (*exchange.BusyError)(nil); !errors.As(err, &busy) {
		t.Errorf("got %v, want a BusyError", err)
	}
}
