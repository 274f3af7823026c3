package unixfs

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// SplitPath splits a path at its slashes. It drops empty parts and ".", and ".."
// with the part before it (UnixFS: path resolution). It fails with
// block.ErrMalformed if the path leads out of its root.
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
	// maxSymlinks bounds the symlinks followed in one path, as on Linux.
	maxSymlinks = 40
	// maxTarget bounds the target of a followed symlink, in bytes, as PATH_MAX
	// does.
	maxTarget = 4096
)

// A nodeEntry is an entry with its node.
type nodeEntry struct {
	entry Entry
	node  Node
}

// follow resolves path from root, through directories and symlinks, and follows a
// symlink at its end if last is set. It stays within root: a symlink whose target
// is absolute or leads out of root is an error, and so are more than maxSymlinks.
// After a symlink, ".." is the parent of its target. Errors: as Lookup;
// block.ErrMalformed for such symlinks.
func follow(ctx context.Context, get block.Getter, root cid.Cid, path string, last bool) (nodeEntry, error) {
	n, err := load(ctx, get, root)
	if err != nil {
		return nodeEntry{}, err
	}
	trace := []nodeEntry{{Entry{CID: root}, n}}
	left := strings.Split(path, "/")
	slices.Reverse(left) // the next one last
	symlinks := 0
	for len(left) > 0 {
		name := left[len(left)-1]
		left = left[:len(left)-1]
		at := trace[len(trace)-1]
		switch name {
		case "", ".":
			continue
		case "..":
			if len(trace) == 1 {
				return nodeEntry{}, fmt.Errorf("%w: the path leads out of its root", block.ErrMalformed)
			}
			trace = trace[:len(trace)-1]
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
			trace = append(trace, nodeEntry{e, n})
			continue
		}
		symlinks++
		target := string(n.Data)
		switch {
		case symlinks > maxSymlinks:
			return nodeEntry{}, fmt.Errorf("%w: at %q: more than %d symlinks in the path", block.ErrMalformed, name, maxSymlinks)
		case strings.HasPrefix(target, "/"):
			return nodeEntry{}, fmt.Errorf("%w: at %q: the symlink to %.100q leads out of its root", block.ErrMalformed, name, target)
		case len(target) > maxTarget || target == "":
			return nodeEntry{}, fmt.Errorf("%w: at %q: symlink target of %d bytes, want 1 to %d", block.ErrMalformed, name, len(target), maxTarget)
		}
		parts := strings.Split(target, "/")
		slices.Reverse(parts)
		left = append(left, parts...)
	}
	return trace[len(trace)-1], nil
}
