package unixfs

import (
	"context"
	"path"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// The size of a batch for the Putter: large enough that a small file doesn't
// need a call of its own.
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
	// at is the offset of the next leaf in its file.
	at int64
	// held is the first leaf of a file with attributes. It waits for the second
	// leaf: without one it becomes the root.
	held *op
	// batch is the blocks for the next Put.
	batch      []block.Block
	batchBytes int
	// releasable is the memory to release after the next Put.
	releasable [][]byte
	// dirs are the directories being filled, outermost first.
	dirs []pendingDir
	// complete: the root is built.
	complete bool
	result   Result
}

// A pendingDir is a directory being filled. Its entries come sorted.
type pendingDir struct {
	links      []Link
	size       uint64 // of the files in it
	attributes attributes
	// cached is the directory's CID in the last import.
	cached cid.Cid
}

// maxHeldLinks bounds the directories whose blocks are held back until their CID
// is compared with the last import's. The blocks take a few hundred KiB.
const maxHeldLinks = 8192

func newBuilder(ctx context.Context, put block.Putter, pool *leafPool, o Options) *builder {
	b := &builder{ctx: ctx, put: put, pool: pool, options: o}
	b.layout = newLayout(o.Profile, b.addNode)
	return b
}

// takeStep adds the operations of a step.
func (b *builder) takeStep(s *step) error {
	for i := range s.ops {
		if err := b.takeOp(&s.ops[i]); err != nil {
			s.release(i + 1)
			return err
		}
		s.ops[i] = op{} // drops the block, so that it is freed once it is put
	}
	return s.err
}

func (b *builder) takeOp(o *op) error {
	defer o.release()
	if o.err != nil {
		return o.err
	}
	switch o.kind {
	case opBeginDir:
		b.dirs = append(b.dirs, pendingDir{attributes: o.attributes(), cached: o.cached.CID})
	case opEndDir:
		return b.endDir(o)
	case opFile:
		return b.addSmallFile(o)
	case opChunk:
		return b.addChunk(o)
	case opFileEnd:
		return b.endFile(o)
	case opCached:
		b.countBytes(o.cached.Size)
		return b.addFile(o, part{cid: o.cached.CID, size: o.cached.Size, tsize: o.cached.DAGSize})
	case opSymlink:
		if err := b.addBlock(o.blk); err != nil {
			return err
		}
		b.result.Symlinks++
		return b.addToParent(o, TypeSymlink, part{cid: o.blk.CID(), tsize: uint64(o.blk.Size())})
	}
	return nil
}

// addSmallFile adds a file of one leaf.
func (b *builder) addSmallFile(o *op) error {
	if b.options.Profile.Layout == Balanced && (o.attributes().isZero() || o.state.attributesInBlock) {
		p, err := b.addLeaf(o)
		if err != nil {
			return err
		}
		return b.addReadFile(o, p)
	}
	if err := b.addChunk(o); err != nil {
		return err
	}
	return b.endFile(o)
}

// addChunk adds one leaf of a file.
func (b *builder) addChunk(o *op) error {
	if b.options.Profile.Layout == Trickle && o.size == 0 {
		return nil // an empty file has no leaf
	}
	if b.options.Profile.Layout == Balanced && b.held == nil && !o.attributes().isZero() {
		b.held = new(*o)
		return nil
	}
	if b.held != nil && b.held.blk.CID().Defined() {
		if err := b.addHeldLeaf(); err != nil {
			return err
		}
	}
	p, err := b.addLeaf(o)
	if err != nil {
		return err
	}
	return b.layout.add(p)
}

// addHeldLeaf adds the held leaf.
func (b *builder) addHeldLeaf() error {
	p, err := b.addLeaf(b.held)
	if err != nil {
		return err
	}
	*b.held = op{}
	return b.layout.add(p)
}

