package kubo

import (
	"fmt"

	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
)

func (c *call) cat() error {
	get := c.getter()
	offset, length := c.Number("offset", 0), c.Number("length", -1)
	switch {
	case c.Invalid() != nil:
		return c.Invalid()
	case offset < 0:
		return httpapi.BadRequest("invalid option offset: %d: want 0 or more", offset)
	case length < 0 && c.Query.Get("length") != "":
		return httpapi.BadRequest("invalid option length: %d: want 0 or more", length)
	}
	roots, err := c.resolveArgs(get)
	if err != nil {
		return err
	}
	const kind = "text/plain" // as with Kubo, for any file
	var files []*unixfs.File
	for _, root := range roots {
		f, err := unixfs.Open(c.Context(), get, root)
		if err != nil {
			return err
		}
		defer f.Close()
		files = append(files, f)
	}
	c.Header().Set(httpapi.ContentLength, fmt.Sprint(catSize(files, offset, length)))
	out := c.Bytes(kind)
	for _, f := range files {
		n, err := f.WriteRange(out, offset, length)
		if err != nil {
			return err
		}
		offset = max(0, offset-f.Size())
		if length >= 0 {
			length -= n
		}
	}
	return c.EndBytes(kind, nil)
}

// catSize returns how many bytes cat writes. The sum of the sizes that files claim
// may overflow.
func catSize(files []*unixfs.File, offset, length int64) (total int64) {
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
