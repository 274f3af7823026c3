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
	// readAhead is the most blocks of a file that are asked for at once,
	// 16 MiB where blocks are as large as may be.
	readAhead = 8
	// firstAhead is where reading on from a place begins: a reader that only
	// wants a few bytes there asks for no more than one block too many. Each
	// block read doubles it.
	firstAhead = 2
)

// A leafStream yields a file's bytes from one place to another, in pieces as
// they lie in blocks, and asks for blocks ahead of time. It has one goroutine,
// besides those that wait for blocks.
type leafStream struct {
	ctx    context.Context // the stream's own; it ends with it
	cancel context.CancelFunc
	loader *fileLoader
	// pos is the next byte to yield, end the one behind the last.
	pos, end uint64
	// window is how many blocks may be asked for now; asked counts those that
	// are and have not been taken.
	window, asked int
	// frames are the nodes being walked, the root first; ahead, the children
	// to come next, in order.
	frames  []streamFrame
	ahead   []*piece
	waiting sync.WaitGroup
	// into is set where leaves may be read into memory that is used again: free
	// is that which waits for it, using holds what next returned last.
	into  intoGetter
	idle  [][]byte
	inUse []byte
}

// An intoGetter is a Getter that can read a block into memory of the caller's,
// if that is long enough. The block is one until the memory is used again.
type intoGetter interface {
	GetInto(ctx context.Context, c cid.Cid, memory []byte) (block.Block, error)
}

// A piece is a child that has its turn soon.
type piece struct {
	cid   cid.Cid
	begin uint64 // in the file
	size  uint64
	depth int
	// memory is where it may be read into, if it isn't nil.
	memory []byte
	// done is closed once node and err are there; nil if nobody asked yet.
	done chan struct{}
	node *fileNode
	err  error
}

// A streamFrame is a node whose children from next on are still to come, or
// pieces that must wait for those of a frame above it.
type streamFrame struct {
	node    *fileNode
	next    int
	begin   uint64 // of the node in the file
	depth   int
	pending []*piece
}

// newLeafStream yields the bytes of root from pos to end. It must be closed.
func newLeafStream(ctx context.Context, l *fileLoader, root *fileNode, pos, end uint64, window int) *leafStream {
	s := &leafStream{loader: l, pos: pos, end: min(end, root.size), window: window}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.frames = []streamFrame{{node: root}}
	return s
}

// close ends all that the stream began.
func (s *leafStream) close() {
	s.cancel()
	s.waiting.Wait()
}

// next returns the next bytes, which belong to a block, or io.EOF at the end. If
// into is set, they are there until the next call.
func (s *leafStream) next() ([]byte, error) {
	if s.inUse != nil {
		s.idle = append(s.idle, s.inUse)
		s.inUse = nil
	}
	// The root is there already, with what it holds itself.
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
		s.inUse = p.memory // of a leaf, whose bytes are all that comes of it
		if node.size != p.size {
			return nil, fmt.Errorf("%s: %w: %d bytes of a file, but its parent says %d", p.cid, block.ErrMalformed, node.size, p.size)
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

// own returns what a node itself has of the bytes to come.
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

// enter makes a node's children come next, before what was ahead.
func (s *leafStream) descend(n *fileNode, p *piece) error {
	if p.depth >= maxFileDepth {
		return fmt.Errorf("%s: %w: a file of more than %d levels", p.cid, block.ErrMalformed, maxFileDepth)
	}
	if len(s.ahead) > 0 {
		s.frames = append(s.frames, streamFrame{pending: s.ahead})
		s.ahead = nil
	}
	s.frames = append(s.frames, streamFrame{node: n, begin: p.begin, depth: p.depth})
	return nil
}

// look fills ahead, and asks for what is in it, but for the first piece: the
// caller gets that itself if nobody asked for it before.
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

// following returns the next piece in the order of the file, or nil.
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
			// This also passes over children of no bytes, which have nothing
			// to say and could be many.
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

// take waits for a piece.
func (s *leafStream) await(p *piece) (*fileNode, error) {
	if p.done == nil {
		p.memory = s.memoryFor(p)
		return s.load(p)
	}
	<-p.done
	s.asked--
	return p.node, p.err
}

// memory is where a piece may be read into. Its size is what its parent says.
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

// load gets a piece. What lies in its memory nobody else remembers.
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

// A lender gets a block into memory.
type memoryGetter struct {
	into   intoGetter
	memory []byte
}

func (l memoryGetter) Get(ctx context.Context, c cid.Cid) (block.Block, error) {
	return l.into.GetInto(ctx, c, l.memory)
}
