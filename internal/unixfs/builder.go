package unixfs

import (
	"context"
	"path"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
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
	// at is where in its file the next leaf begins.
	at int64
	// first is the first leaf of a file whose attributes are kept, until the
	// second one comes: alone it would be the root.
	held *op
	// batch waits for the Putter.
	batch      []block.Block
	batchBytes int
	// used is the memory to release once the batch has been put.
	releasable [][]byte
	// open are the directories that are being filled, outermost first.
	dirs []pendingDir
	// complete: the root has been built.
	complete bool
	result   Result
}

// A buildingDir is a directory whose entries are coming in. They come sorted.
type pendingDir struct {
	links      []Link
	size       uint64 // of the files in it
	attributes attributes
	// known is what the directory was made into when it was last imported.
	cached cid.Cid
}

// heldLinks is up to which size a directory is compared with what it was
// before its blocks are handed on: they take a few hundred KiB.
const maxHeldLinks = 8192

func newBuilder(ctx context.Context, put block.Putter, pool *leafPool, o Options) *builder {
	b := &builder{ctx: ctx, put: put, pool: pool, options: o}
	b.layout = newLayout(o.Profile, b.addNode)
	return b
}

// take works through one step.
func (b *builder) takeStep(s *step) error {
	for i := range s.ops {
		if err := b.takeOp(&s.ops[i]); err != nil {
			s.release(i + 1)
			return err
		}
		s.ops[i] = op{} // frees the block as soon as it is put
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

// small takes a file of one leaf.
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

// chunk takes one leaf of a file.
func (b *builder) addChunk(o *op) error {
	if b.options.Profile.Layout == Trickle && o.size == 0 {
		return nil // no leaf at all
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

// addFirst takes the leaf that was held back.
func (b *builder) addHeldLeaf() error {
	p, err := b.addLeaf(b.held)
	if err != nil {
		return err
	}
	*b.held = op{}
	return b.layout.add(p)
}

// end completes a file of leaves.
func (b *builder) endFile(o *op) error {
	if o.at != nil {
		if err := o.state.checkUnchanged(o.at); err != nil {
			return addPath(o.path, err)
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

// alone makes a file with attributes of one leaf: of a raw one, a node above
// it, as raw blocks have no place for attributes.
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

// leaf hands on the block of an operation.
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
			return p, addPath(o.path, err)
		}
	}
	return p, b.addBlock(o.blk)
}

// count tells of bytes that are done.
func (b *builder) countBytes(bytes uint64) {
	if p := b.options.Progress; p != nil {
		p.Bytes.Add(int64(bytes))
	}
}

// fileRead takes a file that was read now.
func (b *builder) addReadFile(o *op, p part) error {
	b.result.Hashed += p.size
	b.at = 0
	if r := b.options.StatCache; r != nil && o.state != nil && !o.state.racy {
		if err := r.Store(b.ctx, o.path, o.state.stat, CachedResult{CID: p.cid, Size: p.size, DAGSize: p.tsize}); err != nil {
			return addPath(o.path, err)
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

// leave completes the innermost directory.
func (b *builder) endDir(o *op) error {
	d := &b.dirs[len(b.dirs)-1]
	p, err := b.makeDir(d)
	if err != nil {
		return addPath(o.path, err)
	}
	p.size = d.size
	if r := b.options.StatCache; r != nil && p.cid != d.cached {
		if err := r.Store(b.ctx, dirPath(o.path), FileStat{}, CachedResult{CID: p.cid, Size: p.size, DAGSize: p.tsize}); err != nil {
			return addPath(o.path, err)
		}
	}
	b.dirs = b.dirs[:len(b.dirs)-1]
	b.result.Dirs++
	return b.addToParent(o, TypeDirectory, p)
}

// directory makes a directory. One that is what it was is not handed on.
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

// done takes what is complete into the directory around it.
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

// makeDirectory makes a plain directory of links that are sorted by name, or a
// HAMT if the profile says so.
func makeDirectory(links []Link, a attributes, p Profile, emit func(*Node) (part, error)) (part, error) {
	n := Node{Type: TypeDirectory, Links: links}
	a.set(&n)
	if p.ShardThreshold > 0 && dirSize(&n, p.ShardRule) > p.ShardThreshold {
		return buildHAMT(links, p.ShardFanout, a, emit)
	}
	return emit(&n)
}

// dirSize is the size of a plain directory by a profile's rule.
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

// size is what a link adds to the size of a directory by a profile's rule.
func (l *Link) size(rule SizeRule) int {
	if rule == BlockBytes {
		return fieldLen(l.len())
	}
	return len(l.Name) + l.CID.ByteLen()
}

// node makes a block of a node whose links are complete.
func (b *builder) addNode(n *Node) (part, error) {
	blk, err := n.block(b.options.Profile)
	if err != nil {
		return part{}, err
	}
	return n.toPart(blk), b.addBlock(blk)
}

// part is the node as a part of what lies above it.
func (n *Node) toPart(blk block.Block) part {
	p := part{cid: blk.CID(), size: n.FileSize, tsize: uint64(blk.Size())}
	for i := range n.Links {
		p.tsize += n.Links[i].Tsize
	}
	return p
}

// add hands a block on, in its turn. One that its CID carries needs no place.
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
