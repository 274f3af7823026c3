package trustless

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/ipld"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/ipfs/go-cid"
)

// maxPathBlocks bounds the blocks that a path leads through: maxSegments, of
// which some are directories of several shards.
const maxPathBlocks = 1024

// A resolved path: the blocks on it, and its end.
type resolved struct {
	through []cid.Cid // in order, each once, without identity CIDs
	// end is cid.Undef if the path ends nowhere, which the blocks prove.
	end cid.Cid
}

// A pathGetter records the blocks that a path leads through.
type pathGetter struct {
	get     block.Getter
	through []cid.Cid
	seen    map[string]bool
}

var errLongPath = fmt.Errorf("%w: a path through more than %d blocks", block.ErrTooLarge, maxPathBlocks)

// Get implements block.Getter.
func (g *pathGetter) Get(ctx context.Context, c cid.Cid) (block.Block, error) {
	b, err := getInlined(ctx, g.get, c)
	if err != nil || block.IsIdentity(c) || g.seen[c.KeyString()] {
		return b, err
	}
	if len(g.through) == maxPathBlocks {
		return block.Block{}, errLongPath
	}
	g.seen[c.KeyString()] = true
	g.through = append(g.through, c)
	return b, nil
}

// getInlined gets a block that may be inlined in its CID.
func getInlined(ctx context.Context, get block.Getter, c cid.Cid) (block.Block, error) {
	if b, ok := block.Inlined(c); ok {
		return b, nil
	}
	return get.Get(ctx, c)
}

// resolve follows a path. A path that ends nowhere is a result like any other,
// because the blocks that prove it are served. Errors that explain themselves to
// the client are a *refusal.
func resolve(ctx context.Context, get block.Getter, root cid.Cid, path []string) (resolved, error) {
	g := &pathGetter{get: get, seen: make(map[string]bool)}
	end, err := ipld.ResolveParts(ctx, g, root, path)
	switch {
	case err == nil:
		return resolved{through: g.through, end: end}, nil
	case endsNowhere(err) && len(g.through) > 0:
		return resolved{through: g.through}, nil
	}
	return resolved{}, refusePath(err)
}

// endsNowhere reports whether err follows from blocks that are here.
func endsNowhere(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unixfs.ErrNotDirectory)
}

// refusePath returns the refusal that names the part of the path that failed, or
// else err.
func refusePath(err error) error {
	var at *ipld.PathError
	if !errors.As(err, &at) {
		return err
	}
	path := "/ipfs/" + at.Root.String() + "/" + strings.Join(at.Path, "/")
	switch err := at.Err; {
	case errors.Is(err, block.ErrUnknownCodec):
		return refuse(http.StatusNotImplemented, "paths through blocks of codec 0x%x aren't followed here", at.CID.Type())
	case errors.Is(err, ipld.ErrNotBlock):
		return refuse(http.StatusNotImplemented, "%.200q is inside of a block; only whole blocks are served", path)
	case errors.Is(err, block.ErrNotFound):
		return refuse(http.StatusNotFound, "a block on the way to %.200q isn't here", path)
	case endsNowhere(err), errors.Is(err, block.ErrMalformed), errors.Is(err, block.ErrHashRefused), errors.Is(err, block.ErrTooLarge):
		return refuse(http.StatusNotFound, "%.200q isn't there: %v", path, err)
	}
	return err
}
