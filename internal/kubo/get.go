package kubo

import (
	"compress/gzip"
	"context"
	"io"
	"path"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/ipfs/go-cid"
)

// get writes a file or a directory as a tar archive, or a compressed file.
func (c *call) get() error {
	get := c.getter()
	archive, compress := c.Flag("archive", false), c.Flag("compress", false)
	level := int(c.Number("compression-level", gzip.DefaultCompression))
	if c.Invalid() != nil {
		return c.Invalid()
	}
	if _, err := gzip.NewWriterLevel(io.Discard, level); err != nil {
		return httpapi.BadRequest("option compression-level: %w", err)
	}
	root, err := c.resolveArg(get, c.Args[0])
	if err != nil {
		return err
	}
	info, err := unixfs.Stat(c.Context(), get, root)
	if err != nil {
		return err
	}
	kind := "application/x-tar"
	if compress {
		kind = "application/gzip"
	}
	out := c.Bytes(kind)
	write := func(w io.Writer) error {
		if compress && !archive && info.Type == unixfs.TypeFile {
			return writeFile(c.Context(), get, w, root)
		}
		return unixfs.ExportTar(c.Context(), get, root, path.Base(c.Args[0]), w, unixfs.ExportOptions{})
	}
	if !compress {
		return c.EndBytes(kind, write(out))
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

func writeFile(ctx context.Context, get block.Getter, w io.Writer, root cid.Cid) error {
	f, err := unixfs.Open(ctx, get, root)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteTo(w)
	return err
}
