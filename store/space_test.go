package store

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/crashfs"
)

func (h harness) items(p *Space, prefix string) string {
	h.Helper()
	var out []string
	for item, err := range p.All(h.ctx, []byte(prefix)) {
		h.ok(err)
		out = append(out, fmt.Sprintf("%s=%s", item.Key, item.Value))
	}
	return strings.Join(out, " ")
}

func TestSpace(t *testing.T) {
	h := newHarness(t)
	fs := crashfs.New(1)
	s := h.open("repo", Options{fs: fs})
	p := s.Space("p")
	if value, ok, err := p.Get(h.ctx, []byte("k")); value != nil || ok || err != nil {
		t.Errorf("get from nothing: got %q, %v, %v", value, ok, err)
	}
	h.ok(p.Unset(h.ctx, []byte("k")))
	for _, k := range []string{"b", "a/2", "a/1", "a", "", "\xff\xff", "\xff"} {
		h.ok(p.Set(h.ctx, []byte(k), []byte("v"+k)))
	}
	h.ok(p.Set(h.ctx, []byte("empty"), nil))
	if value, ok, err := p.Get(h.ctx, []byte("empty")); value == nil || len(value) > 0 || !ok || err != nil {
		t.Errorf("get an empty value: got %v, %v, %v", value, ok, err)
	}
	h.ok(p.Unset(h.ctx, []byte("empty")))
	// Names with a common prefix are distinct, and so are keys that look like names.
	h.ok(s.Space("p2").Set(h.ctx, []byte("k"), []byte("other")))
	h.ok(s.Space("").Set(h.ctx, []byte("p"), []byte("nameless")))
	if got, want := h.items(p, ""), "=v a=va a/1=va/1 a/2=va/2 b=vb \xff=v\xff \xff\xff=v\xff\xff"; got != want {
		t.Errorf("all: got %q, want %q", got, want)
	}
	if got, want := h.items(p, "a/"), "a/1=va/1 a/2=va/2"; got != want {
		t.Errorf("all of a/: got %q, want %q", got, want)
	}
	if got, want := h.items(p, "\xff"), "\xff=v\xff \xff\xff=v\xff\xff"; got != want {
		t.Errorf("all of 0xff: got %q, want %q", got, want)
	}
	h.ok(p.Set(h.ctx, []byte("a"), []byte("again")))
	h.ok(p.Unset(h.ctx, []byte("b")))
	h.ok(s.Close())
	s = h.open("repo", Options{fs: fs})
	if got, want := h.items(s.Space("p"), ""), "=v a=again a/1=va/1 a/2=va/2 \xff=v\xff \xff\xff=v\xff\xff"; got != want {
		t.Errorf("after opening again: got %q, want %q", got, want)
	}
	h.audit(s)
}

// The caller may change its slices afterwards.
func TestSpaceCopies(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	p := s.Space("p")
	key, value := []byte("key"), []byte("value")
	h.ok(p.Set(h.ctx, key, value))
	key[0], value[0] = 'x', 'x'
	got, ok, err := p.Get(h.ctx, []byte("key"))
	h.ok(err)
	if !ok || string(got) != "value" {
		t.Fatalf("got %q, %v, want value", got, ok)
	}
	got[0] = 'x'
	if again, _, err := p.Get(h.ctx, []byte("key")); err != nil || string(again) != "value" {
		t.Errorf("got %q, %v, want value", again, err)
	}
}

func TestSpaceBounds(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	for _, tt := range []struct {
		name       string
		key, value int
		want       error
	}{
		{"p", maxKey, maxValue, nil},
		{strings.Repeat("n", maxName), 1, 1, nil},
		{"p", maxKey + 1, 1, block.ErrTooLarge},
		{"p", 1, maxValue + 1, block.ErrTooLarge},
		{strings.Repeat("n", maxName+1), 1, 1, block.ErrTooLarge},
	} {
		p := s.Space(tt.name)
		key, value := bytes.Repeat([]byte("k"), tt.key), bytes.Repeat([]byte("v"), tt.value)
		if err := p.Set(h.ctx, key, value); !errors.Is(err, tt.want) {
			t.Errorf("name of %d, key of %d, value of %d bytes: got %v, want %v", len(tt.name), tt.key, tt.value, err, tt.want)
			continue
		}
		got, ok, err := p.Get(h.ctx, key)
		h.ok(err)
		if ok != (tt.want == nil) || ok && !bytes.Equal(got, value) {
			t.Errorf("name of %d, key of %d, value of %d bytes: got %d bytes, %v", len(tt.name), tt.key, tt.value, len(got), ok)
		}
	}
}

