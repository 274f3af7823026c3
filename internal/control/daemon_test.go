package control

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"net/http/httptest"
	"testing"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
)

// TestEarlyEnd ends ranges early, and contexts: the work at the daemon ends, too.
func TestEarlyEnd(t *testing.T) {
	n := newNode(t, cairn.Config{Offline: true})
	began, ended := make(chan struct{}, 1), make(chan struct{}, 1)
	endless := Stream[struct{}, int]{Path: "endless", Run: func(ctx context.Context, _ *cairn.Node, _ struct{}) iter.Seq2[int, error] {
		return gathered(ctx, func(ctx context.Context, emit func(int) bool) error {
			defer func() { ended <- struct{}{} }()
			began <- struct{}{}
			for i := 0; emit(i); i++ {
			}
			return ctx.Err()
		})
	}}
	stuck := Call[struct{}, int]{Path: "stuck", Run: func(ctx context.Context, _ *cairn.Node, _ struct{}) (int, error) {
		defer func() { ended <- struct{}{} }()
		began <- struct{}{}
		<-ctx.Done()
		return 0, ctx.Err()
	}}
	verbs := make(map[string]httpapi.Verb)
	endless.register(n, verbs)
	stuck.register(n, verbs)
	web := httptest.NewServer(httpapi.NewServer(httpapi.Config{}, verbs))
	defer web.Close()
	for what, target := range map[string]*Target{"here": Local(n), "daemon": dial(t, web.URL)} {
		for i, err := range endless.Do(t.Context(), target, struct{}{}) {
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if i == 3 {
				break
			}
		}
		<-began
		<-ended

		for name, do := range map[string]func(context.Context) error{
			"stuck": func(ctx context.Context) error { _, err := stuck.Do(ctx, target, struct{}{}); return err },
			"endless": func(ctx context.Context) error {
				for _, err := range endless.Do(ctx, target, struct{}{}) {
					if err != nil {
						return err
					}
				}
				return nil
			},
		} {
			ctx, cancel := context.WithCancel(t.Context())
			stop := make(chan struct{})
			go func() {
				<-began
				cancel()
				close(stop)
			}()
			if err := do(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("%s, %s: got %v, want %v", what, name, err, context.Canceled)
			}
			<-stop
			<-ended
		}
	}
}

// TestManyCalls uses a connection again for 10,000 requests of all kinds.
func TestManyCalls(t *testing.T) {
	s := serve(t, nil)
	b := newBlock(t, block.Raw, []byte("x"))
	if err := s.node.Put(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	absent := absent(block.Raw)
	for i := range 10_000 {
		var err error
		switch i % 4 {
		case 0:
			_, err = s.tcp.Size(t.Context(), b.CID())
		case 1:
			_, err = s.tcp.Get(t.Context(), b.CID())
		case 2:
			if _, err = s.tcp.Get(t.Context(), absent); errors.Is(err, block.ErrNotFound) {
				err = nil // an error leaves the connection usable
			}
		case 3:
			// A body that the verb doesn't read to its end.
			_, err = ImportKey.Do(t.Context(), s.tcp, ImportKeyArgs{"x", bytes.NewReader(make([]byte, maxKeyFile+10))})
			if errors.Is(err, cairn.ErrNameInvalid) {
				err = nil
			}
		}
		if err != nil {
			t.Fatal(i, err)
		}
	}
	// net/http itself gives up a connection whose writer isn't scheduled within
	// 50 ms of the answer. A fault of ours would do so each time.
	if n := s.conns.Load(); n > 100 {
		t.Errorf("got %d connections for 10,000 requests, want one or a few", n)
	}
}

func TestShutdown(t *testing.T) {
	s := serve(t, nil)
	if err := s.unix.Shutdown(t.Context()); err != nil || s.shutdowns.Load() != 1 {
		t.Errorf("got %v, and %d calls", err, s.shutdowns.Load())
	}
	if err := s.here.Shutdown(t.Context()); err == nil {
		t.Error("a node here: got no error")
	}
	web := httptest.NewServer(httpapi.NewServer(httpapi.Config{}, Verbs(s.node, nil)))
	defer web.Close()
	if err := dial(t, web.URL).Shutdown(t.Context()); !errors.Is(err, httpapi.ErrForbidden) {
		t.Errorf("a daemon that can't be ended: got %v, want ErrForbidden", err)
	}
}
