package unixfs

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// ExportTar writes c to w as a tar archive (POSIX.1-2001), with name for the
// root: a file, a symlink, or a directory with all its contents. Entries are in
// the order of their directories. Defaults for attributes that the tree lacks:
// permissions 0644 and 0755, time 1970. So equal trees give equal archives.
// Overwrite is ignored.
//
// An invalid entry name fails the export. Symlinks are written unchanged, and no
// entry is below one. After an error the archive lacks the end of a tar. Errors
// are as of [Export].
func ExportTar(ctx context.Context, get block.Getter, c cid.Cid, name string, w io.Writer, o ExportOptions) error {
	if err := checkName(name); err != nil {
		return fmt.Errorf("unixfs: export %s as tar: %w", c, err)
	}
	t := tarExporter{ctx: ctx, get: get, to: tar.NewWriter(w), bounds: o.bounds(), progress: o.Progress}
	err := t.writeEntry(name, c, 0)
	if err == nil {
		err = t.to.Close()
	}
	if err != nil {
		return fmt.Errorf("unixfs: export %s as tar: %w", c, err)
	}
	return nil
}

// A tarExporter writes a tree as a tar archive.
type tarExporter struct {
	ctx      context.Context // of this export only
	get      block.Getter
	to       *tar.Writer
	bounds   bounds
	progress *Progress
}

func (t *tarExporter) writeEntry(path string, c cid.Cid, depth int) error {
	n, err := load(t.ctx, t.get, c)
	if err == nil {
		err = t.bounds.count(n.fileBytes())
	}
	if err != nil {
		return wrapPath(path, err)
	}
	switch n.Type {
	case TypeFile, TypeRaw:
		err = t.writeFile(path, c, n)
	case TypeSymlink:
		h := newTarHeader(path, n, tar.TypeSymlink, 0o777)
		h.Linkname = string(n.Data)
		err = t.to.WriteHeader(h)
	case TypeDirectory, TypeHAMTShard:
		return t.writeDir(path, c, n, depth)
	default:
		err = fmt.Errorf("%s: %w: unexpected node of type %s", c, block.ErrMalformed, n.Type)
	}
	return wrapPath(path, err)
}

func newTarHeader(path string, n Node, kind byte, mode int64) *tar.Header {
	if n.Mode&0o7777 != 0 {
		mode = int64(n.Mode & 0o7777)
	}
	h := &tar.Header{Typeflag: kind, Name: path, Mode: mode, ModTime: n.Modified, Format: tar.FormatPAX}
	if h.ModTime.IsZero() {
		h.ModTime = time.Unix(0, 0)
	}
	return h
}

func (t *tarExporter) writeDir(path string, c cid.Cid, n Node, depth int) error {
	if depth == MaxDepth {
		return fmt.Errorf("%s: %w: directories are nested more than %d deep", path, block.ErrMalformed, MaxDepth)
	}
	if err := t.to.WriteHeader(newTarHeader(path+"/", n, tar.TypeDir, 0o755)); err != nil {
		return wrapPath(path, err)
	}
	for e, err := range entriesOf(t.ctx, t.get, c, n) {
		if err == nil && checkName(e.Name) != nil {
			err = fmt.Errorf("invalid entry name %q: %w", e.Name, block.ErrMalformed)
		}
		if err != nil {
			return wrapPath(path, err)
		}
		if err := t.writeEntry(path+"/"+e.Name, e.CID, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (t *tarExporter) writeFile(path string, c cid.Cid, n Node) error {
	f, err := openNode(t.ctx, t.get, c, n)
	if err != nil {
		return err
	}
	defer f.Close()
	h := newTarHeader(path, n, tar.TypeReg, 0o644)
	h.Size = f.Size()
	if err := t.to.WriteHeader(h); err != nil {
		return err
	}
	var to io.Writer = t.to
	if t.progress != nil {
		to = countedWriter{to, t.progress}
	}
	if _, err := f.WriteTo(to); err != nil {
		return err
	}
	if t.progress != nil {
		t.progress.Files.Add(1)
	}
	return nil
}
