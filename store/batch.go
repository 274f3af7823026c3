package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// A Batch gathers changes that are made together, or not at all. Blocks put
// into it can be read at once, and are kept from being evicted, like those that
// its Has found here, until Commit or Discard; everything else happens in
// Commit. One of the two must be called.
//
// A Batch may be used by several goroutines.
type Batch struct {
	s *Store

	mu       sync.Mutex // guards the following fields
	kept     map[uint64]struct{}
	checks   []func(*committer) error
	changes  []func(*committer) error
	failures uint64
	over     bool
}

// Batch begins a batch.
func (s *Store) Batch() *Batch {
	return &Batch{s: s, kept: map[uint64]struct{}{}, failures: s.failures.Load()}
}

var (
	_ block.Putter = (*Batch)(nil)
	_ block.Haver  = (*Batch)(nil)
)

// Put takes blocks in, to be durable with the batch's Commit. It returns
// before they are written, and waits only while too much is on its way to the
// disk; what goes wrong then, a later Put or Commit tells.
func (b *Batch) Put(ctx context.Context, blocks ...block.Block) error {
	return b.put(ctx, entry{}, blocks)
}

// put enqueues blocks, as the entry says. An entry with links is for one block.
func (b *Batch) put(ctx context.Context, e entry, blocks []block.Block) error {
	if err := b.lost(); err != nil {
		return fmt.Errorf("store: batch put: %w", err)
	}
	extracted := e.links
	for _, k := range blocks {
		if block.IsIdentity(k.CID()) {
			continue
		}
		if err := b.keep(k.CID()); err != nil {
			return fmt.Errorf("store: batch put %s: %w", k.CID(), err)
		}
		e.block, e.keep, e.links = k, true, extracted
		if e.links == nil && k.CID().Prefix().Codec != block.Raw {
			e.links = b.s.extract(k)
		}
		if err := b.s.enqueue(ctx, e); err != nil {
			return fmt.Errorf("store: batch put %s: %w", k.CID(), err)
		}
	}
	return nil
}

// Has tells whether the block is here. If so, it stays until the batch ends.
func (b *Batch) Has(ctx context.Context, c cid.Cid) (bool, error) {
	if err := b.keep(c); err != nil {
		return false, fmt.Errorf("store: batch has %s: %w", c, err)
	}
	if b.s.protect.isDoomed(string(c.Hash())) {
		return false, nil // there for readers still, and about to go
	}
	return b.s.Has(ctx, c)
}

// keep protects a block from eviction until the batch ends.
func (b *Batch) keep(c cid.Cid) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return fmt.Errorf("the batch is over")
	}
	h := hashOf(string(c.Hash()))
	if _, ok := b.kept[h]; !ok {
		b.kept[h] = struct{}{}
		b.s.protect.add(h)
	}
	return nil
}

func (b *Batch) lost() error {
	if b.s.failures.Load() != b.failures {
		return fmt.Errorf("%w: %w; start it again", ErrBatchLost, b.s.failure())
	}
	return nil
}

// add notes a change to be made by Commit, with what may refuse it.
func (b *Batch) add(check, change func(*committer) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if check != nil {
		b.checks = append(b.checks, check)
	}
	b.changes = append(b.changes, change)
}

// Alias sets an alias, or changes it. See Store.SetAlias.
func (b *Batch) Alias(name string, root cid.Cid, o AliasOptions) {
	b.add(
		func(c *committer) error { return c.checkAlias(name, root, o) },
		func(c *committer) error { return c.setAlias(name, root, o) })
}

// RemoveAlias removes an alias. Commit fails with ErrNoAlias where there's
// none.
func (b *Batch) RemoveAlias(name string) {
	b.add(
		func(c *committer) error { return c.checkRemoveAlias(name) },
		func(c *committer) error { return c.removeAlias(name) })
}

// Pin adds roots to a temporary pin.
func (b *Batch) Pin(p *TempPin, roots ...cid.Cid) {
	b.add(
		func(c *committer) error { return p.check(c, roots) },
		func(c *committer) error { return p.add(c, roots) })
}

// Set puts a value under a key of a space. The batch keeps both slices.
func (b *Batch) Set(space string, key, value []byte) {
	if value == nil {
		value = []byte{}
	}
	b.add(
		func(*committer) error { return checkSpace(space, key, value) },
		func(c *committer) error { c.setSpace(space, string(key), value); return nil })
}

