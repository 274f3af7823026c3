package ipld

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/datamodel"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/multiformats/go-multicodec"
)

// maxSteps bounds how many links a path leads through. Only a chain of blocks
// that are nothing but a link has more links than the path has parts.
const maxSteps = 1024

// ErrNotBlock says that a path ends at a value inside a block.
var ErrNotBlock = errors.New("the path ends inside a block, not at one")

// errNoPart says that a value has no part of that name.
var errNoPart = fmt.Errorf("there is no such part: %w", fs.ErrNotExist)

// A PathError says at which part of a path resolving failed.
type PathError struct {
	Root cid.Cid
	// Path are the parts up to and including the one that failed.
	Path []string
	// CID names the block in which that part was looked up.
	CID cid.Cid
	Err error
}

// Error names the path up to the part that failed.
func (e *PathError) Error() string {
	return fmt.Sprintf("resolve %s/%s: %v", e.Root, strings.Join(e.Path, "/"), e.Err)
}

// Unwrap returns Err.
func (e *PathError) Unwrap() error { return e.Err }

// Resolve follows path from root and returns the block that it ends at: through
// the names in directories of UnixFS, and through fields and list items in
// dag-cbor and dag-json to the links there. Empty parts of path and "." are
// skipped, ".." takes back the part before it. Resolve does not get the block at
// the end, and does not follow symlinks. Errors: those of get; fs.ErrNotExist;
// unixfs.ErrNotDirectory; ErrNotBlock; block.ErrMalformed, also if path leads
// out of root; block.ErrTooLarge; block.ErrUnknownCodec for a block of another
// codec on the way.
func Resolve(ctx context.Context, get block.Getter, root cid.Cid, path string) (cid.Cid, error) {
	parts, err := unixfs.SplitPath(path)
	if err != nil {
		return cid.Undef, fmt.Errorf("resolve: %w", err)
	}
	return ResolveParts(ctx, get, root, parts)
}

// ResolveParts is Resolve for a path that has been split. Every error is a
// *PathError.
func ResolveParts(ctx context.Context, get block.Getter, root cid.Cid, path []string) (cid.Cid, error) {
	c, _, err := follow(ctx, get, root, path, false)
	return c, err
}

// A Place is the value that a path ends at.
type Place struct {
	Node datamodel.Node
	// CID is the block that holds the value.
	CID cid.Cid
	// Rest is the path within that block: empty for the whole block.
	Rest []string
}

// NodeAt follows path from root to a value: a block, or what is inside one. It
// reads all codecs of Codecs, and in dag-pb also the fields Data and Links,
// which hide directory entries of the same names. Empty parts of path are
// skipped. Errors: as Resolve, naming the part that failed.
func NodeAt(ctx context.Context, get block.Getter, root cid.Cid, path string) (Place, error) {
	parts := slices.DeleteFunc(strings.Split(path, "/"), func(part string) bool { return part == "" })
	c, rest, err := follow(ctx, get, root, parts, true)
	if err != nil {
		var at *PathError
		if errors.As(err, &at) {
			err = fmt.Errorf("%s: %w", at.Path[len(at.Path)-1], at.Err)
		}
		return Place{}, err
	}
	p := Place{CID: c, Rest: rest}
	if p.Node, err = getNode(ctx, get, c); err != nil {
		return Place{}, err
	}
	for _, part := range rest {
		if p.Node, err = childOf(p.Node, part); err != nil {
			return Place{}, fmt.Errorf("%s: %w", part, err)
		}
	}
	return p, nil
}

// follow follows path from link to link. If values is set, the path may end
// inside the block c: rest is then the part within it, which need not exist.
func follow(ctx context.Context, get block.Getter, root cid.Cid, path []string, values bool) (c cid.Cid, rest []string, err error) {
	c, rest = root, path
	for steps := 0; len(rest) > 0; steps++ {
		next, used, err := step(ctx, get, c, rest, values)
		if values && (errors.Is(err, ErrNotBlock) || errors.Is(err, errNoPart)) {
			return c, rest, nil
		}
		if err == nil && steps == maxSteps {
			err = fmt.Errorf("%w: a path through more than %d blocks", block.ErrTooLarge, maxSteps)
		}
		if err != nil {
			done := len(path) - len(rest) + max(used, 1)
			return cid.Undef, nil, &PathError{Root: root, Path: path[:done], CID: c, Err: err}
		}
		c, rest = next, rest[used:]
	}
	return c, nil, nil
}

