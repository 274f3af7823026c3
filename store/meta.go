package store

import (
	"encoding/binary"
	"fmt"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/pack"
)

// meta is the index's state of the whole repository.
type meta struct {
	nextPack pack.ID // the id of the next pack
	seq      uint64  // of the last record
	epoch    uint64  // raised whenever a live block is lost; starts at 1
	removals uint64  // in memory only: counts blocks that have left the store
	held     bool    // eviction is held
}

const metaKey = string(keyMeta) + "meta"

func (m meta) append(b []byte) []byte {
	for _, v := range []uint64{uint64(m.nextPack), m.seq, m.epoch} {
		b = binary.AppendUvarint(b, v)
	}
	if m.held {
		return append(b, 1)
	}
	return append(b, 0)
}

func parseMeta(p []byte) (meta, error) {
	d := decoder{p: p}
	m := meta{nextPack: pack.ID(d.uvarint()), seq: d.uvarint(), epoch: d.uvarint(), held: d.byte() == 1}
	if d.fail || m.nextPack == 0 || m.epoch == 0 {
		return meta{}, fmt.Errorf("index: meta %x: %w", p, block.ErrMalformed)
	}
	return m, nil
}

func (c *committer) storedMeta() (meta, error) {
	value, err := c.s.index.get(metaKey)
	if err != nil || value == nil {
		return meta{nextPack: 1, epoch: 1}, err
	}
	return parseMeta(value)
}
