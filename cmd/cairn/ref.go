package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/ipld"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// A ref is how a user names content: a root, and a path below it.
type ref struct {
	root cid.Cid
	path string // without a slash in front; empty for the root itself
}

// namePath reads the forms of names, /ipns/NAME/path, ipns://NAME/path, and the
// URLs of gateways, and returns the first. It tells whether s has one of them.
func namePath(s string) (path string, ok bool) {
	if path, isURL := fromGateway(s); isURL {
		s = path
	}
	if rest, found := strings.CutPrefix(s, "ipns://"); found {
		s = "/ipns/" + rest
	}
	return s, strings.HasPrefix(s, "/ipns/")
}

// parseRef reads the forms that need no repository: CID, CID/path,
// /ipfs/CID/path, ipfs://CID/path, and the URLs of gateways, of which nothing
// but the path counts. It tells whether s has one of them.
func parseRef(s string) (r ref, ok bool, err error) {
	if path, isURL := fromGateway(s); isURL {
		s = path
	}
	rest := withoutScheme(s)
	first, path, _ := strings.Cut(rest, "/")
	c, err := block.ParseCID(first)
	switch {
	case err == nil:
		return ref{c, strings.Trim(path, "/")}, true, nil
	case rest != s || !errors.Is(err, block.ErrMalformed):
		// What is a CID, but refused, is no alias either.
		return ref{}, true, err
	}
	return ref{}, false, err
}

// fromGateway returns the /ipfs/ or /ipns/ path that a gateway's URL names:
// https://HOST/ipfs/CID/path or https://CID.ipfs.HOST/path.
func fromGateway(s string) (path string, ok bool) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return "", false
	}
	for _, space := range []string{"ipfs", "ipns"} {
		if strings.HasPrefix(u.Path, "/"+space+"/") {
			return u.Path, true
		}
		if name, _, found := strings.Cut(u.Host, "."+space+"."); found {
			return "/" + space + "/" + name + u.Path, true
		}
	}
	return "", false
}

// withoutScheme takes /ipfs/ or ipfs:// away from the front.
func withoutScheme(s string) string {
	for _, prefix := range []string{"/ipfs/", "ipfs://"} {
		if rest, found := strings.CutPrefix(s, prefix); found {
			return rest
		}
	}
	return s
}

// findRef reads all forms: those of parseRef and namePath, and an alias by its
// name, with a path after it or not. The first answer to a name counts.
func findRef(ctx context.Context, s repo, name string) (ref, error) {
	return findRefAs(ctx, s, name, cairn.ResolveOptions{})
}

func findRefAs(ctx context.Context, s repo, name string, o cairn.ResolveOptions) (ref, error) {
	if path, isName := namePath(name); isName {
		r, err := s.ResolveName(ctx, path, o)
		return ref{r.Root, r.Rest}, err
	}
	r, ok, perr := parseRef(name)
	if ok {
		return r, perr
	}
	// Names of aliases have slashes, too: the longest that is one counts.
	for alias, path := strings.TrimRight(name, "/"), ""; alias != ""; {
		found, err := s.GetAlias(ctx, alias)
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

// find returns the CID that a name leads to, for reading.
func find(ctx context.Context, s repo, name string) (cid.Cid, error) {
	return findAs(ctx, s, name, cairn.ResolveOptions{})
}

// findLatest is find for who keeps what is found: an /ipns/ name's last record
// counts, however long it takes to hear of all.
func findLatest(ctx context.Context, s repo, name string) (cid.Cid, error) {
	return findAs(ctx, s, name, cairn.ResolveOptions{Latest: true})
}

func findAs(ctx context.Context, s repo, name string, o cairn.ResolveOptions) (cid.Cid, error) {
	r, err := findRefAs(ctx, s, name, o)
	if err != nil || r.path == "" {
		return r.root, err
	}
	return ipld.Resolve(ctx, s, r.root, r.path)
}
