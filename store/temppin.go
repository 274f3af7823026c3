package store

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/ipfs/go-cid"
)

// A TempPin keeps DAGs alive until it is released, the store is closed, or the
// process ends, however it ends.
type TempPin struct {
	s  *Store
	id uint64 // of this process: pins of earlier ones are gone
}

// TempPin makes a temporary pin that holds nothing yet.
func (s *Store) TempPin() *TempPin { return &TempPin{s: s, id: s.pins.Add(1)} }

// Add keeps the DAGs of roots alive, too. Errors: block.ErrUnknownCodec.
func (p *TempPin) Add(ctx context.Context, roots ...cid.Cid) error {
	b := p.s.Batch()
	b.Pin(p, roots...)
	return b.Commit(ctx)
}

// Release lets everything go that the pin held. It may be used again.
func (p *TempPin) Release(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("store: release pin: %w", err)
	}
	err := p.s.do(&op{frees: true, durable: true, apply: func(c *committer) error {
		// What is in the overlay alone can't be listed.
		if err := c.publish(); err != nil {
			return err
		}
		if err := c.flush(false); err != nil {
			return err
		}
		return c.dropPins(pinKey(p.id))
	}})
	if err != nil {
		return fmt.Errorf("store: release pin: %w", err)
	}
	return nil
}

func (p *TempPin) check(c *committer, roots []cid.Cid) error {
	for _, root := range roots {
		if err := c.s.checkRoot(root); err != nil {
			return fmt.Errorf("pin: %w", err)
		}
	}
	return nil
}

func (p *TempPin) add(c *committer, roots []cid.Cid) error {
	for _, root := range roots {
		key := pinKey(p.id) + string(root.Bytes())
		there, err := c.get(key)
		if err != nil {
			return err
		}
		if there != nil {
			continue
		}
		targets, err := c.s.targets(root)
		if err != nil {
			return err
		}
		c.set(key, appendNodes(nil, targets))
		if err := c.referAll(targets, 1); err != nil {
			return err
		}
	}
	return nil
}

func pinKey(id uint64) string {
	return string(binary.BigEndian.AppendUint64([]byte{keyTempPin}, id))
}

// dropPins lets go of the pins whose keys begin with prefix.
func (c *committer) dropPins(prefix string) error {
	type pin struct {
		key     string
		targets []node
	}
	var pins []pin
	var perr error
	err := scan(c.s.index.db, prefix, "", func(k, v []byte) bool {
		d := decoder{p: v}
		pins = append(pins, pin{string(k), d.nodes()})
		if d.fail {
			perr = fmt.Errorf("index: temporary pin %x is malformed", k)
		}
		return !d.fail
	})
	for _, p := range pins {
		c.unset(p.key)
		if err == nil {
			err = c.referAll(p.targets, -1)
		}
	}
	if err == nil {
		err = perr
	}
	return err
}

// dropTempPins lets go of what pins of an earlier process held.
func (c *committer) dropTempPins() error {
	if err := c.dropPins(string(keyTempPin)); err != nil {
		return err
	}
	if c.dirtyCount() == 0 {
		return nil
	}
	if err := c.publish(); err != nil {
		return err
	}
	return c.flush(true)
}
