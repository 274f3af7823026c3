package cairn_test

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// Aliases set without a network, or before a crash, are announced once there is one.
func TestProvideAfterwards(t *testing.T) {
	ctx := t.Context()
	_, hub := dhtOf(t)
	dir := t.TempDir()
	before, err := cairn.Open(ctx, cairn.Config{Dir: dir, Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	added, err := before.Add(ctx, bytes.NewReader([]byte("before")), cairn.AddOptions{Alias: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if err := before.Close(); err != nil {
		t.Fatal(err)
	}
	ours := calling(t, cairn.Config{Bootstrap: []string{hub}})
	theirs, _ := listening(t, cairn.Config{Dir: dir, Bootstrap: []string{hub}, Providing: cairn.ProvideRoots})
	isFound := func(c cid.Cid) func() bool {
		return func() bool {
			found, _ := providers(t, ours, c)
			return len(found) > 0
		}
	}
	eventually(t, "a root of before is found", isFound(added.CID))
	// A new version is announced while the node is online.
	next, err := theirs.Add(ctx, bytes.NewReader([]byte("after")), cairn.AddOptions{Alias: "x"})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a new root is found", isFound(next.CID))
	// So is what Provide is called with, without an alias.
	b, err := block.New(block.Raw, []byte("told"))
	if err != nil {
		t.Fatal(err)
	}
	if err := theirs.Put(ctx, b); err != nil {
		t.Fatal(err)
	}
	if err := theirs.Provide(ctx, b.CID()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the provided block is found", isFound(b.CID()))
	if err := theirs.Close(); err != nil {
		t.Fatal(err)
	}
	theirs, _ = listening(t, cairn.Config{Dir: dir, Bootstrap: []string{hub}, Providing: cairn.ProvideNone})
	records := func(want int64) func() bool {
		return func() bool {
			s, err := theirs.ProvideStats(ctx)
			if err != nil || s.Strategy != cairn.ProvideNone || s.Interval != 22*time.Hour {
				t.Fatalf("stats: got %+v, %v", s, err)
			}
			return s.Records == want
		}
	}
	eventually(t, "announcing only the provided block", records(1))
	if err := theirs.Unprovide(ctx, b.CID()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "announcing nothing", records(0))
}

func TestProvideStrategies(t *testing.T) {
	ctx := t.Context()
	tree := fstest.MapFS{
		"a/large": {Data: randomBytes(3<<20, 1)}, "a/small": {Data: []byte("small")}, "b": {Data: []byte("b")},
	}
	own, err := block.New(block.Raw, []byte("own"))
	if err != nil {
		t.Fatal(err)
	}
	ownList := func(context.Context) iter.Seq2[cid.Cid, error] {
		return func(yield func(cid.Cid, error) bool) { yield(own.CID(), nil) }
	}
	for _, c := range []struct {
		config cairn.Config
		want   int64
	}{
		{cairn.Config{Providing: cairn.ProvideRoots}, 1},
		{cairn.Config{}, 5},
		{cairn.Config{Providing: cairn.ProvideAll}, 8},
		{cairn.Config{Providing: cairn.ProvideNone}, 0},
		{cairn.Config{ProvideList: ownList}, 1},
	} {
		// With content from before the start, and with content added later.
		for _, early := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/%d/%v", c.config.Providing, c.want, early), func(t *testing.T) {
				c.config.Dir = filepath.Join(t.TempDir(), "repo")
				c.config.Offline = early
				n, _ := cairn.Open(ctx, c.config)
				if early {
					if _, err := n.AddFS(ctx, tree, cairn.AddOptions{}); err != nil {
						t.Fatal(err)
					}
				}
				if err := n.Close(); err != nil {
					t.Fatal(err)
				}
				_, hub := dhtOf(t)
				c.config.Offline, c.config.Bootstrap = false, []string{hub}
				n, _ = listening(t, c.config)
				if !early {
					if _, err := n.AddFS(ctx, tree, cairn.AddOptions{}); err != nil {
						t.Fatal(err)
					}
				}
				eventually(t, "what is announced", func() bool {
					s, err := n.ProvideStats(ctx)
					if err != nil {
						t.Fatal(err)
					}
					return s.Records == c.want
				})
			})
		}
	}
	if n, err := cairn.Open(ctx, cairn.Config{Local: true, Listen: loopback, Providing: "some"}); err == nil {
		n.Close()
		t.Error("an unknown strategy: got no error")
	}
}

// Config.ProvideFetched announces fetched blocks.
func TestProvideFetched(t *testing.T) {
	ctx := t.Context()
	hub, at := dhtOf(t)
	n, _ := listening(t, cairn.Config{Bootstrap: []string{at}, ProvideFetched: true, Providing: cairn.ProvideRoots})
	b, err := block.New(block.Raw, []byte("fetched"))
	if err != nil {
		t.Fatal(err)
	}
	if err := hub.Put(ctx, b); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Connect(ctx, at); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Fetch(ctx, b.CID()); err != nil {
		t.Fatal(err)
	}
	id, _ := n.ID(ctx)
	eventually(t, "the node that fetched is found", func() bool {
		found, _ := providers(t, hub, b.CID())
		return len(found) > 0 && found[0].ID == id
	})
}
