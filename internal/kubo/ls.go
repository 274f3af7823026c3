package kubo

import (
	"errors"
	"io/fs"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/ipfs/go-cid"
)

// An lsLink is one entry of a directory.
type lsLink struct {
	Name, Hash string
	Size       uint64
	Type       int // as in UnixFS's protobuf: 1 a directory, 2 a file, 4 a symlink
	Target     string
	Mode       fs.FileMode
	ModTime    time.Time
}

type lsObject struct {
	Hash  string
	Links []lsLink
}

type lsOutput struct{ Objects []lsObject }

// maxListed bounds the entries of an answer that isn't streamed. Each takes some
// 200 bytes until the end.
const maxListed = 1 << 20

func (c *call) ls() error {
	get := c.getter()
	stream, resolve, size := c.Flag("stream", false), c.Flag("resolve-type", true), c.Flag("size", true)
	if c.Invalid() != nil {
		return c.Invalid()
	}
	all, held := lsOutput{}, 0
	for _, arg := range c.Args {
		root, err := c.resolveArg(get, arg)
		if err != nil {
			return err
		}
		object := lsObject{Hash: arg, Links: []lsLink{}}
		emit := func(l lsLink) error {
			if stream {
				return c.Item(lsOutput{[]lsObject{{arg, []lsLink{l}}}})
			}
			if held++; held > maxListed {
				return httpapi.BadRequest("ls: more than %d entries: ask with stream=true", maxListed)
			}
			object.Links = append(object.Links, l)
			return nil
		}
		if err := c.forEntries(get, root, resolve || size, emit); err != nil {
			return err
		}
		all.Objects = append(all.Objects, object)
	}
	if stream {
		return c.EndList(nil)
	}
	return c.Item(all)
}

// forEntries calls emit for each entry of a directory, or, like Kubo, for each
// part of a file.
func (c *call) forEntries(get block.Getter, root cid.Cid, stat bool, emit func(lsLink) error) error {
	for e, err := range unixfs.ReadDir(c.Context(), get, root) {
		if errors.Is(err, unixfs.ErrNotDirectory) {
			return c.forParts(get, root, emit)
		}
		if err != nil {
			return err
		}
		l := lsLink{Name: e.Name, Hash: e.CID.String(), Size: e.Tsize}
		if stat {
			if err := c.statEntry(get, e.CID, &l); err != nil {
				return err
			}
		}
		if err := emit(l); err != nil {
			return err
		}
	}
	return nil
}

// statEntry sets type, size and the like of an entry, if its block has them.
func (c *call) statEntry(get block.Getter, k cid.Cid, l *lsLink) error {
	info, err := unixfs.Stat(c.Context(), get, k)
	switch {
	case errors.Is(err, block.ErrNotFound), errors.Is(err, block.ErrUnknownCodec), errors.Is(err, block.ErrMalformed):
		return nil
	case err != nil:
		return err
	}
	l.Type, l.Size, l.Target = kuboType(info.Type), uint64(info.Size), info.Target
	l.Mode, l.ModTime = fs.FileMode(info.Mode), info.Modified
	return nil
}

// kuboType returns a type's number in UnixFS's protobuf.
func kuboType(t unixfs.Type) int {
	switch t {
	case unixfs.TypeDirectory, unixfs.TypeHAMTShard:
		return 1
	case unixfs.TypeSymlink:
		return 4
	}
	return 2
}

func (c *call) forParts(get block.Getter, root cid.Cid, emit func(lsLink) error) error {
	if root.Type() != block.DagPB {
		return nil
	}
	b, err := get.Get(c.Context(), root)
	if err != nil {
		return err
	}
	n, err := unixfs.DecodeNode(b.Data())
	if err != nil {
		return err
	}
	for _, l := range n.Links {
		if err := emit(lsLink{Hash: l.CID.String(), Size: l.Tsize, Type: 2}); err != nil {
			return err
		}
	}
	return nil
}