// endFile completes a file of chunks.
func (b *builder) endFile(o *op) error {
	if o.at != nil {
		if err := o.state.checkUnchanged(o.at); err != nil {
			return wrapPath(o.path, err)
		}
	}
	first := b.held
	b.held = nil
	if first == nil || !first.blk.CID().Defined() {
		p, err := b.layout.finish(o.attributes())
		if err != nil {
			return err
		}
		return b.addReadFile(o, p)
	}
	p, err := b.makeSingleLeaf(first, o.attributes())
	if err != nil {
		return err
	}
	return b.addReadFile(o, p)
}

// makeSingleLeaf makes a file with attributes from its only leaf. Above a raw
// leaf it makes a node, as raw blocks have no attributes.
func (b *builder) makeSingleLeaf(leaf *op, a attributes) (part, error) {
	if b.options.Profile.RawLeaves {
		p, err := b.addLeaf(leaf)
		if err != nil {
			return part{}, err
		}
		return b.addNode(joinParts([]part{p}, a))
	}
	n, err := DecodeNode(leaf.blk.Data())
	if err != nil {
		return part{}, err
	}
	a.set(&n)
	if leaf.blk, err = n.block(b.options.Profile); err != nil {
		return part{}, err
	}
	return b.addLeaf(leaf)
}

// addLeaf adds the block of an operation, unless Options.OfferLeaf takes it.
func (b *builder) addLeaf(o *op) (part, error) {
	b.countBytes(uint64(o.size))
	if o.leaf.memory != nil {
		b.releasable = append(b.releasable, o.leaf.memory)
	}
	p := part{cid: o.blk.CID(), size: uint64(o.size), tsize: uint64(o.blk.Size())}
	at := b.at
	b.at += int64(o.size)
	if b.options.OfferLeaf != nil && o.state != nil && p.cid.Type() == block.Raw && !block.IsIdentity(p.cid) {
		if taken, err := b.options.OfferLeaf(b.ctx, o.blk, o.path, at); taken || err != nil {
			return p, wrapPath(o.path, err)
		}
	}
	return p, b.addBlock(o.blk)
}

// countBytes adds to the progress.
func (b *builder) countBytes(bytes uint64) {
	if p := b.options.Progress; p != nil {
		p.Bytes.Add(int64(bytes))
	}
}

// addReadFile adds a file that was read, and caches it.
func (b *builder) addReadFile(o *op, p part) error {
	b.result.Hashed += p.size
	b.at = 0
	if r := b.options.StatCache; r != nil && o.state != nil && !o.state.racy {
		if err := r.Store(b.ctx, o.path, o.state.stat, CachedResult{CID: p.cid, Size: p.size, DAGSize: p.tsize}); err != nil {
			return wrapPath(o.path, err)
		}
	}
	return b.addFile(o, p)
}

func (b *builder) addFile(o *op, p part) error {
	b.result.Files++
	b.result.Size += p.size
	if c := b.options.Progress; c != nil {
		c.Files.Add(1)
	}
	return b.addToParent(o, TypeFile, p)
}

// endDir completes the innermost directory.
func (b *builder) endDir(o *op) error {
	d := &b.dirs[len(b.dirs)-1]
	p, err := b.makeDir(d)
	if err != nil {
		return wrapPath(o.path, err)
	}
	p.size = d.size
	if r := b.options.StatCache; r != nil && p.cid != d.cached {
		if err := r.Store(b.ctx, dirPath(o.path), FileStat{}, CachedResult{CID: p.cid, Size: p.size, DAGSize: p.tsize}); err != nil {
			return wrapPath(o.path, err)
		}
	}
	b.dirs = b.dirs[:len(b.dirs)-1]
	b.result.Dirs++
	return b.addToParent(o, TypeDirectory, p)
}

