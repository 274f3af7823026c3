package unixfs

import (
	"context"
	"fmt"
	"path"

	"github.com/cairn-ipfs/cairn/block"
)

// What one call of the Putter gets: enough that small files do not pay for a
// call each.
const (
	batchBytes  = 1 << 20
	batchBlocks = 256
)

// A builder takes an import's steps in order, builds nodes and directories
// above their leaves, and hands all blocks to the Putter. It has one
// goroutine.
type builder struct {
	ctx     context.Context // the import's, see pipeline
	put     block.Putter
	pool    *leafPool
	options Options
	layout  layout
	// batch waits for the Putter.
	batch      []block.Block
	batchBytes int
	// used is the memory to release once the batch has been put.
	used [][]byte
	// open are the directories that are being filled, outermost first.
	open []buildingDir
	// complete: the root has been built.
	complete bool
	result   Result
}

// A buildingDir is a directory whose entries are coming in. They come sorted.
type buildingDir struct {
	links []Link
	size  uint64 // of the files in it
}

func newBuilder(ctx context.Context, put block.Putter, pool *leafPool, o Options) *builder {
	b := &builder{ctx: ctx, put: put, pool: pool, options: o}
	b.layout = &balanced{width: o.Profile.Width, emit: b.node}
	return b
}

// take works through one step.
func (b *builder) take(s *step) error {
	for i := range s.ops {
		if err := b.op(&s.ops[i]); err != nil {
			return err
		}
		s.ops[i] = op{} // frees the block as soon as it is put
	}
	return s.err
}

func (b *builder) op(o *op) error {
	if o.err != nil {
		return o.err
	}
	switch o.kind {
	case opEnter:
		b.open = append(b.open, buildingDir{})
	case opLeave:
		return b.leave(o)
	case opFile:
		p, err := b.leaf(o)
		if err != nil {
			return err
		}
		return b.file(o, p)
	case opChunk:
		p, err := b.leaf(o)
		if err != nil {
			return err
		}
		return b.layout.add(p)
	case opFileEnd:
		p, err := b.layout.finish()
		if err != nil {
			return err
		}
		return b.file(o, p)
	case opSymlink:
		if err := b.add(o.blk); err != nil {
			return err
		}
		b.result.Symlinks++
		return b.done(o, TypeSymlink, part{cid: o.blk.CID(), tsize: uint64(o.blk.Size())})
	}
	return nil
}

func (b *builder) leaf(o *op) (part, error) {
	if p := b.options.Progress; p != nil {
		p.Bytes.Add(int64(o.size))
	}
	if o.leaf.memory != nil {
		b.used = append(b.used, o.leaf.memory)
	}
	return part{cid: o.blk.CID(), size: uint64(o.size), tsize: uint64(o.blk.Size())}, b.add(o.blk)
}

func (b *builder) file(o *op, p part) error {
	b.result.Files++
	b.result.Size += p.size
	if c := b.options.Progress; c != nil {
		c.Files.Add(1)
	}
	return b.done(o, TypeFile, p)
}

// leave completes the innermost directory.
func (b *builder) leave(o *op) error {
	d := &b.open[len(b.open)-1]
	p, err := b.directory(d)
	if err != nil {
		return named(o.path, err)
	}
	p.size = d.size
	b.open = b.open[:len(b.open)-1]
	b.result.Dirs++
	return b.done(o, TypeDirectory, p)
}

// done takes what is complete into the directory around it.
func (b *builder) done(o *op, t Type, p part) error {
	a := Added{Path: o.path, CID: p.cid, Type: t, Size: p.size}
	if b.options.Added != nil {
		b.options.Added(a)
	}
	if len(b.open) == 0 {
		b.complete = true
		b.result.CID, b.result.DAGSize = p.cid, p.tsize
		return nil
	}
	d := &b.open[len(b.open)-1]
	d.links = append(d.links, Link{CID: p.cid, Name: path.Base(o.path), Tsize: p.tsize})
	d.size += p.size
	return nil
}

// directory makes a plain directory, or a HAMT if the profile says so.
func (b *builder) directory(d *buildingDir) (part, error) {
	p := b.options.Profile
	n := Node{Type: TypeDirectory, Links: d.links}
	if p.ShardThreshold > 0 {
		if size := dirSize(&n, p.ShardRule); size > p.ShardThreshold {
			return buildHAMT(d.links, p.ShardFanout, b.node)
		}
	}
	return b.node(&n)
}

// dirSize is the size of a plain directory by a profile's rule.
func dirSize(n *Node, rule SizeRule) int {
	if rule == BlockBytes {
		return n.encodedLen()
	}
	size := 0
	for i := range n.Links {
		size += len(n.Links[i].Name) + n.Links[i].CID.ByteLen()
	}
	return size
}

// node makes a block of a node whose links are complete.
func (b *builder) node(n *Node) (part, error) {
	if size := n.encodedLen(); size > block.MaxSize {
		return part{}, fmt.Errorf("a %s of %d links, %d bytes: %w (the limit is %d)", n.Type, len(n.Links), size, block.ErrTooLarge, block.MaxSize)
	}
	data := n.Encode()
	blk, err := block.NewWithPrefix(b.options.Profile.prefix(block.DagPB), data)
	if err != nil {
		return part{}, err
	}
	p := part{cid: blk.CID(), size: n.FileSize, tsize: uint64(len(data))}
	for i := range n.Links {
		p.tsize += n.Links[i].Tsize
	}
	return p, b.add(blk)
}

// add hands a block on, in its turn.
func (b *builder) add(blk block.Block) error {
	b.result.Blocks++
	b.batch = append(b.batch, blk)
	b.batchBytes += blk.Size()
	if b.batchBytes < batchBytes && len(b.batch) < batchBlocks {
		return nil
	}
	return b.flush()
}

func (b *builder) flush() error {
	if len(b.batch) == 0 {
		return nil
	}
	err := b.put.Put(b.ctx, b.batch...)
	clear(b.batch)
	b.batch, b.batchBytes = b.batch[:0], 0
	if err != nil {
		return err
	}
	for _, memory := range b.used {
		b.pool.release(memory)
	}
	b.used = b.used[:0]
	return nil
}

// finish hands on the last blocks.
func (b *builder) finish() (Result, error) {
	if !b.complete {
		// The walker stopped without an error of its own.
		if err := context.Cause(b.ctx); err != nil {
			return Result{}, err
		}
	}
	return b.result, b.flush()
}
