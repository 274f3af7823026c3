package unixfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// A Change is one difference between two trees.
type Change struct {
	// Path is relative to the roots, with slashes; "." is the roots themselves.
	Path string
	// Before and After are the CIDs in the old and in the new tree, undefined
	// where there is none.
	Before, After cid.Cid
}

// Diff yields the differences between two trees, in the order of their paths'
// parts. It descends where both sides have a directory. A directory that only
// one side has is one Change. Directories with the same CID are not read. So the
// cost is that of the changed directories, each of which is held in memory with
// the entries of both sides. After an error it ends. Errors: those of get;
// block.ErrMalformed for directories nested more than MaxDepth deep.
func Diff(ctx context.Context, get block.Getter, before, after cid.Cid) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		d := differ{ctx, get, yield}
		if err := d.compare(".", before, after, 0); err != nil && !errors.Is(err, errStopped) {
			yield(Change{}, fmt.Errorf("unixfs: diff: %w", err))
		}
	}
}

// errStopped: the caller's loop ended.
var errStopped = errors.New("stopped")

type differ struct {
	ctx   context.Context
	get   block.Getter
	yield func(Change, error) bool
}

func (d *differ) report(path string, before, after cid.Cid) error {
	if !d.yield(Change{path, before, after}, nil) {
		return errStopped
	}
	return nil
}

// compare reports the differences at path and below it.
func (d *differ) compare(path string, before, after cid.Cid, depth int) error {
	if before.Defined() && after.Defined() && block.V1(before) == block.V1(after) {
		return nil
	}
	var dirs [2]map[string]cid.Cid
	for i, c := range []cid.Cid{before, after} {
		if !c.Defined() {
			return d.report(path, before, after)
		}
		entries, err := d.readEntries(c)
		if err != nil {
			return wrapPath(path, err)
		}
		if entries == nil {
			return d.report(path, before, after)
		}
		dirs[i] = entries
	}
	if depth == MaxDepth {
		return fmt.Errorf("%s: %w: directories are nested more than %d deep", path, block.ErrMalformed, MaxDepth)
	}
	for _, name := range unionNames(dirs[0], dirs[1]) {
		err := d.compare(joinPath(path, name), dirs[0][name], dirs[1][name], depth+1)
		if err != nil {
			return err
		}
	}
	return nil
}

// readEntries returns the entries of a directory, nil for anything else.
func (d *differ) readEntries(c cid.Cid) (map[string]cid.Cid, error) {
	if c.Type() != block.DagPB {
		return nil, nil
	}
	entries := map[string]cid.Cid{}
	for e, err := range ReadDir(d.ctx, d.get, c) {
		if errors.Is(err, ErrNotDirectory) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if !fs.ValidPath(e.Name) || strings.Contains(e.Name, "/") {
			return nil, fmt.Errorf("%s: %w: invalid entry name %q", c, block.ErrMalformed, e.Name)
		}
		entries[e.Name] = e.CID
	}
	return entries, nil
}

// unionNames returns the names that are in a or b, sorted.
func unionNames(a, b map[string]cid.Cid) []string {
	names := make([]string, 0, max(len(a), len(b)))
	for name := range a {
		names = append(names, name)
	}
	for name := range b {
		if _, both := a[name]; !both {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
