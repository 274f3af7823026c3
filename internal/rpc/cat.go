package rpc

import (
	"context"
	"fmt"
	"io"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/ipfs/go-cid"
)

func (c *call) cat() error {
	get := c.getter()
	offset, length := c.number("offset", 0), c.number("length", -1)
	switch {
	case c.bad != nil:
		return c.bad
	case offset < 0:
		return badRequest("option offset: it is %d, less than nothing", offset)
	case length < 0 && c.query.Get("length") != "":
		return badRequest("option length: it is %d, less than nothing", length)
	}
	roots, err := c.places(get)
	if err != nil {
		return err
	}
	const kind = "text/plain" // as Kubo says, whatever it is
	var files []*unixfs.File
	for _, root := range roots {
		f, err := unixfs.Open(c.ctx, get, root)
		if err != nil {
			return err
		}
		defer f.Close()
		files = append(files, f)
	}
	c.w.Header().Set(contentLength, fmt.Sprint(partSize(files, offset, length)))
	out := c.bytes(kind)
	for _, f := range files {
		n, err := catPart(f, out, offset, length)
		if err != nil {
			return err
		}
		offset = max(0, offset-f.Size())
		if length >= 0 {
			length -= n
		}
	}
	return c.empty(kind, nil)
}

// partSize is how many bytes cat will write. Files may claim sizes whose sum
// is more than there can be.
func partSize(files []*unixfs.File, offset, length int64) (total int64) {
	for _, f := range files {
		if total += f.Size(); total < 0 {
			return length
		}
	}
	total = max(0, total-offset)
	if length >= 0 {
		total = min(total, length)
	}
	return total
}

// catPart writes at most length bytes of a file from offset on; a length below
// zero is all.
func catPart(f *unixfs.File, w io.Writer, offset, length int64) (int64, error) {
	if offset > f.Size() || length == 0 {
		return 0, nil
	}
	if offset > 0 {
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			return 0, err
		}
	}
	if length < 0 {
		return f.WriteTo(w)
	}
	n, err := io.CopyN(w, f, length)
	if err == io.EOF {
		err = nil // the file ends before
	}
	return n, err
}

// Cat writes the file that root names to w, from offset on, length bytes at
// most; below zero is all. Size, if not nil, is told how many bytes there will
// be before the first is written.
func (c *Client) Cat(ctx context.Context, w io.Writer, root cid.Cid, offset, length int64, size func(int64)) error {
	r := ourVerb("cat", root.String())
	r.option("offset", offset)
	if length >= 0 {
		r.option("length", length)
	}
	resp, err := c.do(ctx, r)
	if err != nil {
		return err
	}
	var total int64
	if _, err := fmt.Sscan(resp.Header.Get(contentLength), &total); err == nil && size != nil {
		size(total)
	}
	_, err = c.copyBody(ctx, resp, w)
	return err
}

// CatFrom is Client.Cat for blocks that are had otherwise.
func CatFrom(ctx context.Context, get block.Getter, w io.Writer, root cid.Cid, offset, length int64, size func(int64)) error {
	f, err := unixfs.Open(ctx, get, root)
	if err != nil {
		return err
	}
	defer f.Close()
	if size != nil {
		size(partSize([]*unixfs.File{f}, offset, length))
	}
	_, err = catPart(f, w, offset, length)
	return err
}
