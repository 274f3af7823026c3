package store

import (
	"encoding/binary"
	"fmt"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/pack"
)

// Kinds of pack, by what is appended to them.
const (
	kindLinks  = 0 // blocks with links, and records
	kindLeaves = 1 // blocks without
	kindCache  = 2 // blocks that nothing kept alive when they came
	kinds      = 3
)

// States of a pack.
const (
	packOpen   = 0 // can be appended to, also after a restart
	packSealed = 1
	packTorn   = 2 // no longer appended to, and not yet sealed
)

// packInfo is the index's row of a pack. The counts cover the rows whose bytes
// lie in it, live and cached; the rest of its data is dead.
type packInfo struct {
	id          pack.ID
	kind        int
	state       int
	end         int64 // where its data end
	size        int64 // of the file
	liveBlocks  int64
	liveBytes   int64
	cacheBlocks int64
	cacheBytes  int64
	records     bool // it holds records that a rebuild may need
	read        int64
}

// indexEntry is the bytes that a block takes in a pack's index: a digest of 32,
// and an offset.
const indexEntry = 40

// reclaimable is the number of bytes freed if the live blocks of the pack were
// moved elsewhere and the pack removed.
func (p *packInfo) reclaimable() int64 {
	return p.end - pack.Start - p.liveBytes + max(0, p.size-p.end-indexEntry*p.liveBlocks)
}

func (p *packInfo) key() string {
	return string(binary.BigEndian.AppendUint64([]byte{keyPack}, uint64(p.id)))
}

func (p *packInfo) append(b []byte) []byte {
	b = append(b, byte(p.kind), byte(p.state))
	for _, v := range []int64{p.end, p.size, p.liveBlocks, p.liveBytes, p.cacheBlocks, p.cacheBytes, p.read} {
		b = binary.AppendVarint(b, v)
	}
	if p.records {
		return append(b, 1)
	}
	return append(b, 0)
}

func parsePackInfo(key, value []byte) (*packInfo, error) {
	if len(key) != 9 || len(value) < 3 {
		return nil, fmt.Errorf("index: pack %x: %w", key, block.ErrMalformed)
	}
	p := &packInfo{id: pack.ID(binary.BigEndian.Uint64(key[1:])), kind: int(value[0]), state: int(value[1])}
	value = value[2:]
	for _, v := range []*int64{&p.end, &p.size, &p.liveBlocks, &p.liveBytes, &p.cacheBlocks, &p.cacheBytes, &p.read} {
		n := 0
		if *v, n = binary.Varint(value); n <= 0 {
			return nil, fmt.Errorf("index: pack %x: %w", key, block.ErrMalformed)
		}
		value = value[n:]
	}
	if len(value) != 1 || p.kind >= kinds {
		return nil, fmt.Errorf("index: pack %x: %w", key, block.ErrMalformed)
	}
	p.records = value[0] == 1
	return p, nil
}

// count adds n (1 or -1) blocks that take bytes of the pack, live or cached.
func (p *packInfo) count(live bool, n, bytes int64) {
	if live {
		p.liveBlocks += n
		p.liveBytes += n * bytes
	} else {
		p.cacheBlocks += n
		p.cacheBytes += n * bytes
	}
}
