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
	id uint64 // unique in this process; pins of earlier processes are removed
}

// TempPin makes a temporary pin that holds nothing yet.
func (s *Store) TempPin() *TempPin { return &TempPin{s: s, id: s.pins.Add(1)} }

// Add adds roots whose DAGs the pin keeps alive. Errors: block.ErrUnknownCodec.
func (p *TempPin) Add(ctx context.Context, roots ...cid.Cid) error {
	b := p.s.Batch()
	b.Pin(p, roots...)
	return b.Commit(ctx)
}

// Release releases all roots of the pin, which may be used again.
func (p *TempPin) Release(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("store: release pin: %w", err)
	}
	err := p.s.do(&op{frees: true, durable: true, apply: func(c *committer) error {
		// dropPins reads the index, so flush the overlay first.
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
		if err := c.addCounts(targets, 1); err != nil {
			return err
		}
	}
	return nil
}

func pinKey(id uint64) string {
	return string(binary.BigEndian.AppendUint64([]byte{keyTempPin}, id))
}

// dropPins removes the pins whose keys begin with prefix.
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
			err = c.addCounts(p.targets, -1)
		}
	}
	if err == nil {
		err = perr
	}
	return err
}

// dropTempPins removes the pins of earlier processes.
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
