package dag

import (
	"context"
	"fmt"
	"iter"

	"github.com/ipfs/go-cid"

	"github.com/cairn-ipfs/cairn/block"
)

// DefaultMaxBlocks is how many blocks a walk visits, and a difference compares
// on either side, if nothing else is said: a TiB of 256 KiB blocks. Each costs
// about a hundred bytes of memory.
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

// WalkOptions are the options of Walk. The zero value walks everything, depth
// first, and ends at the first error.
type WalkOptions struct {
	Order Order

	// Skip, if set, is asked before a block is read; if it says true, the
	// block is neither read nor yielded nor walked below. It may be asked
	// about a CID more than once.
	Skip func(c cid.Cid) bool

	// Links, if set, finds the links of a block in place of the function
	// Links.
	Links func(b block.Block) ([]cid.Cid, error)

	// MaxDepth is how many links from a root the walk goes; 0 means no limit.
	// A block above the limit may be read more than once, if a shorter way to
	// it turns up.
	MaxDepth int

	// MaxBlocks is how many blocks are visited, and how many links may wait to
	// be followed, before the walk ends with block.ErrTooLarge; 0 means
	// DefaultMaxBlocks.
	MaxBlocks int

	// Ahead is how many blocks are asked for before their turn, at the same time:
	// for a Getter that takes long to answer and that several goroutines may call.
	// They wait in memory. 0 asks for one block after the other.
	Ahead int

	// KeepGoing yields the error of a block that is missing, damaged or can't
	// be decoded, and then walks on beside it. Else the first error is the
	// last.
	KeepGoing bool
}

// A Step is what Walk yields: a block, or, beside an error, the CID of the
// block that it is about.
type Step struct {
	CID   cid.Cid
	Depth int // links from a root
	// Block is the zero Block if it couldn't be read. If it could be, but its
	// links couldn't be found, it is yielded together with the error.
	Block block.Block
}

// Walk reads what is reachable from the roots and yields each block once, the
// ones that a block links to after it. Blocks that differ in the CID's version
// alone are the same.
//
// Identity CIDs are looked through; a root that is one is yielded without
// asking the Getter. Errors: those of the Getter (block.ErrNotFound if a block
// is missing) and of Links; block.ErrTooLarge; ctx's. They end the walk, save
// where WalkOptions.KeepGoing says otherwise.
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
	seen    map[string]int // keys of what was visited, with its least depth
	fronts  []front        // what is to be visited
	pending int            // CIDs in fronts
}

// A front is the links of a block that weren't followed yet.
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

// next takes the CID to visit next: the first of the newest front, or, breadth
// first, of the oldest.
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

// visit reads and yields a block, if it is to be, and pushes its links. It
// returns false if the walk is over.
func (w *walker) visit(ctx context.Context, c cid.Cid, depth int, yield func(Step, error) bool) bool {
	k := key(c.KeyString())
	least, again := w.seen[k]
	// What was seen is visited again only where a limit cut off what is below.
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
		// The second time, the first has yielded the error.
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
	told := again && (err == nil || least < w.o.MaxDepth)
	if !told && !yield(step, err) || err != nil && !w.o.KeepGoing {
		return false
	}
	w.push(links, depth+1)
	return true
}
