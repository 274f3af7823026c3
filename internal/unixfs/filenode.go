package unixfs

import (
	"context"
	"fmt"
	"sync"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// maxFileDepth bounds the levels of a file, and so the nodes that a hostile one
// makes a reader hold. It is enough for a file of any size under any width in
// use (balanced at 174 links: 8 levels hold 2^63 bytes; trickle needs a few
// more).
const maxFileDepth = 32

// A fileNode is a checked node of a file: a leaf, or a parent of others.
type fileNode struct {
	cid   cid.Cid
	data  []byte   // its own bytes, before those of its children
	links []Link   // to its children
	ends  []uint64 // the end of each child, relative to the node's start
	size  uint64
}

// newFileNode checks a node of a file. Errors: ErrNotFile, block.ErrMalformed.
func newFileNode(c cid.Cid, n Node) (*fileNode, error) {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%s: %w: %s", c, block.ErrMalformed, fmt.Sprintf(format, args...))
	}
	if n.Type != TypeFile && n.Type != TypeRaw {
		return nil, fmt.Errorf("%s is a %s: %w", c, n.Type, ErrNotFile)
	}
	if len(n.Links) != len(n.BlockSizes) {
		return nil, bad("%d links, but %d block sizes", len(n.Links), len(n.BlockSizes))
	}
	size, ok := sumSizes(uint64(len(n.Data)), n.BlockSizes)
	if !ok {
		return nil, bad("the block sizes exceed 2^63")
	}
	if size != n.FileSize {
		return nil, bad("file size %d, but data and block sizes add up to %d", n.FileSize, size)
	}
	f := &fileNode{cid: c, data: n.Data, links: n.Links, ends: make([]uint64, len(n.Links)), size: size}
	end := uint64(len(n.Data))
	for i := range f.links {
		if f.links[i].Name != "" {
			return nil, bad("link named %q in a file, want no name", f.links[i].Name)
		}
		end += n.BlockSizes[i]
		f.ends[i] = end
	}
	return f, nil
}

// childStart returns the start of child i, relative to the node's start.
func (f *fileNode) childStart(i int) uint64 {
	if i == 0 {
		return uint64(len(f.data))
	}
	return f.ends[i-1]
}

const (
	// maxCachedNodes is the number of parent nodes that a fileLoader caches:
	// those on the way to two or three offsets in a file of any usual size.
	maxCachedNodes = 8
	// maxCachedLeaves is the number of leaves that it caches, for a caller of
	// ReadAt that reads a few bytes at a time, at two offsets in turn.
	maxCachedLeaves = 2
)

// A fileLoader gets a file's nodes. It is safe for concurrent use.
type fileLoader struct {
	get block.Getter

	mu            sync.Mutex  // guards the following fields
	nodes, leaves []*fileNode // cached, the latest last
}

func (l *fileLoader) load(ctx context.Context, c cid.Cid) (*fileNode, error) {
	if f := l.cached(c); f != nil {
		return f, nil
	}
	n, err := load(ctx, l.get, c)
	if err != nil {
		return nil, err
	}
	f, err := newFileNode(c, n)
	if err == nil {
		l.cache(f)
	}
	return f, err
}

func (l *fileLoader) cached(c cid.Cid) *fileNode {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, kept := range [][]*fileNode{l.leaves, l.nodes} {
		for _, f := range kept {
			if f.cid == c {
				return f
			}
		}
	}
	return nil
}

func (l *fileLoader) cache(f *fileNode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(f.links) > 0 {
		l.nodes = appendLatest(l.nodes, f, maxCachedNodes)
	} else {
		l.leaves = appendLatest(l.leaves, f, maxCachedLeaves)
	}
}

// appendLatest appends f to kept. At the limit it drops the oldest.
func appendLatest(kept []*fileNode, f *fileNode, limit int) []*fileNode {
	if len(kept) == limit {
		copy(kept, kept[1:])
		kept = kept[:limit-1]
	}
	return append(kept, f)
}
