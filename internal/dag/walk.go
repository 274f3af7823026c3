package dag

import (
	"context"
	"fmt"
	"iter"

	"github.com/ipfs/go-cid"

	"github.com/cairn-ipfs/cairn/block"
)

// DefaultMaxBlocks is the most blocks that a walk visits, and that a difference
// compares on either side, unless the options say otherwise: a TiB of 256 KiB
// blocks. Each costs about a hundred bytes of memory.
const DefaultMaxBlocks = 1 << 22

// Order is the order of a walk.
type Order int

const (
	// DepthFirst visits a block, then what is below its first link, then what
	// is below its second: the order in which CARs are sent and files read.
	DepthFirst Order = iota
	// BreadthFirst visits the roots, then what they link to, and so on.
	BreadthFirst
)

// WalkOptions are the options of Walk. The zero value walks everything,
// depth-first, and ends at the first error.
type WalkOptions struct {
	Order Order

	// Skip, if set, is called before a block is read. If it returns true, the
	// block is neither read nor yielded, nor walked below. It may be called for a
	// CID more than once.
	Skip func(c cid.Cid) bool

	// Links, if set, is used in place of the function Links.
	Links func(b block.Block) ([]cid.Cid, error)

	// MaxDepth is the most links from a root that the walk follows; 0 means no
	// limit. A block may be read more than once, if a shorter path to it is
	// found.
	MaxDepth int

	// MaxBlocks is the most blocks to visit, and the most links that may wait to
	// be followed. Beyond it the walk ends with block.ErrTooLarge. 0 means
	// DefaultMaxBlocks.
	MaxBlocks int

	// Ahead is the most blocks that are read before their turn, concurrently. It
	// is for a Getter that takes long and that several goroutines may call. The
	// blocks wait in memory. 0 reads one block after the other.
	Ahead int

	// KeepGoing continues the walk after the error of a block that is missing,
	// damaged or can't be decoded. Otherwise the first error ends it.
	KeepGoing bool
}

// A Step is what Walk yields: a block, or with an error the CID of its block.
type Step struct {
	CID   cid.Cid
	Depth int // links from a root
	// Block is the zero Block if it couldn't be read. If only its links couldn't
	// be found, it is yielded with the error.
	Block block.Block
}

// Walk reads the blocks reachable from the roots and yields each once, before the
// blocks that it links to. CIDs that differ in the version only are the same.
//
// Identity CIDs are replaced by the links that they carry; one that is a root is
// yielded without calling the Getter. Errors: those of the Getter
// (block.ErrNotFound if a block is missing) and of Links; block.ErrTooLarge; the
// context's. They end the walk, except as WalkOptions.KeepGoing says.
func Walk(ctx context.Context, get block.Getter, roots []cid.Cid, o WalkOptions) iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) {
		w := walker{reader: reader{get: get, limit: o.Ahead, started: make(map[string]*request)}, o: o, seen: make(map[string]int)}
		defer w.reader.waiting.Wait()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		if w.o.Links == nil {
			w.o.Links = Links
		}
		if w.o.MaxBlocks == 0 {
			w.o.MaxBlocks = DefaultMaxBlocks
		}
		w.push(roots, 0)
		for {
			c, depth, ok := w.next()
			if !ok {
				return
			}
			if !w.visit(ctx, c, depth, yield) {
				return
			}
		}
	}
}

// A walker is a walk in progress.
type walker struct {
	reader  reader
	o       WalkOptions
	seen    map[string]int // keys of visited blocks, with their least depth
	fronts  []front        // blocks to be visited
	pending int            // CIDs in fronts
}

// A front is the links of a block that haven't been followed yet.
type front struct {
	cids  []cid.Cid
	depth int
}

func (w *walker) push(cids []cid.Cid, depth int) {
	if len(cids) > 0 {
		w.fronts = append(w.fronts, front{cids, depth})
		w.pending += len(cids)
	}
}

// next takes the CID to visit next: the first of the newest front, or,
// breadth-first, of the oldest.
func (w *walker) next() (c cid.Cid, depth int, ok bool) {
	if len(w.fronts) == 0 {
		return cid.Undef, 0, false
	}
	i := len(w.fronts) - 1
	if w.o.Order == BreadthFirst {
		i = 0
	}
	f := &w.fronts[i]
	c, depth = f.cids[0], f.depth
	f.cids = f.cids[1:]
	w.pending--
	if len(f.cids) == 0 {
		if i == 0 {
			w.fronts = w.fronts[1:]
		} else {
			w.fronts = w.fronts[:i]
		}
	}
	return c, depth, true
}

// visit reads and yields a block, unless it is to be skipped, and pushes its links.
// It returns false if the walk has ended.
func (w *walker) visit(ctx context.Context, c cid.Cid, depth int, yield func(Step, error) bool) bool {
	k := key(c.KeyString())
	least, again := w.seen[k]
	// A block is visited again only if MaxDepth cut off what is below it.
	if again && (w.o.MaxDepth == 0 || depth >= least) {
		return true
	}
	if w.o.Skip != nil && w.o.Skip(c) {
		return true
	}
	step := Step{CID: c, Depth: depth}
	if err := ctx.Err(); err != nil {
		yield(step, fmt.Errorf("dag: walk: %w", err))
		return false
	}
	if !again && len(w.seen) >= w.o.MaxBlocks || w.pending > w.o.MaxBlocks {
		yield(step, fmt.Errorf("dag: walk: more than %d blocks: %w", w.o.MaxBlocks, block.ErrTooLarge))
		return false
	}
	w.seen[k] = depth
	if again && Leaf(c.Type()) {
		return true
	}

	b, inline := block.Inlined(c)
	var err error
	if !inline {
		if w.o.Ahead > 0 {
			w.startAhead(ctx)
		}
		b, err = w.reader.take(ctx, c)
	}
	if err != nil {
		// The first visit has yielded the error.
		if again {
			return w.o.KeepGoing
		}
		more := yield(step, fmt.Errorf("dag: walk: %w", err))
		return more && w.o.KeepGoing && ctx.Err() == nil
	}
	step.Block = b
	var links []cid.Cid
	if w.o.MaxDepth == 0 || depth < w.o.MaxDepth {
		links, err = w.o.Links(b)
	}
	yielded := again && (err == nil || least < w.o.MaxDepth)
	if !yielded && !yield(step, err) || err != nil && !w.o.KeepGoing {
		return false
	}
	w.push(links, depth+1)
	return true
}
