package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"

	"github.com/cairn-ipfs/cairn/block"
)

// A Space is a small durable key-value area for the packages above: a cache of
// what files looked like, the state of a mirror. What must change together
// with blocks or aliases is set through a Batch.
type Space struct {
	s    *Store
	name string
}

// Space returns the space of that name. It need not exist.
func (s *Store) Space(name string) *Space { return &Space{s: s, name: name} }

func spaceKey(space, key string) string {
	b := binary.AppendUvarint([]byte{keySpace}, uint64(len(space)))
	return string(b) + space + key
}

func checkSpace(space string, key, value []byte) error {
	switch {
	case len(space) > maxName:
		return fmt.Errorf("space %q: a name of %d bytes: %w (the limit is %d)", space, len(space), block.ErrTooLarge, maxName)
	case len(key) > maxKey:
		return fmt.Errorf("space %q: a key of %d bytes: %w (the limit is %d)", space, len(key), block.ErrTooLarge, maxKey)
	case len(value) > maxValue:
		return fmt.Errorf("space %q: a value of %d bytes: %w (the limit is %d)", space, len(value), block.ErrTooLarge, maxValue)
	}
	return nil
}

// setSpace sets a key, or removes it if value is nil.
func (c *committer) setSpace(space, key string, value []byte) {
	c.set(spaceKey(space, key), value)
	if slices.Contains(c.s.o.RecordedSpaces, space) {
		c.record.space(space, key, value)
	}
}

// Get returns the value under key, and whether there is one. The bytes are the
// caller's.
func (p *Space) Get(ctx context.Context, key []byte) (value []byte, ok bool, err error) {
	if err := p.s.begin(ctx); err != nil {
		return nil, false, fmt.Errorf("store: space %s: %w", p.name, err)
	}
	defer p.s.end()
	value, err = p.s.index.get(spaceKey(p.name, string(key)))
	if err != nil {
		return nil, false, fmt.Errorf("store: space %s: %w", p.name, err)
	}
	return value, value != nil, nil
}

// Set sets one key, durably.
func (p *Space) Set(ctx context.Context, key, value []byte) error {
	b := p.s.Batch()
	b.Set(p.name, key, append([]byte{}, value...))
	return b.Commit(ctx)
}

// Unset removes one key, durably. A missing key is no error.
func (p *Space) Unset(ctx context.Context, key []byte) error {
	b := p.s.Batch()
	b.Unset(p.name, key)
	return b.Commit(ctx)
}

// All lists the keys that begin with prefix, in order, with their values, as
// they are when it begins. The bytes are the caller's.
func (p *Space) All(ctx context.Context, prefix []byte) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		snap, done, err := p.s.snapshot(ctx)
		if err != nil {
			yield(Item{}, fmt.Errorf("store: space %s: %w", p.name, err))
			return
		}
		defer done()
		head := spaceKey(p.name, "")
		stopped := false
		err = scan(snap, head+string(prefix), "", func(k, v []byte) bool {
			stopped = !yield(Item{Key: bytes.Clone(k[len(head):]), Value: append([]byte{}, v...)}, nil)
			return !stopped && ctx.Err() == nil
		})
		if err == nil {
			err = ctx.Err()
		}
		if err != nil && !stopped {
			yield(Item{}, fmt.Errorf("store: space %s: %w", p.name, err))
		}
	}
}

// An Item is a key of a space with its value.
type Item struct {
	Key, Value []byte
}
