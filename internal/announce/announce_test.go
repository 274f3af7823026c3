package announce

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/routing"
	"github.com/ipfs/go-cid"
)

// A memoryRouter records what it is given.
type memoryRouter struct {
	mu              sync.Mutex // guards the following
	provided, added map[cid.Cid]int
	err             error // what its methods return
}

func newRouter() *memoryRouter {
	return &memoryRouter{provided: make(map[cid.Cid]int), added: make(map[cid.Cid]int)}
}

func (r *memoryRouter) Provide(_ context.Context, c cid.Cid) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.provided[c]++
	}
	return r.err
}

func (r *memoryRouter) Add(ctx context.Context, list routing.List) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	for c, err := range list(ctx) {
		if err != nil {
			return err
		}
		r.added[c]++
	}
	return nil
}

func raw(t *testing.T, data string) block.Block {
	t.Helper()
	b, err := block.New(block.Raw, []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// announceOnce announces what is due, and returns how often each root was.
func announceOnce(t *testing.T, a *Announcer) map[cid.Cid]int {
	t.Helper()
	r := newRouter()
	if err := a.announce(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return r.provided
}

func TestStrategies(t *testing.T) {
	ctx, s := t.Context(), newStore(t)
	leaf, loose, kept, own := raw(t, "leaf"), raw(t, "loose"), raw(t, "kept"), raw(t, "own")
	middle := links(t, leaf.CID(), raw(t, "missing").CID())
	root := links(t, middle.CID())
	put(t, s, leaf, loose, middle, root)
	alias(t, s, "x", root.CID())
	alias(t, s, "sync/x", loose.CID())
	for name, tt := range map[string]struct {
		config Config
		want   []cid.Cid
	}{
		"entities": {Config{}, []cid.Cid{root.CID(), middle.CID(), leaf.CID()}},
		"roots":    {Config{Strategy: Roots}, []cid.Cid{root.CID()}},
		"all":      {Config{Strategy: All}, []cid.Cid{root.CID(), middle.CID(), leaf.CID(), loose.CID()}},
		"none":     {Config{Strategy: None}, nil},
		"own":      {Config{Own: func(context.Context) iter.Seq2[cid.Cid, error] { return all([]cid.Cid{own.CID()}) }}, []cid.Cid{own.CID()}},
	} {
		tt.config.Store, tt.config.SkipPrefix = s, "sync/"
		a := newAnnouncer(t, tt.config)
		if err := a.Keep(ctx, kept.CID()); err != nil {
			t.Fatal(err)
		}
		got := make(map[string]bool)
		for c, err := range a.List(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			got[string(c.Hash())] = true
		}
		want := map[string]bool{string(kept.CID().Hash()): true}
		for _, c := range tt.want {
			want[string(c.Hash())] = true
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: got %d CIDs, want %d: %v", name, len(got), len(want), tt.want)
		}
		if err := a.Drop(ctx, kept.CID()); err != nil {
			t.Fatal(err)
		}
		for c := range a.kept(ctx) {
			t.Errorf("%s: got %s after Drop", name, c)
		}
	}
	if _, err := New(Config{Store: s, Strategy: "some"}); err == nil {
		t.Error("an unknown strategy: got no error")
	}
}

// TestNewRoots announces each root of an alias once, also by another announcer on
// the same store, as after a restart.
func TestNewRoots(t *testing.T) {
	s := newStore(t)
	first, second := raw(t, "1"), raw(t, "2")
	put(t, s, first, second)
	alias(t, s, "x", first.CID())
	alias(t, s, "sync/x", second.CID())
	config := Config{Store: s, SkipPrefix: "sync/"}
	for _, want := range []map[cid.Cid]int{{first.CID(): 1}, {}} {
		if got := announceOnce(t, newAnnouncer(t, config)); !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	alias(t, s, "x", second.CID())
	want := map[cid.Cid]int{second.CID(): 1}
	if got := announceOnce(t, newAnnouncer(t, config)); !maps.Equal(got, want) {
		t.Errorf("a new root: got %v, want %v", got, want)
	}
	// The record goes with the alias: set again, it is announced again.
	if err := s.RemoveAlias(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if got := announceOnce(t, newAnnouncer(t, config)); len(got) > 0 {
		t.Errorf("without the alias: got %v, want nothing", got)
	}
	alias(t, s, "x", second.CID())
	if got := announceOnce(t, newAnnouncer(t, config)); !maps.Equal(got, want) {
		t.Errorf("the alias set again: got %v, want %v", got, want)
	}
}

// TestMany leaves many new roots to the sweep.
func TestMany(t *testing.T) {
	s := newStore(t)
	const count = maxRoots + 1
	for i := range count {
		b := raw(t, fmt.Sprint(i))
		put(t, s, b)
		alias(t, s, fmt.Sprint(i), b.CID())
	}
	r := newRouter()
	if err := newAnnouncer(t, Config{Store: s}).announce(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if len(r.provided) != 0 || len(r.added) != count {
		t.Errorf("got %d provided and %d added, want 0 and %d", len(r.provided), len(r.added), count)
	}
}

// TestRetry: after a failure all that was due still is.
func TestRetry(t *testing.T) {
	s := newStore(t)
	root, fetched := raw(t, "root"), raw(t, "fetched")
	put(t, s, root)
	alias(t, s, "x", root.CID())
	a := newAnnouncer(t, Config{Store: s})
	a.Fetched(fetched.CID())
	r := newRouter()
	r.err = errors.New("no peers")
	if err := a.announce(t.Context(), r); !errors.Is(err, r.err) {
		t.Errorf("got %v, want %v", err, r.err)
	}
	want := map[cid.Cid]int{root.CID(): 1, fetched.CID(): 1}
	if got := announceOnce(t, a); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := announceOnce(t, a); len(got) > 0 {
		t.Errorf("again: got %v, want nothing", got)
	}
}

// TestBounds: what is remembered of changed aliases and fetched roots is bounded.
func TestBounds(t *testing.T) {
	s := newStore(t)
	a := newAnnouncer(t, Config{Store: s})
	a.rescan = false
	for i := range maxChanged + 1 {
		a.addChanged(fmt.Sprint(i), false)
	}
	if !a.rescan || len(a.changed) > 0 {
		t.Errorf("got rescan %v and %d aliases, want a rescan of all", a.rescan, len(a.changed))
	}
	for i := range maxRoots + 1 {
		a.Fetched(raw(t, fmt.Sprint(i)).CID())
	}
	if len(a.fetched) != maxRoots {
		t.Errorf("got %d fetched roots, want %d", len(a.fetched), maxRoots)
	}
}

// notifyingRouter sends each provided root on a channel.
type notifyingRouter struct {
	*memoryRouter
	provided chan cid.Cid
}

func (r notifyingRouter) Provide(ctx context.Context, c cid.Cid) error {
	r.provided <- c
	return nil
}

// TestRun announces what is due at the start, and then each alias that is set.
func TestRun(t *testing.T) {
	s := newStore(t)
	blocks := []block.Block{raw(t, "1"), raw(t, "2"), raw(t, "3")}
	put(t, s, blocks...)
	alias(t, s, "x", blocks[0].CID())
	ctx, cancel := context.WithCancel(t.Context())
	a := newAnnouncer(t, Config{Store: s, SkipPrefix: "sync/"})
	r := notifyingRouter{newRouter(), make(chan cid.Cid)}
	var running sync.WaitGroup
	running.Go(func() { a.Run(ctx, r) })
	var got []cid.Cid
	got = append(got, <-r.provided)
	alias(t, s, "sync/y", blocks[1].CID())
	alias(t, s, "y", blocks[1].CID())
	got = append(got, <-r.provided)
	a.Fetched(blocks[2].CID())
	got = append(got, <-r.provided)
	cancel()
	running.Wait()
	if want := []cid.Cid{blocks[0].CID(), blocks[1].CID(), blocks[2].CID()}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
