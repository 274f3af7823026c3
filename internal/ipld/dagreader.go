package ipld

import (
	"context"
	"hash/maphash"
	"io"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

const (
	// maxAhead bounds the blocks that are held before anyone asks for them, in
	// bytes: several times what a file reads ahead. Beyond it, a block is got by
	// itself.
	maxAhead = 32 << 20
	// maxRecent bounds the blocks that are held after they were asked for, in
	// bytes. They may occur again, and a stream has each block once.
	maxRecent = 8 << 20
)

// A DAGReader gets the blocks of a DAG from a stream that has them about depth
// first. Blocks that the stream does not have, or had too long ago, come from
// another Getter. It is safe for concurrent use.
type DAGReader struct {
	rest block.Getter

	turn chan struct{}               // holds a token while the following are used
	next func() (block.Block, error) // nil once the stream has ended
	err  error                       // why, if it broke off
	seed maphash.Seed
	// passed are hashes of all blocks that came. Two blocks with one hash cost a
	// request.
	passed map[uint64]struct{}
	ahead  map[string]block.Block // by multihash, not asked for yet
	recent map[string]block.Block
	order  []string // of recent, the oldest first
	bytes  struct{ ahead, recent int }
}

var _ block.Getter = (*DAGReader)(nil)

// NewDAGReader reads blocks from next, which verifies them and ends with io.EOF;
// nil means no stream. After any other error of next, Get returns that error for
// blocks that did not come.
func NewDAGReader(next func() (block.Block, error), rest block.Getter) *DAGReader {
	return &DAGReader{
		rest: rest, next: next, turn: make(chan struct{}, 1), seed: maphash.MakeSeed(), passed: make(map[uint64]struct{}),
		ahead: make(map[string]block.Block), recent: make(map[string]block.Block),
	}
}

// Get implements block.Getter.
func (d *DAGReader) Get(ctx context.Context, c cid.Cid) (block.Block, error) {
	if b, inlined := block.Inlined(c); inlined {
		return b, nil
	}
	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		return block.Block{}, context.Cause(ctx)
	}
	b, found, err := d.find(c)
	<-d.turn
	switch {
	case err != nil:
		return block.Block{}, err
	case found:
		return b.WithCID(c)
	}
	b, err = d.rest.Get(ctx, c)
	if err == nil {
		d.turn <- struct{}{}
		d.remember(string(c.Hash()), b)
		<-d.turn
	}
	return b, err
}

// find looks for a block among those that came, and in the stream.
func (d *DAGReader) find(c cid.Cid) (block.Block, bool, error) {
	key := string(c.Hash())
	if b, held := d.recent[key]; held {
		return b, true, nil
	}
	if b, held := d.ahead[key]; held {
		delete(d.ahead, key)
		d.bytes.ahead -= b.Size()
		d.remember(key, b)
		return b, true, nil
	}
	if _, passed := d.passed[d.hash(key)]; passed {
		return block.Block{}, false, nil
	}
	for d.next != nil && d.bytes.ahead <= maxAhead {
		b, err := d.next()
		if err != nil {
			d.next = nil
			if err != io.EOF {
				d.err = err
			}
			break
		}
		came := string(b.CID().Hash())
		d.passed[d.hash(came)] = struct{}{}
		if came == key {
			d.remember(key, b)
			return b, true, nil
		}
		if _, twice := d.ahead[came]; !twice {
			d.ahead[came] = b
			d.bytes.ahead += b.Size()
		}
	}
	return block.Block{}, false, d.err
}

func (d *DAGReader) hash(key string) uint64 { return maphash.String(d.seed, key) }

// remember keeps a block that may be asked for again.
func (d *DAGReader) remember(key string, b block.Block) {
	if _, held := d.recent[key]; held {
		return
	}
	d.recent[key] = b
	d.order = append(d.order, key)
	d.bytes.recent += b.Size()
	for d.bytes.recent > maxRecent {
		oldest := d.order[0]
		d.order = d.order[1:]
		d.bytes.recent -= d.recent[oldest].Size()
		delete(d.recent, oldest)
	}
}
