package trustless

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/ipfs/go-cid"
)

const (
	// linkBytes is the memory for a link that a walk holds, with its CID, and for
	// a level.
	linkBytes = 100

	// maxHeld is the most links that a walk holds: 2 MiB. Beyond it, the links that
	// are needed last are dropped, and extracted again from their block.
	maxHeld = 20_000
	// freeHeld is how many of them any walk may hold: those of a file's node, and
	// of a directory or two. More are taken in steps of growHeld, if there is room.
	freeHeld = 600
	growHeld = 1000

	// maxFrames is how deep a walk may go, and freeFrames how deep any walk may. A
	// chain whose links are the last of their blocks isn't deep: its frames are
	// done.
	maxFrames  = 20_000
	freeFrames = 200
)

// A child is a link to be followed.
type child struct {
	cid cid.Cid
	// Of a file: the bytes that lie below it.
	begin, end int64
}

// A frame is a block with children to be followed. The first of those left are in
// memory; the others are extracted again.
type frame struct {
	block    child
	children []child
	left     int
}

// A walk visits a DAG depth-first, in the order of a CAR. It yields leaves without
// reading them.
type walk struct {
	get  block.Getter
	root block.Block // read before
	// children returns the links to follow below a block.
	children func(b block.Block, at child) []child
	// partial, if set, reports whether some children of a block aren't wanted.
	// Such a block may be visited again in another place, with other children.
	partial func(at child) bool
	parts   map[string]bool      // keys of partial blocks that were visited
	skip    func(c cid.Cid) bool // nil: nothing
	seen    *seenSet             // nil: a block is visited for each link to it
	state   *share               // nil: no bound
	frames  []frame
	held    int // links
	room    int // for links, besides freeHeld
	deep    int // room for frames, besides freeFrames
}

// A visit is a block that the walk visits.
type visit struct {
	cid cid.Cid
	// block is the zero Block for a leaf, which the walk doesn't read.
	block block.Block
	// quiet: it isn't sent, as it was before, or its CID carries it.
	quiet bool
}

var (
	errTooManyBlocks = fmt.Errorf("%w: more blocks with links than one response may hold", block.ErrTooLarge)
	errTooDeep       = fmt.Errorf("%w: a DAG deeper than one response may go", block.ErrTooLarge)
)

// from walks the DAG from root on. It yields nothing after an error.
func (w *walk) from(ctx context.Context, root child) iter.Seq2[visit, error] {
	return func(yield func(visit, error) bool) {
		v, ok, err := w.visit(ctx, root, true)
		for {
			if (ok || err != nil) && !yield(v, err) || err != nil {
				return
			}
			at, more, errNext := w.next(ctx)
			if !more {
				return
			}
			if v, ok, err = (visit{}), false, errNext; err == nil {
				v, ok, err = w.visit(ctx, at, false)
			}
		}
	}
}

// visit reads a block if its links are needed, and pushes them. It returns false
// for a block that isn't to be visited.
func (w *walk) visit(ctx context.Context, at child, isRoot bool) (v visit, ok bool, err error) {
	inline, isInline := block.Inlined(at.cid)
	v = visit{cid: at.cid, block: inline, quiet: isInline}
	if !isRoot && w.skip != nil && w.skip(at.cid) {
		return v, false, nil
	}
	if w.seen != nil && !isInline {
		if w.partial != nil && w.partial(at) {
			k := canonical(at.cid)
			v.quiet = w.parts[k] || w.seen.Has(at.cid)
			w.parts[k] = true
		} else {
			isNew, full := w.seen.add(at.cid)
			if full {
				return v, false, errTooManyBlocks
			}
			if !isNew {
				return v, false, nil
			}
			v.quiet = w.parts[canonical(at.cid)]
		}
	}
	if isRoot {
		v.block = w.root
	}
	if dag.Leaf(at.cid.Type()) {
		return v, true, nil
	}
	if !v.block.CID().Defined() {
		if v.block, err = w.get.Get(ctx, at.cid); err != nil {
			return v, false, err
		}
	}
	return v, true, w.push(at, w.children(v.block, at))
}

func (w *walk) push(at child, children []child) error {
	if len(children) == 0 {
		return nil
	}
	for len(w.frames) >= freeFrames+w.deep {
		if w.deep+freeFrames >= maxFrames || !w.state.more(freeFrames*linkBytes) {
			return errTooDeep
		}
		w.deep += freeFrames
	}
	w.frames = append(w.frames, frame{block: at, left: len(children)})
	w.keep(&w.frames[len(w.frames)-1], children)
	return nil
}

// keep holds as many of a frame's children as there is room for. It drops those of
// other frames that are needed last.
func (w *walk) keep(f *frame, children []child) {
	for w.held+len(children) > freeHeld+w.room && freeHeld+w.room+growHeld <= maxHeld && w.state.more(growHeld*linkBytes) {
		w.room += growHeld
	}
	for i := 0; w.held+len(children) > freeHeld+w.room && i < len(w.frames); i++ {
		w.held -= len(w.frames[i].children)
		w.frames[i].children = nil
	}
	if most := freeHeld + w.room; len(children) > most {
		children = slices.Clone(children[:most])
	}
	f.children = children
	w.held += len(children)
}

// next takes the next child off the stack.
func (w *walk) next(ctx context.Context) (c child, more bool, err error) {
	if len(w.frames) == 0 {
		return child{}, false, nil
	}
	f := &w.frames[len(w.frames)-1]
	if len(f.children) == 0 {
		if err := w.restore(ctx, f); err != nil {
			return f.block, true, err
		}
	}
	c = f.children[0]
	f.children = f.children[1:]
	f.left--
	w.held--
	if f.left == 0 {
		w.frames[len(w.frames)-1] = frame{} // so that it holds no memory
		w.frames = w.frames[:len(w.frames)-1]
	}
	return c, true, nil
}

// restore extracts the dropped children of a frame again.
func (w *walk) restore(ctx context.Context, f *frame) error {
	b, err := getInlined(ctx, w.get, f.block.cid)
	if err != nil {
		return err
	}
	all := w.children(b, f.block)
	if len(all) < f.left {
		return fmt.Errorf("%s: %w: it has fewer links than before", b.CID(), block.ErrDamaged)
	}
	w.keep(f, all[len(all)-f.left:])
	return nil
}

// linksOf returns a block's links. A block that can't be decoded has none: the client
// can't go on from it either.
func linksOf(b block.Block) ([]cid.Cid, error) {
	links, err := dag.Links(b)
	if errors.Is(err, block.ErrUnknownCodec) || errors.Is(err, block.ErrMalformed) {
		return nil, nil
	}
	return links, err
}

// allChildren follows every link.
func allChildren(b block.Block, _ child) []child {
	links, _ := linksOf(b)
	children := make([]child, len(links))
	for i, c := range links {
		children[i].cid = c
	}
	return children
}
