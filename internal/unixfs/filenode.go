package unixfs

import (
	"context"
	"fmt"
	"sync"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// maxFileDepth is how many nodes may lie above one another in a file: enough
// for a file of any size under any width in use (balanced at 174 links: 8
// levels hold 2^63 bytes; trickle a few more), and what a chain of nodes made
// to hurt can make a reader hold.
const maxFileDepth = 32

// A fileNode is a node of a file, checked in itself: a leaf, or one over
// others.
type fileNode struct {
	cid   cid.Cid
	data  []byte   // its own bytes, before those of its children
	links []Link   // to its children
	ends  []uint64 // where each child ends, counted from the node's beginning
	size  uint64
}

// fileNodeOf checks a node that shall be part of a file. Errors: ErrNotFile,
// block.ErrMalformed.
func newFileNode(c cid.Cid, n Node) (*fileNode, error) {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%s: %w: %s", c, block.ErrMalformed, fmt.Sprintf(format, args...))
	}
	if n.Type != TypeFile && n.Type != TypeRaw {
		return nil, fmt.Errorf("%s is a %s: %w", c, n.Type, ErrNotFile)
	}
	if len(n.Links) != len(n.BlockSizes) {
		return nil, bad("%d links and %d block sizes", len(n.Links), len(n.BlockSizes))
	}
	size, ok := sumSizes(uint64(len(n.Data)), n.BlockSizes)
	if !ok {
		return nil, bad("block sizes beyond 2^63")
	}
	if size != n.FileSize {
		return nil, bad("a file size of %d, but data and block sizes of %d bytes together", n.FileSize, size)
	}
	f := &fileNode{cid: c, data: n.Data, links: n.Links, ends: make([]uint64, len(n.Links)), size: size}
	end := uint64(len(n.Data))
	for i := range f.links {
		if f.links[i].Name != "" {
			return nil, bad("a link named %q in a file", f.links[i].Name)
		}
		end += n.BlockSizes[i]
		f.ends[i] = end
	}
	return f, nil
}

// begin is where child i begins, counted from the node's beginning.
func (f *fileNode) childStart(i int) uint64 {
	if i == 0 {
		return uint64(len(f.data))
	}
	return f.ends[i-1]
}

const (
	// keptNodes is how many nodes over others a fileLoader remembers: those on
	// the way to two or three places in a file of any size that occurs.
	maxCachedNodes = 8
	// keptLeaves is how many leaves it remembers, for those who read a few
	// bytes at a time by ReadAt, in two places at once.
	maxCachedLeaves = 2
)

// A fileLoader gets a file's nodes. It is safe for concurrent use.
type fileLoader struct {
	get block.Getter

	mu            sync.Mutex  // guards the following fields
	nodes, leaves []*fileNode // remembered, the latest last
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

// latest adds f to kept, of which at most most stay.
func appendLatest(kept []*fileNode, f *fileNode, most int) []*fileNode {
	if len(kept) == most {
		copy(kept, kept[1:])
		kept = kept[:most-1]
	}
	return append(kept, f)
}
