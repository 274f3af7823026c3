package unixfs

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

const (
	// readAhead bounds the blocks of a file that are requested at once: 16 MiB
	// of the largest blocks.
	readAhead = 8
	// firstAhead is the first window of a stream: a reader of a few bytes
	// requests only one block too many. Each block read doubles the window.
	firstAhead = 2
)

// A leafStream returns a range of a file's bytes, block by block, and requests
// blocks ahead. It has one goroutine, besides those that wait for blocks.
type leafStream struct {
	ctx    context.Context // of this stream; close ends it
	cancel context.CancelFunc
	loader *fileLoader
	// pos is the offset of the next byte, end that after the last.
	pos, end uint64
	// window bounds the requested blocks; asked counts those not received yet.
	window, asked int
	// frames are the nodes being walked, the root first; ahead are the next
	// children, in order.
	frames  []streamFrame
	ahead   []*piece
	waiting sync.WaitGroup
	// into is set if leaves are read into reused memory: idle is free memory,
	// inUse is the memory that next returned last.
	into  intoGetter
	idle  [][]byte
	inUse []byte
}

// An intoGetter is a Getter that can read a block into the caller's memory, if
// that is large enough. The block is valid until the memory is reused.
type intoGetter interface {
	GetInto(ctx context.Context, c cid.Cid, memory []byte) (block.Block, error)
}

// A piece is one of the next children of a stream.
type piece struct {
	cid   cid.Cid
	begin uint64 // in the file
	size  uint64
	depth int
	// memory, if not nil, is where it may be read into.
	memory []byte
	// done is closed when node and err are set; nil: not requested yet.
	done chan struct{}
	node *fileNode
	err  error
}

// A streamFrame is a node whose children from next on are to be read, or pieces
// that wait for the frames after it.
type streamFrame struct {
	node    *fileNode
	next    int
	begin   uint64 // of the node in the file
	depth   int
	pending []*piece
}

// newLeafStream returns a stream of the bytes of root from pos to end. It must be
// closed.
func newLeafStream(ctx context.Context, l *fileLoader, root *fileNode, pos, end uint64, window int) *leafStream {
	s := &leafStream{loader: l, pos: pos, end: min(end, root.size), window: window}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.frames = []streamFrame{{node: root}}
	return s
}

// close cancels all requests, and waits for them.
func (s *leafStream) close() {
	s.cancel()
	s.waiting.Wait()
}

// next returns the next bytes, which are a block's memory, or io.EOF at the end.
// If into is set, they are valid until the next call.
func (s *leafStream) next() ([]byte, error) {
	if s.inUse != nil {
		s.idle = append(s.idle, s.inUse)
		s.inUse = nil
	}
	// The root is loaded already; its own data comes first.
	if root := s.frames[0]; s.pos < s.end && s.pos < uint64(len(root.node.data)) {
		return s.takeOwn(root.node, 0), nil
	}
	for s.pos < s.end {
		s.requestAhead()
		if len(s.ahead) == 0 {
			return nil, io.ErrUnexpectedEOF
		}
		p := s.ahead[0]
		s.ahead = s.ahead[1:]
		node, err := s.await(p)
		if err != nil {
			return nil, err
		}
		s.inUse = p.memory // nil unless the node is a leaf
		if node.size != p.size {
			return nil, fmt.Errorf("%s: %w: %d bytes of a file, but its parent declares %d", p.cid, block.ErrMalformed, node.size, p.size)
		}
		if len(node.links) > 0 {
			if err := s.descend(node, p); err != nil {
				return nil, err
			}
		}
		s.window = min(2*s.window, readAhead)
		if data := s.takeOwn(node, p.begin); len(data) > 0 {
			return data, nil
		}
	}
	return nil, io.EOF
}

// takeOwn returns the next bytes in the node's own data, if any, and advances pos.
func (s *leafStream) takeOwn(n *fileNode, begin uint64) []byte {
	data := n.data
	if s.pos >= begin+uint64(len(data)) {
		return nil
	}
	data = data[s.pos-begin:]
	data = data[:min(uint64(len(data)), s.end-s.pos)]
	s.pos += uint64(len(data))
	return data
}

// descend puts a node's children before the pieces ahead.
func (s *leafStream) descend(n *fileNode, p *piece) error {
	if p.depth >= maxFileDepth {
		return fmt.Errorf("%s: %w: the file has more than %d levels", p.cid, block.ErrMalformed, maxFileDepth)
	}
	if len(s.ahead) > 0 {
		s.frames = append(s.frames, streamFrame{pending: s.ahead})
		s.ahead = nil
	}
	s.frames = append(s.frames, streamFrame{node: n, begin: p.begin, depth: p.depth})
	return nil
}

// requestAhead fills ahead, and requests its pieces except the first, which await
// gets itself unless it was requested before.
func (s *leafStream) requestAhead() {
	for len(s.ahead) < s.window {
		p := s.nextPiece()
		if p == nil {
			break
		}
		s.ahead = append(s.ahead, p)
	}
	for i, p := range s.ahead {
		if i == 0 || p.done != nil {
			continue
		}
		if s.asked >= s.window {
			break
		}
		s.asked++
		p.done = make(chan struct{})
		p.memory = s.memoryFor(p)
		s.waiting.Go(func() {
			p.node, p.err = s.load(p)
			close(p.done)
		})
	}
}

// nextPiece returns the next piece in the order of the file, or nil.
func (s *leafStream) nextPiece() *piece {
	for len(s.frames) > 0 {
		f := &s.frames[len(s.frames)-1]
		if len(f.pending) > 0 {
			p := f.pending[0]
			f.pending = f.pending[1:]
			return p
		}
		for f.node != nil && f.next < len(f.node.links) {
			i := f.next
			begin, end := f.begin+f.node.childStart(i), f.begin+f.node.ends[i]
			if begin >= s.end {
				break
			}
			f.next++
			// This also skips empty children, of which there could be many.
			if end <= s.pos {
				continue
			}
			return &piece{cid: f.node.links[i].CID, begin: begin, size: end - begin, depth: f.depth + 1}
		}
		if len(s.frames) == 1 {
			return nil // the root stays
		}
		s.frames = s.frames[:len(s.frames)-1]
	}
	return nil
}

// await gets a piece, or waits for it.
func (s *leafStream) await(p *piece) (*fileNode, error) {
	if p.done == nil {
		p.memory = s.memoryFor(p)
		return s.load(p)
	}
	<-p.done
	s.asked--
	return p.node, p.err
}

// memoryFor returns memory for a piece, of the size that its parent declares.
func (s *leafStream) memoryFor(p *piece) []byte {
	if s.into == nil || p.cid.Type() != block.Raw || p.size > block.MaxSize {
		return nil
	}
	for len(s.idle) > 0 {
		last := len(s.idle) - 1
		m := s.idle[last]
		s.idle = s.idle[:last]
		if uint64(len(m)) >= p.size {
			return m
		}
	}
	return make([]byte, p.size)
}

// load gets a piece. A block in reused memory isn't cached.
func (s *leafStream) load(p *piece) (*fileNode, error) {
	if p.memory == nil {
		return s.loader.load(s.ctx, p.cid)
	}
	n, err := load(s.ctx, memoryGetter{s.into, p.memory}, p.cid)
	if err != nil {
		return nil, err
	}
	return newFileNode(p.cid, n)
}

// A memoryGetter is a Getter that reads a block into memory.
type memoryGetter struct {
	into   intoGetter
	memory []byte
}

func (l memoryGetter) Get(ctx context.Context, c cid.Cid) (block.Block, error) {
	return l.into.GetInto(ctx, c, l.memory)
}