// Unset removes a key of a space.
func (b *Batch) Unset(space string, key []byte) {
	b.add(
		func(*committer) error { return checkSpace(space, key, nil) },
		func(c *committer) error { c.setSpace(space, string(key), nil); return nil })
}

// Refer takes a block in that a backing keeps under the locator. Its bytes are
// not stored. A block that is in a pack already stays there.
func (b *Batch) Refer(k block.Block, backing string, locator []byte) error {
	if block.IsIdentity(k.CID()) {
		return nil
	}
	err := storable(k)
	if err == nil {
		err = b.keep(k.CID())
	}
	if err != nil {
		return fmt.Errorf("store: refer to %s: %w", k.CID(), err)
	}
	n := nodeOf(k.CID())
	var l *links
	if n.codec != block.Raw {
		l = b.s.extract(k)
	}
	at := loc{kind: locBacking, size: k.Size(), backing: backing, locator: string(locator)}
	b.add(
		func(*committer) error {
			switch {
			case b.s.o.Backings[backing] == nil:
				return fmt.Errorf("the backing %q is not registered", backing)
			case len(locator) > maxLocator:
				return fmt.Errorf("a locator of %d bytes: %w (the limit is %d)", len(locator), block.ErrTooLarge, maxLocator)
			}
			return nil
		},
		func(c *committer) error {
			if l != nil {
				c.hints[n] = l
			}
			return c.place(n, at)
		})
	return nil
}

// maxLocator bounds a backing's locator, in bytes: a file's path and a place
// in it.
const maxLocator = 8 << 10

// Commit makes the batch's changes, all or none, and everything put into it
// durable, and ends the batch. When it returns nil, all of it survives a crash.
// A batch that was refused (a bad name, an unknown codec, a full disk) changed
// nothing.
func (b *Batch) Commit(ctx context.Context) error {
	defer b.Discard()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("store: commit: %w", err)
	}
	b.mu.Lock()
	checks, changes, over := b.checks, b.changes, b.over
	b.mu.Unlock()
	if over {
		return fmt.Errorf("store: commit: the batch is over")
	}
	err := b.s.do(&op{
		durable: true,
		check: func(c *committer) error {
			if err := b.lost(); err != nil {
				return err
			}
			for _, check := range checks {
				if err := check(c); err != nil {
					return err
				}
			}
			return nil
		},
		apply: func(c *committer) error {
			for _, change := range changes {
				if err := change(c); err != nil {
					return err
				}
			}
			return nil
		},
	})
	if err != nil {
		return fmt.Errorf("store: commit: %w", err)
	}
	return nil
}

// Discard ends the batch without its changes; after Commit it does nothing.
// Blocks put into it may stay as a cache.
func (b *Batch) Discard() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	for h := range b.kept {
		b.s.protect.remove(h)
	}
	b.kept, b.checks, b.changes = nil, nil, nil
}

// A protectedSet is what is in the hands of batches: those blocks are not
// evicted. It holds the first bytes of digests: that two share them costs no
// more than a block kept too long.
type protectedSet struct {
	mu     sync.Mutex // guards the following fields
	counts map[uint64]int32
	// doomed is what the committer takes away in the group that it is at.
	// Readers find it until the group's end, so that it was too late for who
	// protects it only now.
	doomed map[uint64]struct{}
}

// hashOf returns eight bytes of a multihash that are as good as random.
func hashOf(mh string) uint64 {
	if len(mh) < 10 {
		return uint64(len(mh))
	}
	return binary.BigEndian.Uint64([]byte(mh[len(mh)-8:]))
}

func (p *protectedSet) add(h uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[h]++
}

func (p *protectedSet) remove(h uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.counts[h]--; p.counts[h] <= 0 {
		delete(p.counts, h)
	}
}

func (p *protectedSet) has(mh string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts[hashOf(mh)] > 0
}

// doom gives a block up, for the committer to take away, unless it's protected.
func (p *protectedSet) doom(mh string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := hashOf(mh)
	if p.counts[h] > 0 {
		return false
	}
	if p.doomed == nil {
		p.doomed = map[uint64]struct{}{}
	}
	p.doomed[h] = struct{}{}
	return true
}

// isDoomed is asked after add: whoever is told no finds the block, and keeps
// it, or finds it gone.
func (p *protectedSet) isDoomed(mh string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, doomed := p.doomed[hashOf(mh)]
	return doomed
}

// groupOver is called when readers have been shown what a group took away.
func (p *protectedSet) groupOver() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.doomed)
}
