package unixfs

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// SplitPath splits a path at its slashes. Empty parts and "." are dropped, ".."
// takes back the part before it (UnixFS specification, "path resolution").
// Errors: block.ErrMalformed if path leads out of its root.
func SplitPath(path string) ([]string, error) {
	var parts []string
	for part := range strings.SplitSeq(path, "/") {
		switch part {
		case "", ".":
		case "..":
			if len(parts) == 0 {
				return nil, fmt.Errorf("%w: the path %q leads out of its root", block.ErrMalformed, path)
			}
			parts = parts[:len(parts)-1]
		default:
			parts = append(parts, part)
		}
	}
	return parts, nil
}

const (
	// maxSymlinks is how many symlinks are followed on the way to one place,
	// as on Linux.
	maxSymlinks = 40
	// maxTarget bounds the target of a symlink that is followed, in bytes, as
	// PATH_MAX does.
	maxTarget = 4096
)

// Follow follows path from root down, through directories and symlinks, and
// follows a symlink at its end, too. All of it stays within root: a symlink whose
// target is absolute or leads out of root is an error, and so are more than 40
// symlinks. Here ".." leads to the directory in which a directory was found.
// Errors: as Lookup; block.ErrMalformed for such symlinks.
func Follow(ctx context.Context, get block.Getter, root cid.Cid, path string) (Entry, error) {
	at, err := follow(ctx, get, root, path, true)
	if err != nil {
		return Entry{}, fmt.Errorf("unixfs: resolve %s/%s: %w", root, path, err)
	}
	return at.entry, nil
}

// A found is what lies at the end of a path, with its node.
type nodeEntry struct {
	entry Entry
	node  Node
}

// follow follows path, and the last symlink only if last is set.
func follow(ctx context.Context, get block.Getter, root cid.Cid, path string, last bool) (nodeEntry, error) {
	n, err := load(ctx, get, root)
	if err != nil {
		return nodeEntry{}, err
	}
	way := []nodeEntry{{Entry{CID: root}, n}}
	left := strings.Split(path, "/")
	slices.Reverse(left) // the next one last
	symlinks := 0
	for len(left) > 0 {
		name := left[len(left)-1]
		left = left[:len(left)-1]
		at := way[len(way)-1]
		switch name {
		case "", ".":
			continue
		case "..":
			if len(way) == 1 {
				return nodeEntry{}, fmt.Errorf("%w: it leads out of its root", block.ErrMalformed)
			}
			way = way[:len(way)-1]
			continue
		}
		e, err := lookupIn(ctx, get, at.entry.CID, at.node, name)
		if err != nil {
			return nodeEntry{}, fmt.Errorf("at %q: %w", name, err)
		}
		n, err := load(ctx, get, e.CID)
		if err != nil {
			return nodeEntry{}, fmt.Errorf("at %q: %w", name, err)
		}
		if n.Type != TypeSymlink || !last && len(left) == 0 {
			way = append(way, nodeEntry{e, n})
			continue
		}
		symlinks++
		target := string(n.Data)
		switch {
		case symlinks > maxSymlinks:
			return nodeEntry{}, fmt.Errorf("%w: at %q: more than %d symlinks on the way", block.ErrMalformed, name, maxSymlinks)
		case strings.HasPrefix(target, "/"):
			return nodeEntry{}, fmt.Errorf("%w: at %q: a symlink to %.100q, out of its root", block.ErrMalformed, name, target)
		case len(target) > maxTarget || target == "":
			return nodeEntry{}, fmt.Errorf("%w: at %q: a symlink's target of %d bytes", block.ErrMalformed, name, len(target))
		}
		parts := strings.Split(target, "/")
		slices.Reverse(parts)
		left = append(left, parts...)
	}
	return way[len(way)-1], nil
}
