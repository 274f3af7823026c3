package exchange

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
	"github.com/cairn-ipfs/cairn/internal/trustless"
	"github.com/libp2p/go-libp2p/core/peer"
)

// A busyLine carries requests to a handler, each of which takes takes, and refuses
// those beyond most at a time.
type busyLine struct {
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
	until   time.Time // nobody may ask before
	early   int       // who did
}

func (l *busyLine) RoundTrip(r *http.Request) (*http.Response, error) {
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

// A gateway that asks for a pause is given it, and fewer requests after it; one
// that is never ready, or wants too long a pause, is given up.
func TestBusy(t *testing.T) {
	for _, c := range []struct {
		what   string
		line   *busyLine
		stream bool
		beside bool // there's another
		want   error
		within time.Duration // what it may take
	}{
		{what: "limits requests", line: &busyLine{takes: 100 * time.Millisecond, most: 5, status: http.StatusTooManyRequests, after: "2", wait: 2 * time.Second}, within: 20 * time.Second},
		{what: "doesn't say for how long", line: &busyLine{takes: 100 * time.Millisecond, most: 5, status: http.StatusServiceUnavailable, wait: minPause}, within: 20 * time.Second},
		{what: "is never ready", line: &busyLine{status: http.StatusServiceUnavailable, wait: minPause}, want: ErrNoSource, within: time.Minute},
		{what: "is never ready to stream", line: &busyLine{status: http.StatusServiceUnavailable, wait: minPause}, stream: true, want: ErrNoSource, within: time.Minute},
		{what: "wants an hour", line: &busyLine{status: http.StatusTooManyRequests, after: "3600", wait: time.Hour}, want: ErrNoSource, within: time.Second},
		{what: "isn't alone", line: &busyLine{status: http.StatusTooManyRequests, after: "60", wait: time.Minute}, beside: true, within: 10 * time.Second},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				root := b.tree(200)
				line := c.line
				line.h = trustless.NewHandler(trustless.Config{Blocks: b.theirs})
				if !c.stream {
					line.h = rawOnly{line.h}
				}
				from := []Source{NewGateway(&url.URL{Scheme: "http", Host: "x"}, &http.Client{Transport: line})}
				if c.beside {
					from = append(from, &answerer{name: "good", blocks: b.theirs, delay: 50 * time.Millisecond})
				}
				begin := time.Now()
				_, err := b.sync(Config{}, root, Options{From: from, Alias: "got"})
				if !errors.Is(err, c.want) {
					t.Errorf("got %v, want %v", err, c.want)
				}
				if err == nil {
					b.whole(b.ours, root)
				}
				if took := time.Since(begin); took > c.within {
					t.Errorf("it took %v, want at most %v", took, c.within)
				}
				if line.early > 0 || line.refused == 0 {
					t.Errorf("got %d requests in pauses, and %d refused, want none, and some", line.early, line.refused)
				}
				if most := maxPauses + 1 + maxRequests; c.want != nil && line.asked > most {
					t.Errorf("got %d requests, want at most %d", line.asked, most)
				}
			})
		})
	}
}

// One that streams is given its pause, too.
func TestBusyStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		root := b.tree(200)
		h := trustless.NewHandler(trustless.Config{Blocks: b.theirs})
		var asked []time.Time
		line := slowLine{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked = append(asked, time.Now()); len(asked) <= maxFailures {
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			h.ServeHTTP(w, r)
		}), block.MaxSize}
		src := NewGateway(&url.URL{Scheme: "http", Host: "x"}, &http.Client{Transport: line})
		_, err := b.sync(Config{}, root, Options{From: []Source{src}, Alias: "got"})
		b.check(err)
		b.whole(b.ours, root)
		for i := range asked[1:] {
			if pause := asked[i+1].Sub(asked[i]); i < maxFailures && pause < 7*time.Second {
				t.Errorf("got a pause of %v, want 7 s", pause)
			}
		}
	})
}

// A peer whose streams are all taken is busy, too.
func TestBusyPeer(t *testing.T) {
	t.Parallel() // it waits, mostly
	b := newBench(t)
	us, they := b.host(), b.host()
	begun, over := make(chan struct{}, 2), make(chan struct{})
	stop := trustless.Serve(they, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		begun <- struct{}{}
		<-over
	}), trustless.ServeConfig{MaxEach: 1})
	defer stop()
	defer close(over)
	b.check(us.Connect(t.Context(), peer.AddrInfo{ID: they.ID(), Addrs: they.Addrs()}))
	src := (&Peers{Host: us}).Peer(they.ID()).(*peerSource)
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	root := b.chain(1)
	asking.Go(func() { src.gateway().Stream(ctx, root, nil) })
	<-begun
	_, err := src.gateway().Stream(ctx, root, nil) // it waits for its turn, as long as that's worth it
	if busy := (*BusyError)(nil); !errors.As(err, &busy) {
		t.Errorf("got %v, want a BusyError", err)
	}
}
