package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// A Batch collects changes that are made together, or not at all. Blocks put into
// it can be read at once. They are protected from eviction until Commit or
// Discard, like blocks that its Has found. All other changes happen in Commit.
// Call Commit or Discard when done.
//
// A Batch may be used by several goroutines.
type Batch struct {
	s *Store

	mu       sync.Mutex // guards the following fields
	kept     map[uint64]struct{}
	checks   []func(*committer) error
	changes  []func(*committer) error
	failures uint64
	ended    bool
}

// Batch begins a batch.
func (s *Store) Batch() *Batch {
	return &Batch{s: s, kept: map[uint64]struct{}{}, failures: s.failures.Load()}
}

var (
	_ block.Putter = (*Batch)(nil)
	_ block.Haver  = (*Batch)(nil)
)

// Put stores blocks, which Commit makes durable. It returns before they are
// written, and waits only while too many bytes wait to be written. A later Put
// or Commit returns the error of the write.
func (b *Batch) Put(ctx context.Context, blocks ...block.Block) error {
	return b.put(ctx, entry{}, blocks)
}

// put enqueues blocks with the other fields of e. An entry with links is for one
// block.
func (b *Batch) put(ctx context.Context, e entry, blocks []block.Block) error {
	if err := b.lost(); err != nil {
		return fmt.Errorf("store: batch put: %w", err)
	}
	extracted := e.links
	for _, k := range blocks {
		if block.IsIdentity(k.CID()) {
			continue
		}
		if err := b.protect(k.CID()); err != nil {
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

// Has reports whether the block is here. If so, it stays until the batch ends.
func (b *Batch) Has(ctx context.Context, c cid.Cid) (bool, error) {
	if err := b.protect(c); err != nil {
		return false, fmt.Errorf("store: batch has %s: %w", c, err)
	}
	if b.s.protect.isDoomed(string(c.Hash())) {
		return false, nil // readers still find it, but it is being removed
	}
	return b.s.Has(ctx, c)
}

// protect protects a block from eviction until the batch ends.
func (b *Batch) protect(c cid.Cid) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return errBatchEnded
	}
	h := hashOf(string(c.Hash()))
	if _, ok := b.kept[h]; !ok {
		b.kept[h] = struct{}{}
		b.s.protect.add(h)
	}
	return nil
}

// errBatchEnded: Commit or Discard was called before.
var errBatchEnded = errors.New("the batch has ended: begin another")

// lost returns ErrBatchLost if blocks of the batch may be lost.
func (b *Batch) lost() error {
	if b.s.failures.Load() != b.failures {
		return fmt.Errorf("%w: %w; start it again", ErrBatchLost, b.s.failure())
	}
	return nil
}

// add adds a change for Commit to make, and a check that may prevent it.
func (b *Batch) add(check, change func(*committer) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if check != nil {
		b.checks = append(b.checks, check)
	}
	b.changes = append(b.changes, change)
}

// Alias sets or changes an alias. See Store.SetAlias.
func (b *Batch) Alias(name string, root cid.Cid, o AliasOptions) {
	b.add(
		func(c *committer) error { return c.checkAlias(name, root, o) },
		func(c *committer) error { return c.setAlias(name, root, o) })
}

// RemoveAlias removes an alias. Commit fails with ErrNoAlias if there is none.
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

// Set sets a key of a space. The batch keeps both slices.
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

// Refer adds a block that a backing keeps under the locator. Its bytes are not
// stored. A block that lies in a pack already stays there.
func (b *Batch) Refer(k block.Block, backing string, locator []byte) error {
	if block.IsIdentity(k.CID()) {
		return nil
	}
	err := storable(k)
	if err == nil {
		err = b.protect(k.CID())
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
				c.knownLinks[n] = l
			}
			return c.setLocation(n, at)
		})
	return nil
}

// maxLocator bounds a backing's locator, in bytes: a file's path and an offset.
const maxLocator = 8 << 10

// Commit makes the batch's changes, all or none, makes them and its blocks
// durable, and ends the batch. When it returns nil, all of it survives a crash.
// If it returns an error for the batch itself (an invalid name, an unknown codec,
// a full disk), nothing has changed.
func (b *Batch) Commit(ctx context.Context) error {
	defer b.Discard()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("store: commit: %w", err)
	}
	b.mu.Lock()
	checks, changes, ended := b.checks, b.changes, b.ended
	b.mu.Unlock()
	if ended {
		return fmt.Errorf("store: commit: %w", errBatchEnded)
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
	b.ended = true
	for h := range b.kept {
		b.s.protect.remove(h)
	}
	b.kept, b.checks, b.changes = nil, nil, nil
}

// A protectedSet holds the blocks that batches protect from eviction. It keeps
// eight bytes of each digest: where two blocks share them, one may be kept too
// long, and no more.
type protectedSet struct {
	mu     sync.Mutex // guards the following fields
	counts map[uint64]int32
	// doomed holds the blocks that the committer removes in its current group.
	// Readers find them until the group's end, so a batch that protects one now
	// comes too late.
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

// doom marks a block for the committer to remove, unless it is protected.
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

// isDoomed reports whether the committer is removing the block. Call it after
// add: if it returns false, the block is protected or already gone.
func (p *protectedSet) isDoomed(mh string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, doomed := p.doomed[hashOf(mh)]
	return doomed
}

// endGroup is called when readers no longer find what the group removed.
func (p *protectedSet) endGroup() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.doomed)
}
