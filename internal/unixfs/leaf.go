package unixfs

import (
	"encoding/binary"

	"github.com/cairn-ipfs/cairn/block"
)

const (
	// maxLeafOverhead is the most bytes that wrapping adds to a chunk: tags,
	// lengths and sizes of at most ten bytes each.
	maxLeafOverhead = 64
	// leafAlign is where chunks lie in memory: at multiples of a cache line,
	// as the kernel copies to other places at a fifth of the speed.
	leafAlign = 64
)

// A Releaser is a Putter that may be done with blocks when Put returns: it has
// written or copied their bytes, and neither it nor anybody else keeps the
// blocks themselves. Where ReleasesBlocks is true, an import uses the memory
// of chunks again, which spares a third of its time on large files: fresh
// memory is cleared, and cold.
type Releaser interface {
	block.Putter
	ReleasesBlocks() bool
}

// A leafPool makes memory for leaves of one profile, from what was released
// where the Putter releases it.
type leafPool struct {
	profile Profile
	// free holds memory of full chunks, to be used again; nil for none.
	free chan []byte
}

// newLeafPool returns a pool that keeps the memory of at most keep chunks.
func newLeafPool(p Profile, put block.Putter, keep int) *leafPool {
	pool := &leafPool{profile: p}
	if r, ok := put.(Releaser); ok && r.ReleasesBlocks() {
		pool.free = make(chan []byte, keep)
	}
	return pool
}

// A leafBuffer is memory for one leaf of a file: the chunk is read straight
// into it, at the place where the finished block has it, so no byte of a file
// is copied on its way.
type leafBuffer struct {
	memory []byte // to be released, nil if it can't be
	whole  []byte // of the block
	head   int    // where the chunk begins in it
	size   int    // of the chunk
}

// leaf returns memory for a chunk of size bytes.
func (l *leafPool) get(size int) leafBuffer {
	// Small files get what they need: they are many, and one chunk holds a
	// step of them.
	if l.free == nil || size <= l.profile.ChunkSize/2 {
		return l.layOut(make([]byte, l.bufferSize(size)), size)
	}
	var memory []byte
	select {
	case memory = <-l.free:
	default:
		memory = make([]byte, l.bufferSize(l.profile.ChunkSize))
	}
	b := l.layOut(memory, size)
	b.memory = memory
	return b
}

// release takes memory back that no block needs any more.
func (l *leafPool) release(memory []byte) {
	select {
	case l.free <- memory:
	default:
	}
}

// need is how much memory a chunk takes with what stands around it.
func (l *leafPool) bufferSize(size int) int {
	if l.profile.RawLeaves {
		return size
	}
	_, _, tail := leafFrame(size)
	return leafAlign + size + tail
}

// place lays a chunk of size bytes out in memory.
func (l *leafPool) layOut(memory []byte, size int) leafBuffer {
	if l.profile.RawLeaves {
		return leafBuffer{whole: memory[:size:size], size: size}
	}
	head, _, tail := leafFrame(size)
	start, end := leafAlign-head, leafAlign+size+tail
	return leafBuffer{whole: memory[start:end:end], head: head, size: size}
}

// shrink makes the leaf one of only the first size bytes of its chunk, and
// gives memory back if most would be wasted.
func (l *leafPool) shrink(b leafBuffer, size int) leafBuffer {
	if size == b.size {
		return b
	}
	if l.profile.RawLeaves && size > b.size/2 {
		b.whole, b.size = b.whole[:size:size], size
		return b
	}
	smaller := l.get(size)
	copy(smaller.chunk(), b.chunk())
	if b.memory != nil {
		l.release(b.memory)
	}
	return smaller
}

// leafFrame returns how many bytes stand before and after a wrapped chunk, and
// how many the UnixFS message has.
func leafFrame(size int) (head, inner, tail int) {
	tail = 1 + varintLen(uint64(size)) // file size
	inner = 2 + tail                   // type
	if size > 0 {
		inner += fieldLen(size)
	}
	head = 1 + varintLen(uint64(inner)) + 2
	if size > 0 {
		head += 1 + varintLen(uint64(size))
	}
	return head, inner, tail
}

// chunk is where the file's bytes go.
func (b leafBuffer) chunk() []byte { return b.whole[b.head : b.head+b.size] }

// block hashes the leaf. Nothing may write to its chunk until it is released.
func (l *leafPool) makeBlock(b leafBuffer) (block.Block, error) {
	if l.profile.RawLeaves {
		return block.NewWithPrefix(l.profile.prefix(block.Raw, len(b.whole)), b.whole)
	}
	kind := TypeFile
	if l.profile.Layout == Trickle {
		kind = TypeRaw // as Kubo has it
	}
	_, inner, _ := leafFrame(b.size)
	head := append(b.whole[:0], tag(1, wireBytes))
	head = binary.AppendUvarint(head, uint64(inner))
	head = appendVarintField(head, 1, uint64(kind))
	if b.size > 0 {
		head = append(head, tag(2, wireBytes))
		binary.AppendUvarint(head, uint64(b.size))
	}
	appendVarintField(b.whole[:b.head+b.size], 3, uint64(b.size))
	return block.NewWithPrefix(l.profile.prefix(block.DagPB, len(b.whole)), b.whole)
}