// makeDir makes a directory. It puts no blocks if the CID is that of the last
// import, as the store has them.
func (b *builder) makeDir(d *pendingDir) (part, error) {
	if !d.cached.Defined() || len(d.links) > maxHeldLinks {
		return makeDirectory(d.links, d.attributes, b.options.Profile, b.addNode)
	}
	var held []block.Block
	p, err := makeDirectory(d.links, d.attributes, b.options.Profile, func(n *Node) (part, error) {
		blk, err := n.block(b.options.Profile)
		if err != nil {
			return part{}, err
		}
		held = append(held, blk)
		return n.toPart(blk), nil
	})
	if err != nil || p.cid == d.cached {
		return p, err
	}
	for _, blk := range held {
		if err := b.addBlock(blk); err != nil {
			return part{}, err
		}
	}
	return p, nil
}

// addToParent adds a complete item to its directory.
func (b *builder) addToParent(o *op, t Type, p part) error {
	a := ImportItem{Path: o.path, CID: p.cid, Type: t, Size: p.size}
	if b.options.OnItem != nil {
		b.options.OnItem(a)
	}
	if len(b.dirs) == 0 {
		b.complete = true
		b.result.CID, b.result.DAGSize = p.cid, p.tsize
		return nil
	}
	d := &b.dirs[len(b.dirs)-1]
	d.links = append(d.links, Link{CID: p.cid, Name: path.Base(o.path), Tsize: p.tsize})
	d.size += p.size
	return nil
}

// makeDirectory makes a directory of links sorted by name: a plain one, or a
// HAMT if the profile's threshold is exceeded.
func makeDirectory(links []Link, a attributes, p Profile, emit func(*Node) (part, error)) (part, error) {
	n := Node{Type: TypeDirectory, Links: links}
	a.set(&n)
	if p.ShardThreshold > 0 && dirSize(&n, p.ShardRule) > p.ShardThreshold {
		return buildHAMT(links, p.ShardFanout, a, emit)
	}
	return emit(&n)
}

// dirSize returns the size of a plain directory by a profile's rule.
func dirSize(n *Node, rule SizeRule) int {
	if rule == BlockBytes {
		return n.encodedLen()
	}
	size := 0
	for i := range n.Links {
		size += n.Links[i].size(rule)
	}
	return size
}

// size returns what a link adds to the size of a directory by a profile's rule.
func (l *Link) size(rule SizeRule) int {
	if rule == BlockBytes {
		return fieldLen(l.len())
	}
	return len(l.Name) + l.CID.ByteLen()
}

// addNode adds the block of a complete node.
func (b *builder) addNode(n *Node) (part, error) {
	blk, err := n.block(b.options.Profile)
	if err != nil {
		return part{}, err
	}
	return n.toPart(blk), b.addBlock(blk)
}

// toPart returns the node, whose block is blk, as a part of its parent.
func (n *Node) toPart(blk block.Block) part {
	p := part{cid: blk.CID(), size: n.FileSize, tsize: uint64(blk.Size())}
	for i := range n.Links {
		p.tsize += n.Links[i].Tsize
	}
	return p
}

// addBlock adds a block to the batch. It skips an identity block, whose CID
// contains it.
func (b *builder) addBlock(blk block.Block) error {
	if block.IsIdentity(blk.CID()) {
		return nil
	}
	b.result.Blocks++
	b.batch = append(b.batch, blk)
	b.batchBytes += blk.Size()
	if b.batchBytes < batchBytes && len(b.batch) < batchBlocks {
		return nil
	}
	return b.flush()
}

func (b *builder) flush() error {
	if len(b.batch) > 0 {
		err := b.put.Put(b.ctx, b.batch...)
		clear(b.batch)
		b.batch, b.batchBytes = b.batch[:0], 0
		if err != nil {
			return err
		}
	}
	for _, memory := range b.releasable {
		b.pool.release(memory)
	}
	b.releasable = b.releasable[:0]
	return nil
}

// finish puts the last blocks and returns the result.
func (b *builder) finish() (Result, error) {
	if !b.complete {
		// The walker stopped because the context ended.
		if err := context.Cause(b.ctx); err != nil {
			return Result{}, err
		}
	}
	return b.result, b.flush()
}