// step follows path through the block c to the first link. Used counts the parts
// that lead there.
func step(ctx context.Context, get block.Getter, c cid.Cid, path []string, values bool) (next cid.Cid, used int, err error) {
	switch codec := c.Type(); {
	case codec == block.DagPB && values && (path[0] == "Links" || path[0] == "Data"):
		n, err := getNode(ctx, get, c)
		if err != nil {
			return cid.Undef, 1, err
		}
		if n, err := childOf(n, path[0]); err == nil {
			return nodeLink(n, path)
		}
	case codec == block.DagCBOR || codec == block.DagJSON:
		b, err := getBlock(ctx, get, c)
		if err != nil {
			return cid.Undef, 1, err
		}
		if codec == block.DagJSON {
			return jsonLink(b.Data(), path)
		}
		return cborLink(b.Data(), path)
	case codec == block.DagPB || codec == block.Raw && !values:
	case values:
		return cid.Undef, 1, ErrNotBlock // a block without links, or of an unknown codec
	default:
		return cid.Undef, 1, fmt.Errorf("%s: %w: no path leads through %s", c, block.ErrUnknownCodec, multicodec.Code(codec))
	}
	e, err := unixfs.Lookup(ctx, get, c, path[0])
	return e.CID, 1, err
}

// nodeLink follows path[1:] through n to the first link, as cborLink does.
func nodeLink(n datamodel.Node, path []string) (c cid.Cid, used int, err error) {
	for used = 1; ; used++ {
		if n.Kind() == datamodel.Kind_Link {
			c, err := linkOf(n)
			return c, used, err
		}
		if used == len(path) {
			return cid.Undef, used, ErrNotBlock
		}
		if n, err = childOf(n, path[used]); err != nil {
			return cid.Undef, used, errNoPart
		}
	}
}

// childOf returns the part of n with that name. Errors: fs.ErrNotExist if there
// is none.
func childOf(n datamodel.Node, part string) (datamodel.Node, error) {
	segment := datamodel.PathSegmentOfString(part)
	if _, ok := index(part); n.Kind() == datamodel.Kind_List && !ok {
		return nil, datamodel.ErrInvalidSegmentForList{TroubleSegment: segment, Reason: errors.New("not an index")}
	}
	child, err := n.LookupBySegment(segment)
	var wrong datamodel.ErrWrongKind
	switch {
	case err == nil && !child.IsAbsent():
		return child, nil
	case err == nil, errors.As(err, &datamodel.ErrNotExists{}), errors.As(err, &wrong):
		return nil, fmt.Errorf("there is no such part in a %s: %w", n.Kind(), fs.ErrNotExist)
	}
	return nil, err
}

func linkOf(n datamodel.Node) (cid.Cid, error) {
	l, err := n.AsLink()
	if err != nil {
		return cid.Undef, err
	}
	c, ok := l.(cidlink.Link)
	if !ok {
		return cid.Undef, fmt.Errorf("%w: a link of type %T, want a CID", block.ErrMalformed, l)
	}
	return c.Cid, nil
}

// getBlock gets a block, which may be inlined in its CID.
func getBlock(ctx context.Context, get block.Getter, c cid.Cid) (block.Block, error) {
	if b, inlined := block.Inlined(c); inlined {
		return b, nil
	}
	return get.Get(ctx, c)
}

func getNode(ctx context.Context, get block.Getter, c cid.Cid) (datamodel.Node, error) {
	b, err := getBlock(ctx, get, c)
	if err != nil {
		return nil, err
	}
	return DecodeBlock(b)
}