// Blocks, aliases and values of spaces change together.
func TestSpaceInBatches(t *testing.T) {
	h := newHarness(t)
	s := h.open("", Options{})
	a := h.leaf("a")
	b := s.Batch()
	h.ok(b.Put(h.ctx, a))
	b.Alias("x", a.CID(), AliasOptions{})
	b.Set("p", []byte("gone"), []byte("1"))
	b.Set("p", []byte("twice"), []byte("1"))
	b.Set("p", []byte("twice"), []byte("2"))
	b.Unset("p", []byte("gone"))
	h.ok(b.Commit(h.ctx))
	if got, want := h.items(s.Space("p"), ""), "twice=2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	b = s.Batch()
	b.Set("p", []byte("k"), []byte("v"))
	b.Alias("y", a.CID(), AliasOptions{})
	b.Discard()
	if err := b.Commit(h.ctx); err == nil {
		t.Error("commit of what was discarded: got no error")
	}
	if got, want := h.items(s.Space("p"), ""), "twice=2"; got != want {
		t.Errorf("after a discarded batch: got %q, want %q", got, want)
	}
	if _, err := s.GetAlias(h.ctx, "y"); !errors.Is(err, ErrNoAlias) {
		t.Errorf("alias of a discarded batch: got %v, want ErrNoAlias", err)
	}
}

// Recorded spaces are restored after the loss of the index; others aren't. That holds
// after any number of losses, and when the packs with the first records are gone.
func TestRecordedSpaces(t *testing.T) {
	h := newHarness(t)
	fs := crashfs.New(1)
	o := Options{fs: fs, PackSize: 64 << 10, RecordedSpaces: []string{"kept"}}
	s := h.open("repo", o)
	big := strings.Repeat("v", 600<<10) // continues in another part of the record
	kept := s.Space("kept")
	h.ok(kept.Set(h.ctx, []byte("a"), []byte("1")))
	h.ok(kept.Set(h.ctx, []byte("b"), []byte("1")))
	h.ok(kept.Set(h.ctx, []byte("gone"), []byte("1")))
	h.ok(kept.Set(h.ctx, []byte("empty"), nil))
	h.ok(s.Space("lost").Set(h.ctx, []byte("a"), []byte("1")))
	b := s.Batch()
	for _, k := range []string{"big1", "big2"} {
		b.Set("kept", []byte(k), []byte(big))
	}
	h.ok(b.Commit(h.ctx))
	h.ok(kept.Set(h.ctx, []byte("b"), []byte("2")))
	h.ok(kept.Unset(h.ctx, []byte("gone")))
	want := "a=1 b=2 big1=" + big + " big2=" + big + " empty="
	for round := range 3 {
		if got := h.items(s.Space("kept"), ""); got != want {
			t.Fatalf("round %d: got %.50q of %d bytes, want %.50q of %d", round, got, len(got), want, len(want))
		}
		// Garbage makes eviction rewrite the packs with the records.
		garbage := h.link(strings.Repeat("x", 70<<10)+fmt.Sprint(round), h.leaf("none").CID())
		h.put(s, garbage)
		h.evict(s)
		h.ok(s.Close())
		_, err := Rebuild(h.ctx, "repo", o, nil)
		h.ok(err)
		s = h.open("repo", o)
		h.audit(s)
		if got := h.items(s.Space("lost"), ""); got != "" {
			t.Errorf("round %d: a space that isn't recorded came back: %q", round, got)
		}
	}
}
