package kubo

import (
	"errors"
	"strings"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/ipfs/go-cid"
)

type refShape struct {
	Ref string
	Err string
}

// refs lists the links of blocks, as Kubo does: depth first, and without the
// option unique each link as often as there are paths to it.
func (c *call) refs() error {
	get := c.getter()
	recursive, unique := c.Flag("recursive", false), c.Flag("unique", false)
	depth := c.Number("max-depth", -1)
	format := c.Text("format", "<dst>")
	if c.Flag("edges", false) {
		format = "<src> -> <dst>"
	}
	if c.Invalid() != nil {
		return c.Invalid()
	}
	if !recursive {
		depth = 1
	}
	roots, err := c.resolveArgs(get)
	if err != nil {
		return err
	}
	r := refsWalk{call: c, get: get, format: format}
	if unique {
		r.seen = make(map[cid.Cid]bool)
	}
	for _, root := range roots {
		if err := r.walk(root, depth); err != nil {
			return err
		}
	}
	return c.EndList(nil)
}

type refsWalk struct {
	*call
	get    block.Getter
	format string
	seen   map[cid.Cid]bool // nil: links may repeat
}

// A refsLevel is a block on the path down, and its links that remain.
type refsLevel struct {
	at    cid.Cid
	links []cid.Cid
}

// walk walks depth levels, or all if depth is negative. It keeps its own stack,
// since a chain may be long.
func (r *refsWalk) walk(root cid.Cid, depth int64) error {
	first, err := r.links(root)
	if err != nil {
		return err
	}
	stack := []refsLevel{{root, first}}
	for len(stack) > 0 {
		level := &stack[len(stack)-1]
		if len(level.links) == 0 || depth == 0 {
			stack = stack[:len(stack)-1]
			continue
		}
		next := level.links[0]
		level.links = level.links[1:]
		if r.seen != nil {
			if r.seen[next] {
				continue
			}
			if len(r.seen) >= dag.DefaultMaxBlocks {
				return block.ErrTooLarge
			}
			r.seen[next] = true
		}
		text := strings.NewReplacer("<src>", level.at.String(), "<dst>", next.String(), "<linkname>", "").Replace(r.format)
		if err := r.Item(refShape{Ref: text}); err != nil {
			return err
		}
		if depth > 0 && int64(len(stack)) >= depth {
			continue
		}
		below, err := r.links(next)
		if err != nil {
			return err
		}
		if len(below) > 0 {
			if stack = append(stack, refsLevel{next, below}); len(stack) > dag.DefaultMaxBlocks {
				return block.ErrTooLarge
			}
		}
	}
	return nil
}

func (r *refsWalk) links(k cid.Cid) ([]cid.Cid, error) {
	if dag.Leaf(k.Type()) {
		return nil, nil
	}
	b, inlined := block.Inlined(k)
	if !inlined {
		var err error
		if b, err = r.get.Get(r.Context(), k); err != nil {
			return nil, err
		}
	}
	links, err := dag.Links(b)
	if errors.Is(err, block.ErrUnknownCodec) {
		return nil, nil
	}
	return links, err
}

// refsLocal lists the blocks of the store.
func (c *call) refsLocal() error {
	for k, err := range c.node.Store().Blocks(c.Context()) {
		if err == nil {
			err = c.Item(refShape{Ref: k.String()})
		}
		if err != nil {
			return err
		}
	}
	return c.EndList(nil)
}
