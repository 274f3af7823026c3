package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/cairn-ipfs/cairn/internal/ipld"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// A ref names content: a root, and a path below it.
type ref struct {
	root cid.Cid
	path string // without a slash in front; empty for the root itself
}

// namePath returns the path /ipns/… that s names, which may be the URL of a
// gateway, and reports whether it names one.
func namePath(s string) (path string, ok bool) {
	p, err := ipld.ParsePath(ipld.PathOfURL(s))
	return p.Text, err == nil && p.IsName()
}

// parseRef reads the forms that need no repository: those of ipld.ParsePath that
// begin with a CID, and the URLs of gateways. It reports whether s has one of
// them.
func parseRef(s string) (r ref, ok bool, err error) {
	p, err := ipld.ParsePath(ipld.PathOfURL(s))
	if err == nil && p.IsName() {
		err = ipld.ErrNotPath
	}
	if err != nil {
		return ref{}, !errors.Is(err, ipld.ErrNotPath), err
	}
	return ref{p.Root, p.Rest}, true, nil
}

// resolveRef resolves all forms: those of parseRef and namePath, and the name of
// an alias, with or without a path behind it. It takes the first answer to an
// /ipns/ name.
func resolveRef(ctx context.Context, s repo, name string) (ref, error) {
	return resolveRefAs(ctx, s, name, cairn.ResolveOptions{})
}

func resolveRefAs(ctx context.Context, s repo, name string, o cairn.ResolveOptions) (ref, error) {
	if path, isName := namePath(name); isName {
		r, err := control.ResolveName.Do(ctx, s.Target, control.NameArgs{Name: path, Latest: o.Latest, Offline: o.Offline})
		return ref{r.Root, r.Rest}, err
	}
	r, ok, perr := parseRef(name)
	if ok {
		return r, perr
	}
	// Names of aliases may have slashes: the longest one is taken.
	for alias, path := strings.TrimRight(name, "/"), ""; alias != ""; {
		found, err := control.ResolveAlias.Do(ctx, s.Target, control.AliasArgs{Name: alias})
		if err == nil {
			return ref{found.Root, path}, nil
		}
		if !errors.Is(err, store.ErrNoAlias) {
			return ref{}, err
		}
		slash := strings.LastIndexByte(alias, '/')
		if slash < 0 {
			break
		}
		alias, path = alias[:slash], name[slash+1:]
	}
	return ref{}, fmt.Errorf("%q: %w, and no CID", name, store.ErrNoAlias)
}

// resolve returns the CID that a name leads to, for reading.
func resolve(ctx context.Context, s repo, name string) (cid.Cid, error) {
	return resolveAs(ctx, s, name, cairn.ResolveOptions{})
}

// resolveLatest is resolve for content that is to be kept: it waits for the latest
// record of an /ipns/ name.
func resolveLatest(ctx context.Context, s repo, name string) (cid.Cid, error) {
	return resolveAs(ctx, s, name, cairn.ResolveOptions{Latest: true})
}

func resolveAs(ctx context.Context, s repo, name string, o cairn.ResolveOptions) (cid.Cid, error) {
	r, err := resolveRefAs(ctx, s, name, o)
	if err != nil || r.path == "" {
		return r.root, err
	}
	return ipld.Resolve(ctx, s, r.root, r.path)
}
