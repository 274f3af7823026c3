package rpc

import (
	"compress/gzip"
	"io"
	"path"

	"github.com/cairn-ipfs/cairn/internal/unixfs"
)

// get writes a file or a directory as a tar archive, or a compressed file.
func (c *call) get() error {
	get := c.getter()
	archive, compress := c.flag("archive", false), c.flag("compress", false)
	level := int(c.number("compression-level", gzip.DefaultCompression))
	if c.bad != nil {
		return c.bad
	}
	if _, err := gzip.NewWriterLevel(io.Discard, level); err != nil {
		return badRequest("option compression-level: %w", err)
	}
	root, err := c.place(get, c.args[0])
	if err != nil {
		return err
	}
	info, err := unixfs.Stat(c.ctx, get, root)
	if err != nil {
		return err
	}
	kind := "application/x-tar"
	if compress {
		kind = "application/gzip"
	}
	out := c.bytes(kind)
	write := func(w io.Writer) error {
		if compress && !archive && info.Type == unixfs.TypeFile {
			return CatFrom(c.ctx, get, w, root, 0, -1, nil)
		}
		return unixfs.ExportTar(c.ctx, get, root, path.Base(c.args[0]), w, unixfs.ExportOptions{})
	}
	if !compress {
		return c.empty(kind, write(out))
	}
	zip, err := gzip.NewWriterLevel(out, level)
	if err != nil {
		return err
	}
	if err := write(zip); err != nil {
		return err
	}
	return zip.Close()
}
