package unixfs

import (
	"context"
	"fmt"
	"io/fs"
	"iter"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// An Entry is one entry of a directory. Stat of its CID returns its type.
type Entry struct {
	// Name is unchecked: it may be invalid in a file system, or special in a
	// path.
	Name string
	CID  cid.Cid
	// Tsize is the size of all its blocks as the directory declares it: a hint,
	// not verified.
	Tsize uint64
}

// ReadDir yields the entries of the directory c, plain or sharded, in the order
// in which they are stored (by name, or by a hash of the name). Of entries with
// the same name it yields the first. After an error it ends.
// Errors: those of get; ErrNotDirectory; block.ErrMalformed;
// block.ErrUnknownCodec.
func ReadDir(ctx context.Context, get block.Getter, c cid.Cid) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		n, err := load(ctx, get, c)
		if err != nil {
			yield(Entry{}, fmt.Errorf("unixfs: read directory: %w", err))
			return
		}
		for e, err := range entriesOf(ctx, get, c, n) {
			if err != nil {
				err = fmt.Errorf("unixfs: read directory: %w", err)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// entriesOf yields the entries of n.
func entriesOf(ctx context.Context, get block.Getter, c cid.Cid, n Node) iter.Seq2[Entry, error] {
	switch n.Type {
	case TypeDirectory:
		return plainEntries(n.Links)
	case TypeHAMTShard:
		return shardEntries(ctx, get, c, n)
	}
	return func(yield func(Entry, error) bool) {
		yield(Entry{}, fmt.Errorf("%s is a %s: %w", c, n.Type, ErrNotDirectory))
	}
}

func plainEntries(links []Link) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		var seen map[string]bool // made at the first name out of order: before, none repeats
		for i, l := range links {
			if seen == nil && i > 0 && l.Name <= links[i-1].Name {
				seen = make(map[string]bool, len(links))
				for _, before := range links[:i] {
					seen[before.Name] = true
				}
			}
			if seen != nil {
				if seen[l.Name] {
					continue
				}
				seen[l.Name] = true
			}
			if !yield(l.entry(), nil) {
				return
			}
		}
	}
}

func (l Link) entry() Entry { return Entry{Name: l.Name, CID: l.CID, Tsize: l.Tsize} }

// Lookup returns the entry of that name in the directory c. Of a sharded one, it
// gets only the shards on the way. Errors: as ReadDir; fs.ErrNotExist if there
// is none.
func Lookup(ctx context.Context, get block.Getter, c cid.Cid, name string) (Entry, error) {
	e, err := lookup(ctx, get, c, name)
	if err != nil {
		return Entry{}, fmt.Errorf("unixfs: look up %q: %w", name, err)
	}
	return e, nil
}

func lookup(ctx context.Context, get block.Getter, c cid.Cid, name string) (Entry, error) {
	n, err := load(ctx, get, c)
	if err != nil {
		return Entry{}, err
	}
	return lookupIn(ctx, get, c, n, name)
}

// lookupIn looks up a name in the directory n.
func lookupIn(ctx context.Context, get block.Getter, c cid.Cid, n Node, name string) (Entry, error) {
	switch n.Type {
	case TypeDirectory:
		for _, l := range n.Links {
			if l.Name == name {
				return l.entry(), nil
			}
		}
		return Entry{}, fmt.Errorf("in %s: %w", c, fs.ErrNotExist)
	case TypeHAMTShard:
		return lookupShard(ctx, get, c, n, name)
	}
	return Entry{}, fmt.Errorf("%s is a %s: %w", c, n.Type, ErrNotDirectory)
}
