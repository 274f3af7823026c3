package unixfs

import (
	"encoding/binary"

	"github.com/cairn-ipfs/cairn/block"
)

const (
	// maxLeafOverhead bounds the bytes that wrapping adds to a chunk: tags,
	// lengths and sizes of at most ten bytes each.
	maxLeafOverhead = 64
	// leafAlign aligns chunks in memory to cache lines: the kernel copies to
	// unaligned memory at a fifth of the speed.
	leafAlign = 64
)

// A Releaser is a Putter that may release blocks when Put returns: it has
// written or copied their bytes, and holds no reference to the blocks. If
// ReleasesBlocks is true, an import reuses the memory of chunks. That saves a
// third of the time for large files, as new memory is cleared first, and cold.
type Releaser interface {
	block.Putter
	ReleasesBlocks() bool
}

// A leafPool allocates memory for leaves of one profile. It reuses released
// memory if the Putter is a Releaser.
type leafPool struct {
	profile Profile
	// free holds memory of full chunks for reuse; nil: no reuse.
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

// A leafBuffer is memory for one leaf of a file. The chunk is read directly into
// its position in the finished block, so no byte of a file is copied.
type leafBuffer struct {
	memory []byte // to release; nil: not reusable
	whole  []byte // the block
	head   int    // the chunk's offset in whole
	size   int    // the chunk's size
}

// get returns memory for a chunk of size bytes.
func (l *leafPool) get(size int) leafBuffer {
	// Small files get only what they need: there are many, and a step holds up
	// to a chunk of them.
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

// release returns memory that no block uses any more.
func (l *leafPool) release(memory []byte) {
	select {
	case l.free <- memory:
	default:
	}
}

// bufferSize returns the memory of a chunk with its wrapping.
func (l *leafPool) bufferSize(size int) int {
	if l.profile.RawLeaves {
		return size
	}
	_, _, tail := leafFrame(size)
	return leafAlign + size + tail
}

// layOut makes a leafBuffer for a chunk of size bytes in memory.
func (l *leafPool) layOut(memory []byte, size int) leafBuffer {
	if l.profile.RawLeaves {
		return leafBuffer{whole: memory[:size:size], size: size}
	}
	head, _, tail := leafFrame(size)
	start, end := leafAlign-head, leafAlign+size+tail
	return leafBuffer{whole: memory[start:end:end], head: head, size: size}
}

// shrink cuts the leaf's chunk to its first size bytes. It moves it to smaller
// memory if most would be wasted.
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

// leafFrame returns the bytes before and after a wrapped chunk, and the length of
// its UnixFS message.
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

// chunk returns the memory for the file's bytes.
func (b leafBuffer) chunk() []byte { return b.whole[b.head : b.head+b.size] }

// makeBlock hashes the leaf. Its memory must not be written until the block is
// released.
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
