package trustless

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/ipfs/go-cid"
)

// maxPathBlocks is how many blocks a path may lead through: maxSegments, of
// which some are of sharded directories.
const maxPathBlocks = 1024

// A resolved path: what it led through, and to.
type resolved struct {
	through []cid.Cid // in order, each once, without identity CIDs
	// end is cid.Undef if the path leads nowhere, as the blocks prove.
	end cid.Cid
}

// pathGetter notes which blocks a path leads through.
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

// resolve follows a path through files and directories of UnixFS and through
// links in dag-cbor and dag-json. That it leads nowhere is a result like any
// other, since a client that doesn't trust us wants to see why. A path that
// can't be followed is a *refusal.
func resolve(ctx context.Context, get block.Getter, root cid.Cid, path []string) (resolved, error) {
	g := &pathGetter{get: get, seen: make(map[string]bool)}
	at := root
	for done := 0; done < len(path); {
		next, used, err := step(ctx, g, at, path[done:])
		if leadsNowhere(err) && len(g.through) > 0 {
			return resolved{through: g.through}, nil
		}
		if err != nil {
			return resolved{}, pathError(err, "/ipfs/"+root.String(), path[:done+max(used, 1)])
		}
		at = next
		done += used
	}
	return resolved{through: g.through, end: at}, nil
}

// step goes through one block, of which used segments of the path lead to a
// link.
func step(ctx context.Context, g *pathGetter, at cid.Cid, path []string) (next cid.Cid, used int, err error) {
	switch at.Type() {
	case block.DagPB:
		e, err := unixfs.Lookup(ctx, g, at, path[0])
		return e.CID, 1, err
	case block.DagCBOR:
		b, err := g.Get(ctx, at)
		if err != nil {
			return cid.Undef, 1, err
		}
		return cborLink(b.Data(), path)
	case block.DagJSON:
		b, err := g.Get(ctx, at)
		if err != nil {
			return cid.Undef, 1, err
		}
		return jsonLink(b.Data(), path)
	case block.Raw:
		_, err := g.Get(ctx, at)
		if err == nil {
			err = unixfs.ErrNotDirectory
		}
		return cid.Undef, 1, err
	}
	return cid.Undef, 1, refuse(http.StatusNotImplemented, "paths through blocks of codec 0x%x aren't followed here", at.Type())
}

var (
	// errNoLink: the path leads to a value inside of a block.
	errNoLink = errors.New("no link")
	// errNoSuch: the path leads nowhere.
	errNoSuch = errors.New("not there")
)

// leadsNowhere tells whether err follows from blocks that are here.
func leadsNowhere(err error) bool {
	return errors.Is(err, errNoSuch) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unixfs.ErrNotDirectory)
}

// pathError says at which part of the path err happened.
func pathError(err error, root string, path []string) error {
	at := root + "/" + strings.Join(path, "/")
	var r *refusal
	switch {
	case errors.As(err, &r):
		return err
	case errors.Is(err, errNoLink):
		return refuse(http.StatusNotImplemented, "%.200q is inside of a block; only whole blocks are served", at)
	case errors.Is(err, block.ErrNotFound):
		return refuse(http.StatusNotFound, "a block on the way to %.200q isn't here", at)
	case leadsNowhere(err), errors.Is(err, block.ErrMalformed), errors.Is(err, block.ErrHashRefused), errors.Is(err, block.ErrTooLarge):
		return refuse(http.StatusNotFound, "%.200q isn't there: %v", at, err)
	}
	return err
}

// cborLink follows path through a dag-cbor value up to the first link.
func cborLink(p []byte, path []string) (c cid.Cid, used int, err error) {
	r := cborReader{p}
	for used = 0; ; used++ {
		major, arg, err := r.head()
		if err != nil {
			return cid.Undef, used, err
		}
		if major == cborTag && arg == linkTag {
			c, err := r.link()
			return c, used, err
		}
		if used == len(path) {
			return cid.Undef, used, errNoLink
		}
		var found bool
		switch major {
		case cborMap:
			found, err = r.entry(arg, path[used])
		case cborArray:
			found, err = r.element(arg, path[used])
		}
		if err == nil && !found {
			err = errNoSuch
		}
		if err != nil {
			return cid.Undef, used + 1, err
		}
	}
}
