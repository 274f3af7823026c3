package kubo

import (
	"context"
	"errors"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/access"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/internal/ipld"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// A getter gets blocks from the store, and those that it lacks from the network,
// unless the request is offline.
type getter struct {
	node    *cairn.Node
	offline bool
}

var _ block.Getter = getter{}

// getter reads the option offline, which all verbs have, and returns a getter.
func (c *call) getter() getter { return getter{c.node, c.Flag("offline", false)} }

// Get implements block.Getter.
func (g getter) Get(ctx context.Context, c cid.Cid) (block.Block, error) {
	return g.GetInto(ctx, c, nil)
}

// GetInto is Get with memory of the caller's, for reading files.
func (g getter) GetInto(ctx context.Context, c cid.Cid, memory []byte) (block.Block, error) {
	b, err := store.Internal(access.Key{}).Reader(g.node.Store()).GetInto(ctx, c, memory)
	if g.offline || !errors.Is(err, block.ErrNotFound) {
		return b, err
	}
	fetched, ferr := g.node.Fetch(ctx, c)
	if errors.Is(ferr, cairn.ErrOffline) {
		return b, err
	}
	return fetched, ferr
}

// parsePath parses an argument that has to begin with a CID; see
// ipld.ParsePath.
func parsePath(s string) (root cid.Cid, path string, err error) {
	p, err := ipld.ParsePath(s)
	switch {
	case err != nil:
		return cid.Undef, "", httpapi.BadRequest("%w", err)
	case p.IsName():
		return cid.Undef, "", httpapi.BadRequest("%.200s: a name, where a CID is wanted", s)
	}
	return p.Root, p.Rest, nil
}

// isName reports whether an argument is the path of a name, /ipns/…
func isName(s string) bool {
	p, err := ipld.ParsePath(s)
	return err == nil && p.IsName()
}

// rootOf is parsePath for arguments that may begin with a name. It resolves the
// name, from what is here if the request is offline.
func (c *call) rootOf(arg string) (root cid.Cid, path string, err error) {
	if !isName(arg) {
		return parsePath(arg)
	}
	offline := c.Flag("offline", false)
	if c.Invalid() != nil {
		return cid.Undef, "", c.Invalid()
	}
	r, err := c.node.ResolveName(c.Context(), arg, cairn.ResolveOptions{Offline: offline})
	return r.Root, r.Rest, err
}

// resolveArg returns the CID that an argument leads to, through names and
// directories.
func (c *call) resolveArg(get block.Getter, arg string) (cid.Cid, error) {
	root, path, err := c.rootOf(arg)
	if err != nil || path == "" {
		return root, err
	}
	return ipld.Resolve(c.Context(), get, root, path)
}

// cidArgument reads an argument that has to be a CID, or /ipfs/CID.
func cidArgument(arg string) (cid.Cid, error) {
	root, path, err := parsePath(arg)
	if err == nil && path != "" {
		return cid.Undef, httpapi.BadRequest("%.200s: a path, where a CID is wanted", arg)
	}
	return root, err
}

// resolveArgs resolves all arguments.
func (c *call) resolveArgs(get block.Getter) ([]cid.Cid, error) {
	var all []cid.Cid
	for _, arg := range c.Args {
		root, err := c.resolveArg(get, arg)
		if err != nil {
			return nil, err
		}
		all = append(all, root)
	}
	return all, nil
}

// A link is a CID in DAG-JSON.
type link struct {
	CID string `json:"/"`
}
